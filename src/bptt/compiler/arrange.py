"""The loop column of a graph as stages over the columns of a row.

A value of the graph becomes a list of pieces that lie side by side, each an expression that is the
same for all of its columns. Slices and concatenations only cut and join such lists, so that nothing
is left of them but offsets. A product or a reduction needs its operand in memory, so the pieces of
that are stored by a stage, and what is made of the result belongs to a later one: the number of
such borders before a piece is its level. Pieces of one level and width make a stage.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.compiler.graph import Graph, Node
from bptt.compiler.split import CHEAP, Columns
from bptt.compiler.stages import (
    MASKS,
    Call,
    Loop,
    Memory,
    Number,
    Product,
    Read,
    Reduction,
    Stage,
    Store,
    Value,
)
from bptt.compiler.trace import Untraceable


class Piece(NamedTuple):
    """Columns side by side that one expression computes."""

    width: int
    expression: tuple  # (kind, ...): see `_Arrangement`
    level: int = 0


Pieces = list[Piece]
# More pieces than this in one value, and the kernel would be longer than what it saves.
MOST = 256


class Part(NamedTuple):
    """A fixed tensor, or the head and the rows of it that a product takes."""

    node: int
    head: int | None = None
    start: int = 0
    stop: int | None = None

    def rows_of(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """The matrix, of the whole tensor."""
        matrix = tensor if self.head is None else tensor[self.head]
        if self.start or self.stop != matrix.shape[0]:
            matrix = matrix[self.start : self.stop]
        return matrix if matrix.dtype is dtype else matrix.to(dtype)


class Names(NamedTuple):
    """What the memories of a loop stand for.

    Attributes:
        step: node by memory: what is read, and what is kept, for all steps.
        sequence, fixed: node by memory, of what is read.
        carried: memory by leaf of the state.
        totals: node by memory: sums over all rows, of which the loop adds up each sequence's part.
    """

    step: dict[str, int]
    sequence: dict[str, int]
    fixed: dict[str, Part]
    kept: dict[str, int]
    carried: list[str]
    totals: dict[str, int]


def arrange(
    columns: Columns, carried_leaves: str, absent: frozenset[int] = frozenset()
) -> tuple[Loop, Names]:
    """The stages of a loop column, and which memory is which node.

    Args:
        columns: one direction of a step.
        carried_leaves: the graph's name for what comes from the step before: "state" or "d_state".
        absent: given values that are zero throughout.

    Raises:
        Untraceable: features are moved about in a way that no offsets describe.
    """
    return _Arrangement(columns, carried_leaves, absent).run()


class _Arrangement:
    """Expressions are tuples: ("read", memory, offset, spread), ("number", value),
    ("call", operation, expressions), ("product", memory, offset, count, matrix, column)."""

    def __init__(self, columns: Columns, carried_leaves: str, absent: frozenset[int]) -> None:
        self.columns, self.graph, self.absent = columns, columns.graph, absent
        self.memories: dict[str, Memory] = {}
        self.names = Names({}, {}, {}, {}, [], {})
        self.pieces: dict[int, Pieces] = {}
        self.stores: list[tuple[int, int, str, int, tuple]] = []  # level, width, memory, offset
        self.reductions: list[tuple[int, int, str, int, tuple, str]] = []
        self.stored: dict[tuple[int, tuple], Piece] = {}  # where a piece has been stored already
        self.rows: dict[int, Pieces] = {}
        self.cuts = _cuts(columns)
        self.leaf = carried_leaves

    def run(self) -> tuple[Loop, Names]:
        loop = set(self.columns.loop)
        self._carries()
        for number in self.columns.loop:
            self.pieces[number] = self._cut(number, self._computed(number))
            if number in self.columns.kept:
                self._keep(number)
        for number in self.columns.kept:
            if number not in loop:
                self._value(number)
                self._keep(number)
        for leaf, number in enumerate(self.columns.carried):
            self._carry(leaf, number)
        self._totals(loop)
        assert loop <= set(self.pieces)
        self._count_steps()
        return Loop(tuple(self.memories.values()), self._stages()), self.names

    def _count_steps(self) -> None:
        """A loop is told T by what it reads or stores at each step: there is always something."""
        steps = any(memory.kind == "step" for memory in self.memories.values())
        if self.stores and not steps:
            self._keep(next(n for n in self.columns.carried if n in self.pieces))

    # Memory

    def _memory(self, name: str, kind: str, width: int, height: int = 1) -> str:
        self.memories.setdefault(name, Memory(name, kind, width, height))
        return name

    def _carries(self) -> None:
        prefix = "s" if self.leaf == "state" else "a"
        leaves = [n for n in self.graph.nodes if n.op == self.leaf]
        widths = {n.attributes[0]: math.prod(n.shape) for n in leaves}
        for leaf, result in enumerate(self.columns.carried):
            width = widths.get(leaf)
            if width is None and result is not None:
                width = math.prod(self.graph[result].shape)
            name = f"{prefix}{leaf}"
            self.names.carried.append(name)
            if width is not None:
                self._memory(name, "carry", width)

    def _scratch(self, width: int) -> str:
        count = sum(memory.kind == "scratch" for memory in self.memories.values())
        return self._memory(f"m{count}", "scratch", width)

    def _step(self, number: int) -> str:
        """The memory of a value that is there for all steps."""
        for name, node in self.names.step.items():
            if node == number:
                return name
        name = f"p{len(self.names.step)}"
        self.names.step[name] = number
        return self._memory(name, "step", math.prod(self.graph[number].shape))

    def _fixed(self, part: Part) -> str:
        """The memory of a fixed tensor, or of a matrix in it."""
        for name, known in self.names.fixed.items():
            if known == part:
                return name
        shape = self.graph[part.node].shape
        name = f"w{len(self.names.fixed)}"
        self.names.fixed[name] = part
        if part.stop is not None:
            return self._memory(name, "matrix", shape[-1], part.stop - part.start)
        return self._memory(name, "weight", math.prod(shape))

    def _sequence(self, number: int) -> str:
        for name, node in self.names.sequence.items():
            if node == number:
                return name
        name = f"q{len(self.names.sequence)}"
        self.names.sequence[name] = number
        return self._memory(name, "sequence", math.prod(self.graph[number].shape))

    # Values

    def _value(self, number: int) -> Pieces:
        """The pieces of a node, of the loop or from outside."""
        if number in self.pieces:
            return self.pieces[number]
        node = self.graph[number]
        width = math.prod(node.shape)
        if number in self.absent:
            found = [Piece(width, ("number", 0.0))]
        elif node.op == "number":
            found = [Piece(width, ("number", float(node.attributes[0])))]
        elif node.op == self.leaf:
            memory = self.names.carried[node.attributes[0]]
            found = [Piece(width, ("read", memory, 0, False))]
        elif node.op == "fixed":
            found = [Piece(width, ("read", self._fixed(Part(number)), 0, False))]
        elif node.op == "sequence":
            found = [Piece(width, ("read", self._sequence(number), 0, False))]
        else:
            found = [Piece(width, ("read", self._step(number), 0, False))]
            if node.mask:
                found = [Piece(width, _call("ne", found[0].expression, ("number", 0.0)))]
        self.pieces[number] = self._cut(number, found)
        return self.pieces[number]

    def _computed(self, number: int) -> Pieces:
        node = self.graph[number]
        compute = getattr(self, f"_{node.op}_pieces", None)
        if compute is not None:
            return compute(node)
        return self._point(node)

    def _cut(self, number: int, pieces: Pieces) -> Pieces:
        """Pieces cut where those who use the value cut it."""
        return _at(pieces, sorted(self.cuts.get(number, ())))

    def _point(self, node: Node) -> Pieces:
        operands = [self._broadcast(o, node.shape) for o in node.operands]
        return [self._apply(node.op, row) for row in _aligned(operands)]

    def _apply(self, op: str, operands: Sequence[Piece]) -> Piece:
        level = max(piece.level for piece in operands)
        ready = [self._ready(piece, level) for piece in operands]
        return Piece(operands[0].width, _call(op, *(p.expression for p in ready)), level)

    def _ready(self, piece: Piece, level: int) -> Piece:
        """A piece that a stage of a later level can use without computing it once more."""
        if piece.level < level and _is_heavy(piece.expression):
            return self._in_memory([piece])[0]
        return piece

    def _broadcast(self, number: int, shape: Sequence[int]) -> Pieces:
        """The pieces of a value with its features broadcast to a shape."""
        own, shape = self.graph[number].shape, tuple(shape)
        pieces = self._value(number)
        if own == shape or math.prod(own) == math.prod(shape):
            return pieces
        own = (*[1] * (len(shape) - len(own)), *own)
        if math.prod(own) == 1:
            return [self._spread(pieces[0], math.prod(shape))]
        runs = list(_runs(own, shape))
        if len(runs) > MOST:
            raise Untraceable(f"broadcasts features of shape {own} to {shape} in the loop")
        found: Pieces = []
        for offset, width, spread in runs:
            part = _between(pieces, offset, offset + (1 if spread else width))
            found += [self._spread(part[0], width)] if spread else part
        return found

    def _spread(self, piece: Piece, width: int) -> Piece:
        """One column for many."""
        if width == 1 or piece.expression[0] == "number":
            return piece._replace(width=width)
        spread = _spread_expression(piece.expression)
        if spread is None:
            piece = self._in_memory([piece])[0]
            spread = _spread_expression(piece.expression)
            assert spread is not None
        return Piece(width, spread, piece.level)

    def _in_memory(self, pieces: Pieces, whole: bool = False) -> Pieces:
        """Pieces as what can be read: computed ones are stored first, in one memory if `whole`."""
        if whole or any((p.width, p.expression) not in self.stored for p in pieces):
            memory = self._scratch(sum(piece.width for piece in pieces))
            self._store(memory, pieces, remember=True)
        return [self.stored[p.width, p.expression] for p in pieces]

    def _store(self, memory: str, pieces: Pieces, remember: bool) -> None:
        offset = 0
        for piece in pieces:
            self.stores.append((piece.level, piece.width, memory, offset, piece.expression))
            if remember:
                again: tuple = ("read", memory, offset, False)
                if _is_mask(piece.expression):
                    again = _call("ne", again, ("number", 0.0))
                read = Piece(piece.width, again, piece.level + 1)
                self.stored[piece.width, piece.expression] = read
            offset += piece.width

    def _keep(self, number: int) -> None:
        name = f"k{len(self.names.kept)}"
        self.names.kept[name] = number
        pieces = self.pieces[number]
        self._memory(name, "step", sum(piece.width for piece in pieces))
        self._store(name, pieces, remember=False)

    def _carry(self, leaf: int, number: int | None) -> None:
        name = self.names.carried[leaf]
        if number is None and name not in self.memories:
            return
        none = [Piece(self.memories[name].width, ("number", 0.0))]
        pieces = none if number is None else self._value(number)
        if [p.expression for p in pieces] == [("read", name, 0, False)]:
            return
        self._store(name, pieces, remember=False)

    def _totals(self, loop: set[int]) -> None:
        """Sums of the loop's own values over all rows: bias gradients, for the most part."""
        for number in self.columns.after:
            node = self.graph[number]
            if node.op == "total" and node.operands[0] in loop:
                name = f"t{len(self.names.totals)}"
                self.names.totals[name] = number
                self._memory(name, "sum", math.prod(node.shape))
                self._store(name, self._added_to(name, self.pieces[node.operands[0]]), False)

    def _added_to(self, name: str, pieces: Pieces) -> Pieces:
        found: Pieces = []
        for piece in pieces:
            offset = sum(p.width for p in found)
            whole = _call("add", ("read", name, offset, False), piece.expression)
            found.append(piece._replace(expression=whole))
        return found

    # Features moved

    def _slice_pieces(self, node: Node) -> Pieces:
        axis, start, stop = node.attributes
        shape = self.graph[node.operands[0]].shape
        pieces, inner = self._value(node.operands[0]), math.prod(shape[axis + 1 :])
        found: Pieces = []
        for outer in range(math.prod(shape[:axis])):
            begin = outer * shape[axis] * inner
            found += _between(pieces, begin + start * inner, begin + stop * inner)
        return self._few(found, node)

    def _cat_pieces(self, node: Node) -> Pieces:
        axis, found = node.attributes[0], []
        shapes = [self.graph[o].shape for o in node.operands]
        for outer in range(math.prod(node.shape[:axis])):
            for operand, shape in zip(node.operands, shapes, strict=True):
                width = math.prod(shape[axis:])
                found += _between(self._value(operand), outer * width, (outer + 1) * width)
        return self._few(found, node)

    def _reshape_pieces(self, node: Node) -> Pieces:
        return self._value(node.operands[0])

    def _expand_pieces(self, node: Node) -> Pieces:
        return self._broadcast(node.operands[0], node.shape)

    def _permute_pieces(self, node: Node) -> Pieces:
        shape, axes = self.graph[node.operands[0]].shape, node.attributes[0]
        pieces, found = self._value(node.operands[0]), []
        strides = [math.prod(shape[axis + 1 :]) for axis in axes]
        kept = 1  # trailing axes that stay in place move as one
        rank = len(axes)
        while rank and axes[rank - 1] == rank - 1:
            rank -= 1
            kept *= shape[rank]
        for index in _indices([shape[axis] for axis in axes[:rank]]):
            offset = sum(i * stride for i, stride in zip(index, strides[:rank], strict=True))
            found += _between(pieces, offset, offset + kept)
        return self._few(found, node)

    def _few(self, pieces: Pieces, node: Node) -> Pieces:
        if len(pieces) > MOST:
            raise Untraceable(
                f"moves single features about ({node.op} to {node.shape}) between one step and the "
                "next. Keep features that belong together side by side"
            )
        return _merged(pieces)

    # Products and sums

    def _matmul_pieces(self, node: Node) -> Pieces:
        source, weight = node.operands
        count, width, row = self.graph[source].shape[-1], node.shape[-1], self._row(source)
        return [
            self._product(row, outer * count, count, Part(weight), width)
            for outer in range(math.prod(node.shape[:-1]))
        ]

    def _heads_pieces(self, node: Node) -> Pieces:
        source, weight = node.operands
        shape, width, row = self.graph[source].shape, node.shape[-1], self._row(source)
        return [
            self._product(row, outer * shape[-1], shape[-1], Part(weight, outer % shape[-2]), width)
            for outer in range(math.prod(shape[:-1]))
        ]

    def _row(self, number: int) -> Pieces:
        """A product's operand: pieces that lie in carried or scratch memory."""
        if number not in self.rows:
            pieces = self._value(number)
            if not all(self._is_row(piece) for piece in pieces):
                pieces = self._in_memory(pieces, whole=True)
            self.rows[number] = _merged(pieces)
        return self.rows[number]

    def _is_row(self, piece: Piece) -> bool:
        kind, *rest = piece.expression
        return (
            kind == "read"
            and not rest[2]
            and self.memories[rest[0]].kind in ("step", "carry", "scratch")
        )

    def _product(self, row: Pieces, start: int, count: int, weight: Part, width: int) -> Piece:
        parts, level, k = [], 0, 0
        for piece in _between(row, start, start + count):
            _, memory, offset, _ = piece.expression
            matrix = self._fixed(weight._replace(start=k, stop=k + piece.width))
            parts.append(("product", memory, offset, piece.width, matrix, 0))
            level, k = max(level, piece.level), k + piece.width
        expression = parts[0]
        for part in parts[1:]:
            expression = _call("add", expression, part)
        return Piece(width, expression, level)

    def _sum_pieces(self, node: Node) -> Pieces:
        return self._reduced(node, "sum", "add")

    def _max_pieces(self, node: Node) -> Pieces:
        return self._reduced(node, "max", "maximum")

    def _reduced(self, node: Node, reduction: str, combine: str) -> Pieces:
        axes, shape = node.attributes[0], self.graph[node.operands[0]].shape
        pieces = self._value(node.operands[0])
        trailing = len(shape)
        while trailing and (trailing - 1 in axes or shape[trailing - 1] == 1):
            trailing -= 1
        width = math.prod(shape[trailing:])
        rows = [
            self._reduce(_between(pieces, begin, begin + width), reduction, combine)
            for begin in range(0, math.prod(shape), width)
        ] if width > 1 else pieces  # fmt: skip
        leading = [axis for axis in axes if axis < trailing and shape[axis] > 1]
        return self._added(rows, shape[:trailing], leading, combine) if leading else rows

    def _reduce(self, pieces: Pieces, reduction: str, combine: str) -> Piece:
        """One column from many."""
        memory = self._scratch(len(pieces))
        found: Piece | None = None
        for offset, piece in enumerate(pieces):
            entry = piece.level, piece.width, memory, offset, piece.expression, reduction
            self.reductions.append(entry)
            read = Piece(1, ("read", memory, offset, False), piece.level + 1)
            found = read if found is None else self._apply(combine, [found, read])
        assert found is not None
        return found

    def _added(
        self, rows: Pieces, shape: Sequence[int], axes: Sequence[int], combine: str
    ) -> Pieces:
        """Summed over leading axes: piece by piece."""
        kept = [1 if axis in axes else size for axis, size in enumerate(shape)]
        slots: dict[int, Pieces] = {}
        for position, index in enumerate(_indices(shape)):
            slot = 0
            for axis, i in enumerate(index):
                slot = slot * kept[axis] + (0 if axis in axes else i)
            slots.setdefault(slot, []).append(_between(rows, position, position + 1)[0])
        found: Pieces = []
        for slot in sorted(slots):
            total = slots[slot][0]
            for piece in slots[slot][1:]:
                total = self._apply(combine, [total, piece])
            found.append(total)
        return _merged(found)

    # Stages

    def _stages(self) -> tuple[Stage, ...]:
        keys = {entry[:2] for entry in [*self.stores, *self.reductions]}
        return tuple(self._stage(*key) for key in sorted(keys))

    def _stage(self, level: int, width: int) -> Stage:
        values: dict[Value, int] = {}
        stores = [
            Store(memory, offset, _write(expression, values))
            for *key, memory, offset, expression in self.stores
            if tuple(key) == (level, width)
        ]
        reductions = [
            Reduction(memory, offset, _write(expression, values), operation)
            for *key, memory, offset, expression, operation in self.reductions
            if tuple(key) == (level, width)
        ]
        return Stage(width, tuple(values), tuple(stores), tuple(reductions))


