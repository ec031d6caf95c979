"""Where features are: axes turned, viewed and repeated."""

from collections.abc import Sequence

from bptt.compiler.lowering import Lowering, Row, feature_dims
from bptt.compiler.record import Operation, Ref
from bptt.compiler.rules.table import Given, mixing, result_dims, rule


@rule("t")
def _t(low: Lowering, operation: Operation, given: Given) -> Row:
    rank = len(low.dims(given["self"]))
    return _permuted(low, given["self"], tuple(reversed(range(rank))))


@rule("transpose")
def _transpose(low: Lowering, operation: Operation, given: Given) -> Row:
    rank = len(low.dims(given["self"]))
    axes = list(range(rank))
    i, j = given["dim0"] % rank, given["dim1"] % rank
    axes[i], axes[j] = axes[j], axes[i]
    return _permuted(low, given["self"], axes)


@rule("permute")
def _permute(low: Lowering, operation: Operation, given: Given) -> Row:
    rank = len(low.dims(given["self"]))
    return _permuted(low, given["self"], [axis % rank for axis in given["dims"]])


def _permuted(low: Lowering, ref: Ref, axes: Sequence[int]) -> Row:
    row, rank = low.row(ref), len(low.dims(ref))
    batch = list(axes).index(row.axis)
    kept = axes if row.inner > 1 else [axis for axis in axes if axis != row.axis]
    order = [axis if row.inner > 1 else low.feature(row, rank, axis) for axis in kept]
    return Row(low.graph.permute(row.node, order), batch, row.inner)


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze", "unflatten",
       "flatten", "view_as", "reshape_as")  # fmt: skip
def _view(low: Lowering, operation: Operation, given: Given) -> Row:
    return low.shaped(given["self"], result_dims(low, operation))


@rule("expand", "expand_as")
def _expand(low: Lowering, operation: Operation, given: Given) -> Row:
    row, old, new = low.row(given["self"]), low.dims(given["self"]), result_dims(low, operation)
    ahead = len(new) - len(old)
    axis = row.axis + ahead
    if new[axis] != old[row.axis]:
        raise mixing(low, "repeats the batch")
    features = feature_dims(new, axis, row.inner)
    return Row(low.graph.expand(row.node, features), axis, row.inner)


@rule("repeat")
def _repeat(low: Lowering, operation: Operation, given: Given) -> Row:
    row, old = low.row(given["self"]), low.dims(given["self"])
    times = given["repeats"]
    ahead = len(times) - len(old)
    if any(n != 1 for n in times[:ahead]) or times[ahead + row.axis] != 1:
        raise mixing(low, "repeats the batch")
    node = row.node
    for axis, n in enumerate(times[ahead:]):
        if n != 1:
            node = low.graph.cat([node] * n, low.feature(row, len(old), axis))
    return low.moved(Row(node, row.axis, row.inner), ahead)
