"""A value as pieces: columns side by side that one expression each computes.

Slices and concatenations only cut and join lists of them, so that nothing is left of those
operations but offsets.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bptt.compiler.arrange.expressions import Expression, moved


class Piece(NamedTuple):
    """Columns side by side that one expression computes."""

    width: int
    expression: Expression
    level: int = 0


Pieces = list[Piece]


def between(pieces: Pieces, start: int, stop: int) -> Pieces:
    """The pieces of columns [start, stop)."""
    found, begin = [], 0
    for piece in pieces:
        end = begin + piece.width
        low, high = max(start, begin), min(stop, end)
        if low < high:
            there = moved(piece.expression, low - begin) if low > begin else piece.expression
            found.append(Piece(high - low, there, piece.level))
        begin = end
    return found


def cut(pieces: Pieces, columns: Sequence[int]) -> Pieces:
    """Pieces cut at columns."""
    ends = [*columns, sum(piece.width for piece in pieces)]
    found: Pieces = []
    start = 0
    for end in ends:
        if end > start:
            found += between(pieces, start, end)
            start = end
    return found


def merged(pieces: Pieces) -> Pieces:
    """Neighbours that are read side by side as one piece."""
    found: Pieces = []
    for piece in pieces:
        if found and _follows(found[-1], piece):
            found[-1] = found[-1]._replace(width=found[-1].width + piece.width)
        else:
            found.append(piece)
    return found


def _follows(last: Piece, piece: Piece) -> bool:
    """Whether a piece is what comes next where the last one is read."""
    return (
        last.level == piece.level
        and moved(last.expression, last.width) == piece.expression
        and piece.expression[0] == "read"
        and not piece.expression[3]
    )


def aligned(operands: Sequence[Pieces]) -> Iterator[list[Piece]]:
    """Pieces of several values of one width, cut wherever one of them is."""
    ends = sorted({end for pieces in operands for end in _ends(pieces)})
    start = 0
    for end in ends:
        yield [_there(pieces, start, end, ends[-1]) for pieces in operands]
        start = end


def _ends(pieces: Pieces) -> Iterator[int]:
    end = 0
    for piece in pieces:
        end += piece.width
        yield end


def _there(pieces: Pieces, start: int, end: int, width: int) -> Piece:
    """One value's piece of columns; a value of one column is a number for all."""
    if width > 1 and sum(piece.width for piece in pieces) == 1:
        return pieces[0]._replace(width=end - start)
    return between(pieces, start, end)[0]