def _call(op: str, *expressions: tuple) -> tuple:
    if op == "add" and ("number", 0.0) in expressions:
        return expressions[expressions[0] == ("number", 0.0)]
    return ("call", op, expressions)


def _write(expression: tuple, values: dict[Value, int]) -> int:
    """An expression among the values of a stage; its number."""
    kind, *rest = expression
    value: Value
    if kind == "read":
        value = Read(*rest)
    elif kind == "number":
        value = Number(*rest)
    elif kind == "product":
        value = Product(*rest)
    else:
        value = Call(rest[0], tuple(_write(operand, values) for operand in rest[1]))
    return values.setdefault(value, len(values))


def _is_heavy(expression: tuple) -> bool:
    """Whether it is worth storing rather than computing once more in a later stage."""
    kind, *rest = expression
    if kind == "call":
        return rest[0] not in CHEAP or any(_is_heavy(operand) for operand in rest[1])
    return kind == "product"


def _is_mask(expression: tuple) -> bool:
    return expression[0] == "call" and expression[1] in MASKS


def _is_free(expression: tuple) -> bool:
    """Whether an expression is a comparison or a sum of a few reads."""
    return expression[0] in ("read", "number")


def _spread_expression(expression: tuple) -> tuple | None:
    """An expression of one column for many; None if it has to be stored for that."""
    kind, *rest = expression
    if kind == "number":
        return expression
    if kind == "read":
        return ("read", rest[0], rest[1], True)
    if kind == "call" and all(_is_free(operand) for operand in rest[1]):
        operands = (_spread_expression(operand) for operand in rest[1])
        return ("call", rest[0], tuple(operand for operand in operands if operand))
    return None


