"""Tensors that are filled, copied or converted."""

from bptt.compiler.formulas import Value, where
from bptt.compiler.lowering import Lowered, Lowering, Row, Uniform
from bptt.compiler.record import Operation, Ref
from bptt.compiler.rules.table import Given, result_dims, rule
from bptt.compiler.trace import Untraceable


@rule("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "fill")
def _filled(low: Lowering, operation: Operation, given: Given) -> Lowered:
    name = operation.func._schema.name.removeprefix("aten::")
    if name in ("full_like", "new_full"):
        return Uniform(float(given["fill_value"]))
    if name == "fill":
        value = given["value"]
        return low.values[value] if isinstance(value, Ref) else Uniform(float(value))
    return Uniform(1.0 if "ones" in name else 0.0)


@rule("empty_like", "new_empty")
def _empty(low: Lowering, operation: Operation, given: Given) -> Uniform:
    """Memory that is written before it is read: `copy` says what is in it."""
    return Uniform(0.0)


@rule("copy")
def _copy(low: Lowering, operation: Operation, given: Given) -> Lowered:
    source, shape = low.values[given["src"]], result_dims(low, operation)
    if not isinstance(source, Row) or low.dims(given["src"]) != shape:
        raise Untraceable("copies into a part of a tensor. Use torch.cat or torch.where", low.line)
    value = Value(low.graph, source.node)
    number = low.tensors[operation.results[0]].dtype == low.dtype  # type: ignore[index]
    return Row(
        where(value, 1.0, 0.0).node if value.is_mask and number else source.node, *source[1:]
    )


@rule("_to_copy", "to")
def _to_copy(low: Lowering, operation: Operation, given: Given) -> Row:
    """Masks become numbers; other dtypes than the state's are not known here."""
    row, value = low.row(given["self"]), Value(low.graph, low.row(given["self"]).node)
    dtype = low.tensors[operation.results[0]].dtype  # type: ignore[index]
    if value.is_mask and dtype.is_floating_point:
        return Row(value.where(1.0, 0.0).node, row.axis, row.inner)
    if dtype in (low.dtype, low.tensors[given["self"]].dtype):
        return row
    if dtype.is_floating_point or not low.tensors[given["self"]].dtype.is_floating_point:
        raise Untraceable(
            f"converts to {str(dtype).removeprefix('torch.')}, where kernels compute in "
            f"{str(low.dtype).removeprefix('torch.')} alone",
            low.line,
        )
    raise Untraceable(
        "converts numbers to integers or truth values; compare them instead", low.line
    )


@rule("native_dropout")
def _no_dropout(low: Lowering, operation: Operation, given: Given) -> list[Lowered]:
    """Where nothing is dropped; else the draws have been put in its place."""
    return [low.values[given["input"]], Uniform(1.0)]
