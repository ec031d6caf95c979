"""Sums and largest values over features."""

import math
from collections.abc import Callable, Sequence

from bptt.compiler.arrange.features import indices
from bptt.compiler.arrange.pieces import Piece, Pieces, between, merged
from bptt.compiler.arrange.values import Values
from bptt.compiler.graph import Node


def _sum(values: Values, node: Node) -> Pieces:
    return _reduced(values, node, "sum", "add")


def _max(values: Values, node: Node) -> Pieces:
    return _reduced(values, node, "max", "maximum")


def _reduced(values: Values, node: Node, reduction: str, combine: str) -> Pieces:
    """Trailing axes within a row of columns, leading ones piece by piece."""
    axes, shape = node.attributes[0], values.graph[node.operands[0]].shape
    pieces = values.of(node.operands[0])
    trailing = len(shape)
    while trailing and (trailing - 1 in axes or shape[trailing - 1] == 1):
        trailing -= 1
    width = math.prod(shape[trailing:])
    rows = [
        _reduce(values, between(pieces, begin, begin + width), reduction, combine)
        for begin in range(0, math.prod(shape), width)
    ] if width > 1 else pieces  # fmt: skip
    leading = [axis for axis in axes if axis < trailing and shape[axis] > 1]
    return _added(values, rows, shape[:trailing], leading, combine) if leading else rows


def _reduce(values: Values, pieces: Pieces, reduction: str, combine: str) -> Piece:
    """One column from many."""
    return _combined(values, values.ledger.reduce(pieces, reduction), combine)


def _added(
    values: Values, rows: Pieces, shape: Sequence[int], axes: Sequence[int], combine: str
) -> Pieces:
    """Summed over leading axes: piece by piece."""
    kept = [1 if axis in axes else size for axis, size in enumerate(shape)]
    slots: dict[int, Pieces] = {}
    for position, index in enumerate(indices(shape)):
        slot = 0
        for axis, i in enumerate(index):
            slot = slot * kept[axis] + (0 if axis in axes else i)
        slots.setdefault(slot, []).append(between(rows, position, position + 1)[0])
    return merged([_combined(values, slots[slot], combine) for slot in sorted(slots)])


def _combined(values: Values, pieces: Pieces, combine: str) -> Piece:
    """One piece from some of one width."""
    found = pieces[0]
    for piece in pieces[1:]:
        found = values.apply(combine, [found, piece])
    return found


REDUCTIONS: dict[str, Callable[[Values, Node], Pieces]] = {"sum": _sum, "max": _max}