def _moved(expression: tuple, columns: int) -> tuple:
    """An expression `columns` to the right."""
    kind, *rest = expression
    if kind == "read":
        return expression if rest[2] else ("read", rest[0], rest[1] + columns, False)
    if kind == "product":
        return ("product", *rest[:4], rest[4] + columns)
    if kind == "call":
        return ("call", rest[0], tuple(_moved(operand, columns) for operand in rest[1]))
    return expression


def _between(pieces: Pieces, start: int, stop: int) -> Pieces:
    """The pieces of columns [start, stop)."""
    found, begin = [], 0
    for piece in pieces:
        end = begin + piece.width
        low, high = max(start, begin), min(stop, end)
        if low < high:
            moved = _moved(piece.expression, low - begin) if low > begin else piece.expression
            found.append(Piece(high - low, moved, piece.level))
        begin = end
    return found


def _at(pieces: Pieces, cuts: Sequence[int]) -> Pieces:
    """Pieces cut at columns."""
    ends = [*cuts, sum(piece.width for piece in pieces)]
    found: Pieces = []
    start = 0
    for end in ends:
        if end > start:
            found += _between(pieces, start, end)
            start = end
    return found


def _merged(pieces: Pieces) -> Pieces:
    """Neighbours that one expression computes as one piece."""
    found: Pieces = []
    for piece in pieces:
        last = found[-1] if found else None
        follows = (
            last is not None
            and last.level == piece.level
            and _moved(last.expression, last.width) == piece.expression
            and piece.expression[0] == "read"
            and not piece.expression[3]
        )
        if follows and last is not None:
            found[-1] = last._replace(width=last.width + piece.width)
        else:
            found.append(piece)
    return found


