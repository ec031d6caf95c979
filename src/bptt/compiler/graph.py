"""A step as a graph of core operations on rows, the batch left out.

A value has a row for each sequence; its shape here is that of one row. So a graph says what happens
to any number of rows, and nothing in it can mix them: the only nodes that look at more than one row
are sums over all rows, which weights' gradients are, and nothing leads from them back to a row.

Nodes are kept in a list in which operands come first; equal nodes are one.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch

from bptt.compiler.record import Ref
from bptt.compiler.stages import MASKS

# Nodes that stand for numbers from outside; `attributes` is (index,).
LEAVES = (
    "input",  # x_t
    "state",  # s_{t-1}
    "draw",  # random numbers of the step
    "sequence",  # a fixed tensor with a row for each sequence, such as a mask held for all steps
    "fixed",  # a tensor without rows: weights, and what is made of them alone
    "d_output",  # dE/dy_t
    "d_state",  # dE/ds_t
    "stored",  # a value that the forward pass has kept
)
# Products with weights. Beside these: "slice", "cat", "reshape", "permute", "expand", "sum" and
# "max" of features, and OPERATIONS, applied number by number.
CONTRACTIONS = ("matmul", "heads")
# Sums over rows: t(a) b, a's column sums, a's sum over the steps alone; then `linear`, an operation
# of torch's on such a sum. Their shape is the whole result's.
SUMS = ("outer", "total", "steps", "linear")
# Nodes whose numbers take no memory for each row.
NO_MEMORY = frozenset((*SUMS, "fixed", "number", "slice", "reshape", "permute", "expand"))


class Node(NamedTuple):
    """One value.

    Attributes:
        op: what makes it.
        operands: the nodes it is made of, by number.
        shape: of one row (of all of it, for `fixed` and sums).
        attributes: what else `op` needs: a leaf's number, a slice's (axis, start, stop), ...
        mask: whether it is true or false.
    """

    op: str
    operands: tuple[int, ...]
    shape: tuple[int, ...]
    attributes: tuple = ()
    mask: bool = False


class Graph:
    """Nodes in order, each once, made by `add` and the functions below it."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._numbers: dict[Node, int] = {}
        self._waiting: set[int] = set()  # what depends on the step before
        self.lines: dict[int, str] = {}

    def copy(self) -> "Graph":
        """The same nodes under the same numbers: what is added to it is in no other graph."""
        other = Graph()
        other.nodes, other._numbers = list(self.nodes), dict(self._numbers)
        other._waiting, other.lines = set(self._waiting), dict(self.lines)
        return other

    def __getitem__(self, number: int) -> Node:
        return self.nodes[number]

    def __len__(self) -> int:
        return len(self.nodes)

    def add(
        self,
        op: str,
        operands: Sequence[int] = (),
        shape: Sequence[int] = (),
        *attributes: Any,
        mask: bool = False,
    ) -> int:
        """The number of a node, new or known."""
        node = Node(op, tuple(operands), tuple(shape), attributes, mask)
        if node not in self._numbers:
            number = self._numbers[node] = len(self.nodes)
            self.nodes.append(node)
            if op in ("state", "d_state") or self._waiting.intersection(operands):
                self._waiting.add(number)
        return self._numbers[node]

    def view(self, number: int, shape: Sequence[int]) -> int:
        """A sum over rows in another shape; none of a shape that it has had on the way."""
        view = torch.ops.aten.view.default
        while self.nodes[number].op == "linear" and self.nodes[number].attributes[0] is view:
            (number,) = self.nodes[number].operands
        if self.nodes[number].shape == tuple(shape):
            return number
        return self.add("linear", (number,), shape, view, (Ref("#0"), tuple(shape)), ())

    def waits(self, number: int) -> bool:
        """Whether a node depends on the step before."""
        return number in self._waiting

    def number(self, value: float) -> int:
        # As text, for 0.0 and -0.0 are equal, and NaN is not equal to itself.
        return self.add("number", (), (), repr(float(value)))

    def value(self, number: int) -> float | None:
        """The number that a node is everywhere, None if it is none."""
        node = self.nodes[number]
        return float(node.attributes[0]) if node.op == "number" else None

    def call(self, op: str, *operands: int) -> int:
        """An operation number by number, features broadcast; simplified where that is exact."""
        known = self._simple(op, operands)
        if known is not None:
            return known
        if op == "add":
            operands = self._regrouped(*operands)
        shape = _broadcast([self.nodes[o].shape for o in operands])
        return self.add(op, operands, shape, mask=op in MASKS)

    def _simple(self, op: str, operands: tuple[int, ...]) -> int | None:
        values = [self.value(o) for o in operands]
        if all(value is not None for value in values):
            return self._folded(op, values)  # type: ignore[arg-type]
        a, b = (*operands, None, None)[:2]
        x, y = (*values, None, None)[:2]
        if op == "add" and 0.0 in (x, y):
            return self._kept(b if x == 0 else a, operands)
        if op == "sub" and y == 0.0:
            return self._kept(a, operands)
        if op in ("mul", "div") and y == 1.0:
            return self._kept(a, operands)
        if op == "mul" and x == 1.0:
            return self._kept(b, operands)
        if op == "neg" and self.nodes[operands[0]].op == "neg":
            return self.nodes[operands[0]].operands[0]
        return None

    def _regrouped(self, a: int, b: int) -> tuple[int, int]:
        """(x + s) + b as s + (x + b), where s alone waits for the step before."""
        for waits, free in ((a, b), (b, a)):
            node = self.nodes[waits]
            if free in self._waiting or waits not in self._waiting or node.op != "add":
                continue
            for late, early in (node.operands, node.operands[::-1]):
                fixed = self.nodes[early].op == self.nodes[free].op == "fixed"
                if early not in self._waiting and not fixed:
                    return late, self.call("add", early, free)
        return a, b

    def _kept(self, node: int | None, operands: tuple[int, ...]) -> int | None:
        """`node`, if the operation leaves its shape as it is."""
        shape = _broadcast([self.nodes[o].shape for o in operands])
        return node if node is not None and self.nodes[node].shape == tuple(shape) else None

    def _folded(self, op: str, values: list[float]) -> int:
        tensors = [torch.tensor(value, dtype=torch.float64) for value in values]
        if op == "where":
            tensors[0] = tensors[0] != 0
        return self.number(float(getattr(torch, op)(*tensors)))

    def rowless(self) -> set[int]:
        """What is made of fixed tensors and numbers alone, the same for all rows."""
        found: set[int] = set()
        for number, node in enumerate(self.nodes):
            own = node.op in ("fixed", "number") or (bool(node.operands) and node.op not in SUMS)
            if own and found.issuperset(node.operands):
                found.add(number)
        return found

    def leaves(self, kind: str) -> list[int]:
        """The nodes of one of the kinds of `LEAVES`."""
        return [number for number, node in enumerate(self.nodes) if node.op == kind]

    def ancestors(self, roots: Iterable[int]) -> set[int]:
        """All that the roots are made of, themselves included."""
        found: set[int] = set()
        stack = list(roots)
        while stack:
            number = stack.pop()
            if number not in found:
                found.add(number)
                stack.extend(self.nodes[number].operands)
        return found

    def between(self, roots: Iterable[int], stop: set[int]) -> set[int]:
        """What the roots are made of, as far as `stop`."""
        found, stack = set[int](), [root for root in roots if root not in stop]
        while stack:
            number = stack.pop()
            if number not in found:
                found.add(number)
                stack.extend(o for o in self.nodes[number].operands if o not in stop)
        return found

    def descendants(self, leaves: Iterable[int]) -> set[int]:
        """All that is made of the leaves, themselves included."""
        found = set(leaves)
        for number, node in enumerate(self.nodes):
            if found.intersection(node.operands):
                found.add(number)
        return found

    # Features

    def slice(self, a: int, axis: int, start: int, stop: int) -> int:
        """Features [start, stop) along an axis (counted from the front)."""
        node = self.nodes[a]
        if (start, stop) == (0, node.shape[axis]):
            return a
        if node.op == "slice" and node.attributes[0] == axis:
            start, stop = start + node.attributes[1], stop + node.attributes[1]
            return self.slice(node.operands[0], axis, start, stop)
        if node.op == "cat" and node.attributes[0] == axis:
            return self._slice_of_cat(node, axis, start, stop)
        shape = (*node.shape[:axis], stop - start, *node.shape[axis + 1 :])
        if node.op == "number":
            return a
        return self.add("slice", (a,), shape, axis, start, stop, mask=node.mask)

    def _slice_of_cat(self, node: Node, axis: int, start: int, stop: int) -> int:
        parts, begin = [], 0
        for operand in node.operands:
            end = begin + self.nodes[operand].shape[axis]
            low, high = max(start, begin), min(stop, end)
            if low < high:
                parts.append(self.slice(operand, axis, low - begin, high - begin))
            begin = end
        return self.cat(parts, axis)

    def cat(self, parts: Sequence[int], axis: int) -> int:
        """Parts side by side along an axis; neighbours that were cut apart grow together."""
        joined: list[int] = []
        for part in parts:
            node = self.nodes[part]
            inner = node.operands if node.op == "cat" and node.attributes[0] == axis else (part,)
            for piece in inner:
                whole = self._whole(joined[-1], piece, axis) if joined else None
                joined[-1:] = [whole] if whole is not None else [*joined[-1:], piece]
        if len(joined) == 1:
            return joined[0]
        first = self.nodes[joined[0]]
        width = sum(self.nodes[piece].shape[axis] for piece in joined)
        shape = (*first.shape[:axis], width, *first.shape[axis + 1 :])
        return self.add("cat", joined, shape, axis, mask=first.mask)

    def _whole(self, left: int, right: int, axis: int) -> int | None:
        """Two neighbouring slices of one value as one slice."""
        a, b = self.nodes[left], self.nodes[right]
        if a.op != "slice" or b.op != "slice" or a.operands != b.operands:
            return None
        if a.attributes[0] == b.attributes[0] == axis and a.attributes[2] == b.attributes[1]:
            return self.slice(a.operands[0], axis, a.attributes[1], b.attributes[2])
        return None

    def reshape(self, a: int, shape: Sequence[int]) -> int:
        node, shape = self.nodes[a], tuple(shape)
        if node.shape == shape or node.op == "number":
            return a
        if node.op == "reshape":
            return self.reshape(node.operands[0], shape)
        if math.prod(shape) != math.prod(node.shape):
            raise ValueError(f"{node.shape} cannot be {shape}")
        return self.add("reshape", (a,), shape, mask=node.mask)

    def permute(self, a: int, axes: Sequence[int]) -> int:
        node, axes = self.nodes[a], tuple(axes)
        if axes == tuple(range(len(axes))) or node.op == "number":
            return a
        shape = tuple(node.shape[axis] for axis in axes)
        moved = [axis for axis in axes if node.shape[axis] != 1]
        if moved == sorted(moved):  # only axes of one: nothing moves in memory
            return self.reshape(a, shape)
        if node.op == "permute":
            return self.permute(node.operands[0], [node.attributes[0][axis] for axis in axes])
        return self.add("permute", (a,), shape, axes, mask=node.mask)

    def expand(self, a: int, shape: Sequence[int]) -> int:
        """Features broadcast to a shape."""
        node, shape = self.nodes[a], tuple(shape)
        if node.shape == shape or node.op == "number":
            return a
        return self.add("expand", (a,), shape, mask=node.mask)

    def expand_number(self, value: float, shape: Sequence[int]) -> int:
        """One number in all features: as a node with a shape, for where shapes are added up."""
        return self.add("expand", (self.number(value),), shape)

    def reduce(self, op: str, a: int, axes: Sequence[int], keep: bool) -> int:
        """The sum or largest over feature axes."""
        shape = self.nodes[a].shape
        axes = tuple(sorted(axis % len(shape) for axis in axes))
        if all(shape[axis] == 1 for axis in axes):
            result = a
        else:
            kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
            result = self.add(op, (a,), kept, axes)
        if keep:
            return result
        return self.reshape(result, [s for axis, s in enumerate(shape) if axis not in axes])

    def matmul(self, a: int, weight: int) -> int:
        """a (..., K) times a fixed (K, N)."""
        shape = (*self.nodes[a].shape[:-1], self.nodes[weight].shape[-1])
        return self.add("matmul", (a, weight), shape)

    def heads(self, a: int, weight: int) -> int:
        """a (..., h, K) times a fixed (h, K, N): a product for each head."""
        shape = (*self.nodes[a].shape[:-1], self.nodes[weight].shape[-1])
        return self.add("heads", (a, weight), shape)


def _broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape that all broadcast to; torch.broadcast_shapes would import sympy for it."""
    rank = max(len(shape) for shape in shapes)
    padded = [(*[1] * (rank - len(shape)), *shape) for shape in shapes]
    sizes = [{size for size in column if size != 1} for column in zip(*padded, strict=True)]
    if any(len(size) > 1 for size in sizes):
        raise ValueError(f"features of shapes {shapes} do not broadcast")
    return tuple(size.pop() if size else 1 for size in sizes)
