"""Which sequence lies where in the rows of a batch: a function of lengths, seed and epoch."""

import heapq
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple


class Piece(NamedTuple):
    """Steps [start, start + steps) of a sequence; begun afresh."""

    sequence: int
    start: int
    steps: int


class Cut(NamedTuple):
    """Where a part of a sequence enters a window.

    Attributes:
        sequence: which.
        start: its first step that enters.
        at: the window's step that it enters at.
        steps: how many enter.
        fresh: whether a piece begins here.
    """

    sequence: int
    start: int
    at: int
    steps: int
    fresh: bool


class Row:
    """Pieces laid end to end."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self.ends = list(accumulate(piece.steps for piece in pieces))

    @property
    def steps(self) -> int:
        """How long it is."""
        return self.ends[-1]

    def cuts(self, first: int, stop: int) -> Iterator[Cut]:
        """What of its pieces lies in its steps [first, stop)."""
        for index in range(bisect_right(self.ends, first), len(self.pieces)):
            sequence, start, steps = self.pieces[index]
            begin = self.ends[index] - steps
            if begin >= stop:
                break
            low, high = max(begin, first), min(begin + steps, stop)
            yield Cut(sequence, start + low - begin, low - first, high - low, begin >= first)


def pieces_of(lengths: Sequence[int], longest: int | None) -> list[Piece]:
    """All steps of all sequences, none in a piece longer than `longest`; empty ones have none.

    >>> [tuple(piece) for piece in pieces_of([5, 0, 2], 3)]
    [(0, 0, 3), (0, 3, 2), (2, 0, 2)]
    """
    return [
        Piece(sequence, start, min(steps - start, longest or steps))
        for sequence, steps in enumerate(lengths)
        for start in range(0, steps, longest or steps or 1)
    ]


class Layout:
    """Pieces laid into rows, in each epoch anew.

    Args:
        pieces: as many as rows at least.
        count: rows.
        seed: decides with the epoch what follows what; None: the pieces' own order.

    Attributes:
        steps: of the longest row; the lengths of the pieces decide it, not their order.
    """

    def __init__(self, pieces: Sequence[Piece], count: int, seed: int | None) -> None:
        self.pieces, self.count, self.seed = pieces, count, seed
        self._last: tuple[int, list[Row]] | None = None
        self.steps = max(row.steps for row in self.rows(0))

    def rows(self, epoch: int) -> list[Row]:
        """All rows of an epoch."""
        if self._last is None or self._last[0] != epoch:
            pieces = list(self.pieces)
            if self.seed is not None:
                random.Random(f"{self.seed} {epoch}").shuffle(pieces)
            self._last = epoch, _share_out(pieces, self.count)
        return self._last[1]

    def live(self) -> int:
        """Steps of all pieces together."""
        return sum(piece.steps for piece in self.pieces)


def _share_out(pieces: Sequence[Piece], count: int) -> list[Row]:
    """Rows of about equal length: the longest piece first, each into the row that is shortest.

    Within a row pieces follow each other in the order that they came in.

    Source: Graham 1969; the longest row is at most 4/3 of the best division's.
    """
    rows: list[list[int]] = [[] for _ in range(count)]
    loads = [(0, row) for row in range(count)]
    for turn in sorted(range(len(pieces)), key=lambda turn: -pieces[turn].steps):
        load, row = loads[0]
        heapq.heapreplace(loads, (load + pieces[turn].steps, row))
        rows[row].append(turn)
    return [Row([pieces[turn] for turn in sorted(row)]) for row in rows]