def _aligned(operands: Sequence[Pieces]) -> Iterator[list[Piece]]:
    """Pieces of several values of one width, cut wherever one of them is."""
    ends: set[int] = set()
    width = 0
    for pieces in operands:
        end = 0
        for piece in pieces:
            end += piece.width
            ends.add(end)
        width = max(width, end)
    start = 0
    for end in sorted(ends):
        row = []
        for pieces in operands:
            total = sum(piece.width for piece in pieces)
            if total == 1 and width > 1:  # a number
                row.append(pieces[0]._replace(width=end - start))
            else:
                row.append(_between(pieces, start, end)[0])
        yield row
        start = end


def _runs(own: Sequence[int], shape: Sequence[int]) -> Iterator[tuple[int, int, bool]]:
    """Where each run of a broadcast value is read: offset, width, one column for all."""
    axis = len(shape)
    while axis and own[axis - 1] == shape[axis - 1]:
        axis -= 1
    spread = axis == len(shape)
    if spread:
        while axis and own[axis - 1] == 1:
            axis -= 1
    width = math.prod(shape[axis:])
    for index in _indices(shape[:axis]):
        offset = 0
        for i, size in zip(index, own[:axis], strict=True):
            offset = offset * size + (i if size > 1 else 0)
        yield offset * (1 if spread else width), width, spread


