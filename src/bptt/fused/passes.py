"""Which rows go back when, where losses go back so many steps and no further.

Between the end of one run and the next lies a piece of a sequence, which runs that began later go
through too. What they leave at a step is added up before anything else is made of it, and a step's
way back is linear: so runs that meet go on as one. The first pass takes every piece back with its
own run alone. The second takes it back again, but begins with what the first has left of the next
piece: with its own run and the next one. The n-th begins with n - 1 runs of later pieces, and goes
as far as the one that began last does; so that one carries on what all of them have left. The last
pass through a step comes with the sum of all runs through it, and that alone computes gradients
there: earlier ones only carry adjoints on. A pass through a piece has therefore two legs at most:
over steps that later passes go through again, then through those that none does. They take as many
steps as the runs have, and nothing has to be added up, nor does a piece wait for another within a
pass.

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
        rows: where they go, and what of each carry is theirs, from the run `first` on.
        first: a run.
        count: how many there are from there to the last of theirs.
        last: whether no later pass goes through these steps.
    """

    rows: kernel.Rows
    first: int
    count: int
    last: bool


class Group(NamedTuple):
    """Pieces that lie near each other in time.

    Attributes:
        window: their time indices, from the first to that behind the last.
        legs: of all passes through them, one after the other.
    """

    window: Window
    legs: list[Leg]


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


class Ends(NamedTuple):
    """Some runs, and whose they are."""

    runs: Tensor
    sequences: Tensor


class Layout(NamedTuple):
    """All that goes back.

    Attributes:
        entering: (T, B) whether a step's losses enter any run; None if all do.
        resting: the sequences whose final state is their first.
        count: how many runs there are; they are counted in the order in which they end in time.
        final: those that begin with the final state's adjoint.
        reached: those that arrive at the initial state with all that does.
        left: those that arrive at resets so.
        parts: in the order in which they go back.
    """

    entering: Tensor | None
    resting: Tensor
    count: int
    final: Ends
    reached: Ends
    left: Ends
    parts: list[Part]


def layout(course: Course, spans: Spans, size: int) -> Layout:
    """Runs by passes, and sums by about `size` steps."""
    found, counts = pieces(course, spans), course.counts.numpy()
    live = np.arange(course.steps)[:, None] < counts
    losses = covered(course, spans.sequence.numpy(), *_losses(spans))
    touched = covered(course, found.sequence, found.start, found.end)
    laid = _Laid(course, found, counts)
    whole = found.arrives & ~found.goes_on
    return Layout(
        None if losses[live].all() else torch.from_numpy(losses),
        spans.sequence[spans.final & (spans.back == 0)],
        len(found.end),
        laid.ends(found.final),
        laid.ends(whole & ~found.leaves),
        laid.ends(whole & found.leaves),
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
        by_time = np.lexsort((found.sequence, found.end - self.shift[found.sequence]))
        self.number = np.argsort(by_time)  # of each run
        self._ends = (
            found.end[found.sequence == int(counts.argmax())] if self.longest else found.end
        )

    def ends(self, which: Ints) -> Ends:
        """Some of the runs."""
        number, sequence = self.number[which], self.pieces.sequence[which]
        return Ends(torch.from_numpy(number), torch.from_numpy(sequence))

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
        inside = inside[np.argsort(self.number[inside])]
        rows = _Rows(self, self.times(window), inside, low[inside], high[inside])
        return Group(self.times(window), rows.legs())


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

    def legs(self) -> list[Leg]:
        """Of one pass after the other, until no run is left that goes through any row."""
        passes, later = list(self._passes()), self.high
        found: list[Leg] = []
        for oldest, floor, active in reversed(passes):
            legs = [
                self._leg(active & (later < self.high), oldest, self.high, later, last=False),
                self._leg(active & (floor < later), oldest, later, floor, last=True),
            ]
            found = [leg for leg in legs if leg is not None] + found
            later = np.where(active, floor, later)
        return found

    def _passes(self) -> Iterator[tuple[Ints, Ints, Ints]]:
        """With which run rows go, how far, and whether they do."""
        oldest, own = self.inside, self.laid.pieces
        while True:
            known = oldest < len(own.end)
            at = np.where(known, oldest, 0)
            floor = np.maximum(self.low, own.start[at])
            active = known & (own.sequence[at] == self.sequence) & (floor < self.high)
            if not active.any():
                return
            yield at, floor, active
            oldest = oldest + 1

    def _leg(self, active: Ints, oldest: Ints, high: Ints, low: Ints, *, last: bool) -> Leg | None:
        """Rows that go from `high` down to `low`."""
        rows = np.flatnonzero(active)
        if not len(rows):
            return None
        runs = self.laid.number[oldest[rows]]
        first = int(runs.min())
        found = self._kernel_rows(self.sequence[rows], high[rows], low[rows], runs - first)
        return Leg(found, first, int(runs.max()) - first + 1, last)

    def _kernel_rows(self, sequence: Ints, high: Ints, low: Ints, run: Ints) -> kernel.Rows:
        reverse, counts = self.laid.course.reverse, self.laid.counts
        time = counts[sequence] - high if reverse else high - 1
        given = sequence, time - self.window[0], high - low, run
        name = None
        if self.laid.named:
            name = b"".join(part.tobytes() for part in given)
        sequences, starts, steps, runs = map(torch.from_numpy, given)
        own = None if (run == np.arange(len(run))).all() else runs
        return kernel.Rows(sequences, starts, steps, 1 if reverse else -1, True, name, own)
