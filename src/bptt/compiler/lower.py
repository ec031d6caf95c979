"""A trace as a graph: torch's operations on batches as core operations on rows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptt.compiler.formulas import formula
from bptt.compiler.graph import Graph
from bptt.compiler.lowering import Fixed, Lowered, Lowering, Row, Sum, Uniform
from bptt.compiler.once import refs
from bptt.compiler.program import without_writes
from bptt.compiler.record import Operation, Ref
from bptt.compiler.rules import HANDLERS
from bptt.compiler.trace import Trace, Untraceable, is_for_batch

aten = torch.ops.aten


class Step(NamedTuple):
    """A step as a graph.

    Attributes:
        graph: what it does to rows.
        once: what it does to weights and constants alone, with names of its own.
        outputs, state, d_inputs, d_before: nodes of the results; None for no gradient.
        frontier: names of fixed tensors, and d_fixed the gradient of each, summed over rows; None
            for none.
        constants: tensors written in the step's own code, by name.
    """

    graph: Graph
    once: list[Operation]
    outputs: list[int]
    state: list[int]
    d_inputs: list[int | None]
    d_before: list[int | None]
    d_fixed: list[int | None]
    frontier: list[Ref]
    constants: dict[Ref, Tensor]


def lower(trace: Trace, batch: int) -> Step:
    """The graph of a trace.

    Args:
        trace: what a step did.
        batch: how many rows it did it on; at least two, so that they can be told apart from one.

    Raises:
        Untraceable: an operation that is not known here, or that mixes the rows of the batch.
    """
    return _Dispatch(trace, batch).run()


class _Dispatch(Lowering):
    def run(self) -> Step:
        trace = self.trace
        results = [*trace.outputs, *trace.state, *trace.d_inputs, *trace.d_before, *trace.d_fixed]
        operations = without_writes(trace.operations, results)
        if operations is None:
            raise Untraceable(
                "the step writes into a tensor that it reads again under another name. Compute a "
                "new tensor instead, with torch.where or torch.cat"
            )
        for operation in operations:
            self._lower(operation)
        return Step(
            self.graph,
            self.weights,
            [self._row(name) for name in trace.outputs],
            [self._row(name) for name in trace.state],
            [None if name is None else self._row(name) for name in trace.d_inputs],
            [None if name is None else self._row(name) for name in trace.d_before],
            [self._summed(d, own) for d, own in zip(trace.d_fixed, trace.frontier, strict=True)],
            trace.frontier,
            {name: t for name, t in trace.tensors.items() if name.startswith("k")},
        )

    def _row(self, name: Ref) -> int:
        """The node of a result that has a row for each sequence, batch first."""
        value = self.values[name]
        shape = self.tensors[name].shape[1:]
        if isinstance(value, Uniform):
            return self.graph.expand_number(value.value, shape)
        if isinstance(value, Fixed):
            value = Row(self._beside(value, len(shape) + 1, len(shape) + 1, 1), 0)
        if isinstance(value, Sum) or value.axis != 0 or value.inner != 1:
            raise Untraceable(f"a result of shape {tuple(self.tensors[name].shape)} mixes the rows")
        return self.expanded(value.node, shape)

    def _summed(self, name: Ref | None, own: Ref) -> int | None:
        """The gradient of a fixed tensor as a sum over rows."""
        if name is None:
            return None
        value, shape = self.values[name], self.trace.tensors[own].shape
        if isinstance(value, Uniform) and value.value == 0:
            return None
        if isinstance(value, Row) and value.axis == 0 and value.inner == 1:
            return self.graph.add("steps", (value.node,), shape)
        if not isinstance(value, Sum):
            raise Untraceable(f"a gradient of shape {tuple(shape)} is no sum over rows")
        return value.node

    # One operation

    def _lower(self, operation: Operation) -> None:
        names = [name for name in operation.results if name]
        if not names:
            return
        self.line = self.trace.lines.get(names[0], "")
        name = operation.func._schema.name.removeprefix("aten::")
        operands = [self.values[ref] for ref in refs((operation.args, operation.kwargs))]
        if all(isinstance(value, Fixed) for value in operands) and not self._uniform(operation):
            if name == "expand" and self._is_for_batch(operation):
                self.values[names[0]] = self._to_batch(operation)
            else:
                self.keep(operation)
            return
        if name in _RENAMES:
            results = self.values[operation.args[0]]
        elif any(isinstance(value, Sum) for value in operands):
            results = self._linear(operation)
        elif not any(isinstance(value, Row) for value in operands) and name not in _LIKE:
            results = self._constant(operation, name)
        else:
            results = self._on_rows(operation, name)
        many = results if isinstance(results, list) else [results]
        for ref, value in zip(operation.results, many, strict=False):
            if ref is not None and value is not None:
                self.values[ref] = value
                if isinstance(value, Row):
                    self.graph.lines.setdefault(value.node, self.line)

    def _is_for_batch(self, operation: Operation) -> bool:
        own, result = self.tensors[operation.args[0]], self.tensors[operation.results[0]]  # type: ignore[index]
        return is_for_batch(operation.func, (own,), result, self.batch)

    def _to_batch(self, operation: Operation) -> Row:
        """A fixed tensor that is given to each row of the batch."""
        shape = self.dims(operation.results[0])[1:]  # type: ignore[arg-type]
        node = self._beside(Fixed(operation.args[0]), len(shape) + 1, len(shape) + 1, 1)
        return Row(self.expanded(node, shape), 0)

    def _uniform(self, operation: Operation) -> bool:
        """A tensor made of one number: zeros and their like."""
        name = operation.func._schema.name.removeprefix("aten::")
        return not refs((operation.args, operation.kwargs)) and name in _FILLED

    def _constant(self, operation: Operation, name: str) -> Lowered:
        """Of uniform values, perhaps with fixed ones: as torch computes it, if it is one number."""
        result = next(ref for ref in operation.results if ref)
        tensor, names = self.tensors[result], refs((operation.args, operation.kwargs))
        fixed = any(isinstance(self.values[ref], Fixed) for ref in names)
        if not fixed and tensor.numel() and bool((tensor == tensor.flatten()[0]).all()):
            return Uniform(float(tensor.flatten()[0]))
        if Uniform(0.0) in (self.values[ref] for ref in names) and name in _LINEAR:
            return Uniform(0.0)
        for ref in names:
            self.as_fixed(ref)
        self.keep(operation)
        return self.values[result]

    def _linear(self, operation: Operation) -> Sum:
        """An operation on a sum that gives the same before the summing as after it."""
        name = operation.func._schema.name.removeprefix("aten::")
        names = refs((operation.args, operation.kwargs))
        sums = [ref for ref in names if isinstance(self.values[ref], Sum)]
        if not self._is_linear(operation, name, names, sums):
            raise self._refusal(operation, "on a gradient that is summed over rows")
        operands = [self._fixed_or_sum(ref) for ref in names]
        shape = self.tensors[next(ref for ref in operation.results if ref)].shape
        if name in _VIEWS:
            return Sum(self.graph.view(operands[0], shape))
        slots = {ref: Ref(f"#{index}") for index, ref in enumerate(names)}
        given = _mapped(operation.args, slots), _mapped(operation.kwargs, slots)
        return Sum(self.graph.add("linear", operands, shape, operation.func, *given))

    def _is_linear(
        self, operation: Operation, name: str, names: Sequence[Ref], sums: Sequence[Ref]
    ) -> bool:
        others = [self.values[ref] for ref in names if ref not in sums]
        if name in _ADDING:  # what is added to a sum would be added once, not once a row
            return all(isinstance(v, Uniform) and v.value == 0 for v in others)
        first = name in _LINEAR_IN_FIRST and operation.args[0] in sums
        return len(sums) == 1 and (name in _LINEAR or first)

    def _fixed_or_sum(self, ref: Ref) -> int:
        value = self.values[ref]
        if isinstance(value, Sum):
            return value.node
        self.as_fixed(ref)
        return self.graph.add("fixed", (), self.tensors[ref].shape, ref)

    def _on_rows(self, operation: Operation, name: str) -> Lowered | list[Lowered | None]:
        handler, given = HANDLERS.get(name), _bound(operation)
        if handler is not None:
            return handler(self, operation, given)
        compute = formula(name)
        if compute is None:
            raise self._refusal(operation, "")
        result = next(ref for ref in operation.results if ref)
        operands = [value for key, value in given.items() if key not in _IGNORED]
        return self.point(compute, operands, len(self.dims(result)))

    def _refusal(self, operation: Operation, where: str) -> Untraceable:
        name = operation.func._schema.name.removeprefix("aten::")
        shown = f"{name} {where}".rstrip()
        return Untraceable(
            f"bptt has no kernel for torch's {shown} on rows of the batch. Write it with "
            "matrix products, point-wise operations, slices and sums over features",
            self.line,
        )


def _mapped(value: Any, names: dict[Ref, Ref]) -> Any:
    if isinstance(value, Ref):
        return names[value]
    return tuple(_mapped(item, names) for item in value) if isinstance(value, tuple) else value


def _bound(operation: Operation) -> dict[str, Any]:
    """An operation's arguments by name, defaults filled in."""
    arguments = operation.func._schema.arguments
    given = {a.name: a.default_value for a in arguments if a.has_default_value()}
    given.update(zip((a.name for a in arguments), operation.args, strict=False))
    given.update(dict(operation.kwargs))
    return {a.name: given[a.name] for a in arguments if a.name in given}


