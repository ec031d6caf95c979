"""What is known of each tensor of a trace, and where its batch lies.

Every tensor is one of four things, told apart by what it is made of: `Row`, with a row for each
sequence; `Fixed`, made of weights and constants alone; `Uniform`, one number everywhere; `Sum`,
summed over rows. Where the batch lies among a row's axes is followed from operation to operation,
never guessed from a size, so an operation that mixes rows cannot go unseen.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptt.compiler.formulas import Value
from bptt.compiler.graph import Graph
from bptt.compiler.record import Operation, Ref
from bptt.compiler.trace import Trace, Untraceable

aten = torch.ops.aten


class Row(NamedTuple):
    """A value with a row for each sequence.

    The tensor's axis `axis` is the batch, or the batch and `inner` features behind it, merged. The
    node's shape is the tensor's without the batch: `inner` stands in its place unless it is 1.
    """

    node: int
    axis: int
    inner: int = 1


class Fixed(NamedTuple):
    """A value made of weights and constants alone, by its name."""

    name: Ref


class Uniform(NamedTuple):
    """One number everywhere."""

    value: float


class Sum(NamedTuple):
    """A sum over rows; the node's shape is the tensor's."""

    node: int


Lowered = Row | Fixed | Uniform | Sum


class Lowering:
    """A trace on its way to a graph: the graph so far, and what each name stands for."""

    def __init__(self, trace: Trace, batch: int) -> None:
        self.trace, self.batch = trace, batch
        self.tensors = dict(trace.tensors)
        self.graph = Graph()
        self.weights: list[Operation] = []  # on fixed tensors alone
        self.values: dict[Ref, Lowered] = {}
        self.line = ""
        self.dtype = next(
            (t.dtype for n, t in self.tensors.items() if n.startswith("s") and _is_real(t)),
            torch.get_default_dtype(),
        )
        for name in self.tensors:
            if name[0] in _LEAVES:
                self.values[name] = self._leaf(name)

    def _leaf(self, name: Ref) -> Lowered:
        tensor = self.tensors[name]
        kind = _LEAVES["ds" if name.startswith("ds") else name[0]]
        if kind == "fixed":
            return Fixed(name)
        if tensor.dtype not in (self.dtype, torch.bool) and kind != "draw":
            what = {"input": "an input", "state": "a state"}.get(kind, "a tensor")
            raise Untraceable(
                f"{what} of dtype {_short(tensor.dtype)}, where kernels compute in "
                f"{_short(self.dtype)} alone. Convert it before bptt.unroll, or carry it so"
            )
        index = int(name.lstrip("xsdyr"))
        if kind == "draw" and (tensor.dim() == 0 or tensor.shape[0] != self.batch):
            raise Untraceable(
                f"draws numbers of shape {tuple(tensor.shape)} for the batch as a whole. Draw a "
                "row for each sequence, (batch, ...)"
            )
        node = self.graph.add(kind, (), tensor.shape[1:], index)
        if tensor.dtype == torch.bool:
            node = self.graph.call("ne", node, self.graph.number(0.0))
        return Row(node, 0)

    # Number by number

    def point(self, compute: Callable[..., Value], given: Sequence[Any], rank: int) -> Lowered:
        """A formula applied to operands that broadcast to `rank` axes."""
        refs = [value for value in given if isinstance(value, Ref)]
        place = self.place([ref for ref in refs if isinstance(self.values[ref], Row)])
        operands = [self.aligned(v, place, rank) if isinstance(v, Ref) else v for v in given]
        while operands and operands[-1] is None:
            operands.pop()
        first = compute(*operands)
        from_right, inner = place
        return Row(first.node, rank - from_right, inner)

    def place(self, refs: Sequence[Ref]) -> tuple[int, int]:
        """How far from the right the operands' batch is, and what is merged with it."""
        places = set()
        for ref in refs:
            value = self.values[ref]
            assert isinstance(value, Row)
            places.add((self.tensors[ref].dim() - value.axis, value.inner))
        if len(places) != 1:
            shapes = " and ".join(str(tuple(self.tensors[ref].shape)) for ref in refs)
            raise Untraceable(
                f"combines rows of the batch with other rows (shapes {shapes}). Each sequence "
                "must be computed alone",
                self.line,
            )
        return places.pop()

    def aligned(self, ref: Ref, place: tuple[int, int], rank: int) -> Value:
        value = self.values[ref]
        if isinstance(value, Uniform):
            return Value(self.graph, self.graph.number(value.value))
        if isinstance(value, Row):
            return Value(self.graph, value.node)
        assert isinstance(value, Fixed)
        return Value(self.graph, self._beside(value, rank, *place))

    def _beside(self, value: Fixed, rank: int, from_right: int, inner: int) -> int:
        """A fixed tensor as an operand of rows whose batch is `from_right` axes from the right."""
        tensor = self.tensors[value.name]
        axis = tensor.dim() - from_right
        if axis < 0:
            return self.fixed(value.name)
        if tensor.shape[axis] == 1:
            name = value.name if inner > 1 else self.once(aten.squeeze.dim, value.name, axis)
            return self.fixed(name)
        if tensor.stride(axis) == 0 and inner == 1:
            return self.fixed(self.once(aten.select.int, value.name, axis, 0))
        if tensor.shape[axis] == self.batch and inner == 1:
            order = (axis, *(i for i in range(tensor.dim()) if i != axis))
            name = value.name if axis == 0 else self.once(aten.permute.default, value.name, order)
            node = self.graph.add("sequence", (), self.tensors[name].shape[1:], name)
            is_mask = tensor.dtype == torch.bool
            return self.graph.call("ne", node, self.graph.number(0.0)) if is_mask else node
        raise Untraceable(
            f"a tensor of shape {tuple(tensor.shape)} meets the batch of {self.batch} rows "
            "elsewhere than along it",
            self.line,
        )

    def once(self, func: Any, *args: Any) -> Ref:
        """One more operation on fixed tensors; its result's name."""
        operation = Operation(func, args, (), (Ref(f"f{len(self.tensors)}"),))
        name = operation.results[0]
        assert name is not None
        known = {op[:3]: op.results[0] for op in self.weights}
        if operation[:3] in known and known[operation[:3]]:
            return known[operation[:3]]  # type: ignore[return-value]
        with torch.no_grad():
            taken = (self.tensors.get(a, a) if isinstance(a, Ref) else a for a in args)
            self.tensors[name] = func(*taken)
        self.keep(operation)
        return name

    def fixed(self, name: Ref) -> int:
        tensor = self.tensors[name]
        if tensor.dtype not in (self.dtype, torch.bool):
            if tensor.dim() and tensor.is_floating_point():
                raise Untraceable(
                    f"a tensor of dtype {_short(tensor.dtype)}, where kernels compute in "
                    f"{_short(self.dtype)} alone. Convert the cell, or the tensor",
                    self.line,
                )
            name = self.once(aten.to.dtype, name, self.dtype)
        node = self.graph.add("fixed", (), tensor.shape, name)
        if tensor.dtype == torch.bool:
            return self.graph.call("ne", node, self.graph.number(0.0))
        return node

    # What the handlers share

    def keep(self, operation: Operation) -> None:
        self.weights.append(operation)
        self.values.update({name: Fixed(name) for name in operation.results if name})

    def as_fixed(self, ref: Ref) -> None:
        """A uniform value as a tensor among the fixed ones."""
        value = self.values[ref]
        if isinstance(value, Uniform):
            tensor = self.tensors[ref]
            kwargs = (("dtype", tensor.dtype), ("device", tensor.device))
            operation = Operation(
                aten.full.default, (tuple(tensor.shape), value.value), kwargs, (ref,)
            )
            self.keep(operation)

    def row(self, ref: Ref) -> Row:
        value = self.values[ref]
        if not isinstance(value, Row):
            raise Untraceable(
                f"a tensor of shape {self.dims(ref)} without rows stands where rows of the batch "
                "are expected",
                self.line,
            )
        return value

    def dims(self, ref: Ref) -> tuple[int, ...]:
        return tuple(self.tensors[ref].shape)

    def feature(self, row: Row, rank: int, axis: int) -> int:
        """The node's axis for a tensor's axis that is not the batch."""
        axis %= rank
        if axis == row.axis:
            raise Untraceable(
                "works along the batch, where each sequence must be computed alone (a norm or a "
                "sum over axis 0, a slice of rows)",
                self.line,
            )
        return axis if axis < row.axis or row.inner > 1 else axis - 1

    def shaped(self, ref: Ref, shape: Sequence[int]) -> Row:
        """A row's tensor seen in another shape: where the batch is then, and what is merged."""
        row, old = self.row(ref), self.dims(ref)
        before = math.prod(old[: row.axis])
        for axis, size in enumerate(shape):
            if math.prod(shape[:axis]) == before and size % self.batch == 0 and size:
                inner = size // self.batch
                features = feature_dims(shape, axis, inner)
                if math.prod(features) == math.prod(self.graph[row.node].shape):
                    return Row(self.graph.reshape(row.node, features), axis, inner)
        raise Untraceable(
            f"reshapes {old} to {tuple(shape)}, which mixes rows of the batch with features",
            self.line,
        )

    def expanded(self, node: int, shape: Sequence[int]) -> int:
        """A node broadcast to a shape; a number too."""
        value = self.graph.value(node)
        if value is not None:
            return self.graph.expand_number(value, shape)
        return self.graph.expand(node, shape)

    def summed(self, node: int, shape: Sequence[int], axes: Sequence[int]) -> int:
        """The sum over feature axes of a node that is first broadcast to a shape."""
        return self.graph.reduce("sum", self.expanded(node, shape), axes, keep=True)

    def moved(self, row: Row, ahead: int) -> Row:
        """With axes of one in front."""
        shape = (*[1] * ahead, *self.graph[row.node].shape)
        return Row(self.graph.reshape(row.node, shape), row.axis + ahead, row.inner)


def feature_dims(dims: Sequence[int], axis: int, inner: int) -> tuple[int, ...]:
    """A node's shape for a tensor's with the batch at `axis`, with which `inner` are merged."""
    return (*dims[:axis], *([inner] if inner > 1 else []), *dims[axis + 1 :])


def _is_real(tensor: Tensor) -> bool:
    return tensor.is_floating_point()


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


_LEAVES = {
    "x": "input", "s": "state", "r": "draw", "w": "fixed", "k": "fixed",
    "d": "d_output", "ds": "d_state",
}  # fmt: skip