def _indices(shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    if not shape:
        yield ()
        return
    for first in range(shape[0]):
        for rest in _indices(shape[1:]):
            yield (first, *rest)


def _cuts(columns: Columns) -> dict[int, set[int]]:
    """Where the values of a loop are cut by those who use them."""
    graph: Graph = columns.graph
    cuts: dict[int, set[int]] = {}
    for number in sorted(columns.loop, reverse=True):
        node = graph[number]
        own = cuts.get(number, set())
        for position, operand in enumerate(node.operands):
            passed = _passed(graph, node, position, own)
            if passed:
                cuts.setdefault(operand, set()).update(passed)
    return cuts


def _passed(graph: Graph, node: Node, position: int, own: Iterable[int]) -> set[int]:
    """Where a user's cuts cut its operand."""
    operand = graph[node.operands[position]]
    width = math.prod(operand.shape)
    if node.op == "slice":
        axis, start, stop = node.attributes
        if math.prod(operand.shape[:axis]) != 1:
            return set()
        inner = math.prod(operand.shape[axis + 1 :])
        return {c for c in (start * inner, stop * inner, *(start * inner + c for c in own))
                if 0 < c < width}  # fmt: skip
    if node.op == "cat" and math.prod(node.shape[: node.attributes[0]]) == 1:
        begin = sum(math.prod(graph[o].shape) for o in node.operands[:position])
        return {c - begin for c in own if 0 < c - begin < width}
    if node.op in ("matmul", "heads", "sum", "max", "permute", "cat", "expand"):
        return set()
    return set(own) if width == math.prod(node.shape) else set()