_RENAMES = ("detach", "alias", "lift_fresh", "lift_fresh_copy", "clone", "contiguous")
_FILLED = ("zeros", "ones", "full", "new_zeros", "new_ones", "new_full", "scalar_tensor",
           "_efficientzerotensor", "empty")  # fmt: skip
_LIKE = ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "fill",
         "empty_like", "new_empty")  # fmt: skip
# Operations that are linear in a sum over rows: in whichever operand it is, in the first, in all.
_LINEAR = (
    "mul", "mm", "bmm", "mv",
)  # fmt: skip
_LINEAR_IN_FIRST = (
    "t", "view", "_unsafe_view", "reshape", "neg", "unsqueeze", "squeeze", "sum", "mean", "permute",
    "transpose", "expand", "slice", "select", "slice_backward", "select_backward", "split", "div",
    "constant_pad_nd", "repeat", "flip", "roll", "triu", "tril", "diagonal", "diagonal_backward",
    "tanh_backward", "sigmoid_backward", "threshold_backward", "elu_backward", "softplus_backward",
    "silu_backward", "gelu_backward", "hardtanh_backward", "leaky_relu_backward", "unbind",
)  # fmt: skip
_VIEWS = ("view", "_unsafe_view", "reshape")
_ADDING = ("add", "sub", "cat", "stack", "where", "masked_fill")
# Arguments that say where and how a result is stored, not what it is.
_IGNORED = ("memory_format", "dtype", "layout", "device", "pin_memory", "non_blocking", "out")
