"""Which rows go back when, where losses go back so many steps and no further.

Between the end of one run and the next lies a piece of a sequence, which runs that began later go
through too. What they leave at a step is added up before anything else is made of it, and a step's
way back is linear: so runs that meet go on as one. The first pass takes every piece back with its
own run alone. The second takes it back again, but begins with what the first has left of the next
piece: with its own run and the next one. The n-th begins with n - 1 runs of later pieces, and goes
as far as the one that began last does. So the last pass through a step comes with the sum of all
runs through it, and that alone computes gradients there: earlier ones only carry adjoints on. A
pass through a piece has therefore two legs at most: over steps that later passes go through again,
then through those that none does. They take as many steps as the runs have, and nothing has to be
added up, nor does a piece wait for another within a pass.

A reset ends a run; losses before it are a run of their own. So no loop meets any.

Steps are counted as processed, each sequence's own from 0, where nothing else is said.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bptt.backends.cpu import kernel
from bptt.course import Course
from bptt.fused.pieces import Pieces, covered, pieces
from bptt.methods.spans import Spans

ROWS = 128  # pieces that go back at once: what they carry stays in the cache next to the core
STEPS = 2560  # of all of them together, at least: less is not worth a kernel's start

Ints = np.ndarray
Window = tuple[int, int]


class Leg(NamedTuple):
    """Rows of a group that go back some steps.

    Attributes:
        rows: where they go.
        active: which of the group's they are; None for all.
        source: what each begins with, among the last pass's results for each row of the group, this
            one's, what each sequence came to in the last pass, and in this one, in groups before;
            None where all begin with nothing.
        last: whether no later pass goes through these steps.
    """

    rows: kernel.Rows
    active: Tensor | None
    source: Tensor | None
    last: bool


class Pass(NamedTuple):
    """Rows of a group that go back once more.

    Attributes:
        legs: one after the other.
        edge, over: rows that the next group goes on from, and their sequences.
        reached, owners: rows that arrive at the initial state, in no later pass again, and theirs.
        left, parted: rows that arrive at a reset, in no later pass again, and theirs.
    """

    legs: list[Leg]
    edge: Tensor
    over: Tensor
    reached: Tensor
    owners: Tensor
    left: Tensor
    parted: Tensor


class Group(NamedTuple):
    """Pieces that lie near each other in time.

    Attributes:
        window: their time indices, from the first to that behind the last.
        size: how many there are.
        passes: through them, one after the other.
    """

    window: Window
    size: int
    passes: list[Pass]


class Part(NamedTuple):
    """Steps whose sums are made together.

    Attributes:
        window: their time indices.
        untouched: which of their rows no run goes through.
        groups: in the order in which they go back.
    """

    window: Window
    untouched: Tensor
    groups: list[Group]


class Layout(NamedTuple):
    """All that goes back.

    Attributes:
        entering: (T, B) whether a step's losses enter any run; None if all do.
        resting: the sequences whose final state is their first.
        parts: in the order in which they go back.
    """

    entering: Tensor | None
    resting: Tensor
    parts: list[Part]


def layout(course: Course, spans: Spans, size: int) -> Layout:
    """Runs by passes, and sums by about `size` steps."""
    found, counts = pieces(course, spans), course.counts.numpy()
    live = np.arange(course.steps)[:, None] < counts
    losses = covered(course, spans.sequence.numpy(), *_losses(spans))
    touched = covered(course, found.sequence, found.start, found.end)
    laid = _Laid(course, found, counts)
    return Layout(
        None if losses[live].all() else torch.from_numpy(losses),
        spans.sequence[spans.final & (spans.back == 0)],
        [laid.part(window, touched) for window in laid.windows(size)],
    )


def _losses(spans: Spans) -> tuple[Ints, Ints]:
    end = spans.end.numpy()
    return end - spans.losses.numpy(), end


class _Laid:
    """Pieces as they lie in time."""

    def __init__(self, course: Course, found: Pieces, counts: Ints) -> None:
        self.course, self.pieces = course, found
        self.longest = int(counts.max()) if len(counts) else 0
        # In reverse, windows of time are seen from the end of the longest sequence.
        self.shift = counts - self.longest if course.reverse else np.zeros_like(counts)
        self.counts = counts
        self.named = course.lengths is None and course.reset is None
        self._ends = (
            found.end[found.sequence == int(counts.argmax())] if self.longest else found.end
        )

    def windows(self, size: int) -> list[Window]:
        """The last steps first; where pieces meet, if they are not longer."""
        if not self.longest:
            return [(0, self.course.steps)]
        return list(self._cut(0, self.longest, size))

    def _cut(self, begin: int, end: int, size: int) -> Iterator[Window]:
        ends = self._ends[(begin < self._ends) & (self._ends < end)]
        length = (end - begin) / (len(ends) + 1)
        every = max(int(size // length), 1)
        if length > size:
            inner = list(range(begin + size, end, size))
        else:
            inner = ends[every - 1 :: every].tolist()
        edges = [begin, *inner, end]
        yield from zip(reversed(edges[:-1]), reversed(edges[1:]), strict=True)

    def part(self, window: Window, touched: np.ndarray) -> Part:
        start, stop = self.times(window)
        untouched = np.flatnonzero(~touched[start:stop])
        groups = [
            self.group(own) for own in self._cut(*window, self._together(window)) if self.longest
        ]
        return Part((start, stop), torch.from_numpy(untouched), groups)

    def _together(self, window: Window) -> int:
        """How many steps a group has."""
        begin, end = window
        ends = self._ends[(begin < self._ends) & (self._ends < end)]
        length = (end - begin) / (len(ends) + 1)
        batch = max(self.course.batch, 1)
        return max(int(max(ROWS // batch, 1) * length), STEPS // batch, 1)

    def times(self, window: Window) -> Window:
        """The time indices of some steps of the longest sequence."""
        begin, end = window
        if self.course.reverse and self.longest:
            return self.longest - end, self.longest - begin
        return begin, end

    def group(self, window: Window) -> Group:
        """The pieces that lie in some steps of the longest sequence."""
        own, shift = self.pieces, self.shift[self.pieces.sequence]
        low = np.maximum(own.begin, window[0] + shift)
        high = np.minimum(own.end, window[1] + shift)
        inside = np.flatnonzero(low < high)
        rows = _Rows(self, self.times(window), inside, low[inside], high[inside])
        return Group(self.times(window), len(inside), rows.passes())


class _Rows:
    """The pieces of a group, or what of them lies in it.

    Args:
        laid: all of them.
        window: the group's steps.
        inside: which they are.
        low, high: the steps of each that lie in it.
    """

    def __init__(self, laid: _Laid, window: Window, inside: Ints, low: Ints, high: Ints) -> None:
        self.laid, self.window, self.inside = laid, window, inside
        self.low, self.high = low, high
        self.sequence = laid.pieces.sequence[inside]
        follows = np.zeros(len(inside), dtype=bool)  # the next row is the next piece
        follows[:-1] = self.sequence[:-1] == self.sequence[1:]
        self.follows = follows
        self.earliest = np.ones(len(inside), dtype=bool)
        self.earliest[1:] = ~follows[:-1]

    def passes(self) -> list[Pass]:
        """One after the other, until no run is left that goes through any row."""
        found, oldest = [], self.inside
        own = self.laid.pieces
        while True:
            known = oldest < len(own.end)
            at = np.where(known, oldest, 0)
            floor = np.maximum(self.low, own.start[at])
            active = known & (own.sequence[at] == self.sequence) & (floor < self.high)
            if not active.any():
                return self._passes(found)
            found.append((at, floor, active))
            oldest = oldest + 1

    def _passes(self, found: list[tuple[Ints, Ints, Ints]]) -> list[Pass]:
        own, made = self.laid.pieces, []
        done = np.zeros(len(self.inside), dtype=bool)
        again = self.high  # where the next pass's steps begin
        for number, (oldest, floor, active) in reversed(list(enumerate(found))):
            arrives = active & ~done & (own.start[oldest] >= self.low) & own.arrives[oldest]
            done |= arrives
            legs = self._legs(number, active, floor, again)
            made.append(self._pass(legs, active, arrives, own.leaves[oldest]))
            again = np.where(active, floor, again)
        return made[::-1]

    def _pass(self, legs: list[Leg], active: Ints, arrives: Ints, leaves: Ints) -> Pass:
        places = []
        for rows in (active & self.earliest, arrives & ~leaves, arrives & leaves):
            found = np.flatnonzero(rows)
            places += [torch.from_numpy(found), torch.from_numpy(self.sequence[found])]
        return Pass(legs, *places)

    def _legs(self, number: int, active: Ints, floor: Ints, again: Ints) -> list[Leg]:
        """Down to where the next pass's steps begin, and on to its own floor."""
        source = self._source(number)
        begun = len(self.inside) + np.arange(len(self.inside))  # behind the first leg
        onward = np.where(again < self.high, begun, source)
        legs = [
            self._leg(active & (again < self.high), self.high, again, source, last=False),
            self._leg(active & (floor < again), again, floor, onward, last=True),
        ]
        return [leg for leg in legs if leg is not None]

    def _leg(self, active: Ints, high: Ints, low: Ints, source: Ints, *, last: bool) -> Leg | None:
        rows = np.flatnonzero(active)
        if not len(rows):
            return None
        whole, source = len(rows) == len(active), source[rows]
        return Leg(
            self._kernel_rows(self.sequence[rows], high[rows], low[rows]),
            None if whole else torch.from_numpy(rows),
            None if whole and (source == rows).all() else torch.from_numpy(source),
            last,
        )

    def _source(self, number: int) -> Ints:
        """What rows begin with: before the first pass, each with its own row, which is nothing."""
        size, batch, own = len(self.inside), self.laid.course.batch, self.laid.pieces
        behind = 2 * size + self.sequence
        if number == 0:
            source = np.where(own.final[self.inside], behind, np.arange(size))
        else:
            source = np.where(self.follows, np.arange(size) + 1, behind)
        return np.where(self.high < own.end[self.inside], behind + batch, source)

    def _kernel_rows(self, own: Ints, high: Ints, low: Ints) -> kernel.Rows:
        reverse = self.laid.course.reverse
        time = self.laid.counts[own] - high if reverse else high - 1
        given = own, time - self.window[0], high - low
        name = None
        if self.laid.named:
            name = b"".join(part.tobytes() for part in given)
        sequence, start, steps = (torch.from_numpy(part) for part in given)
        return kernel.Rows(sequence, start, steps, 1 if reverse else -1, True, name)
