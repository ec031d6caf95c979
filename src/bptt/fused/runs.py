"""Runs back through time as the rows of one larger batch.

No run needs another, so many of them go back at once, each from where it begins: the loop takes as
many steps as the longest of them. Runs of one phase do not meet, so that each leaves what it finds
at its own steps; what runs of several phases leave at a step is added up, before any product with
what is stored there, which is the same for all.

Which rows those are does not depend on any number that is computed: it is laid out once for all
calls alike.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.backends.cpu import kernel
from bptt.compiler.compiled import Direction
from bptt.course import Course
from bptt.fused.job import Job
from bptt.fused.loop import Rows, loop
from bptt.methods.spans import Spans, Way

ROWS = 128  # runs that go back at once: what they carry stays in the cache next to the core
LAYOUTS = 32  # that are remembered


class Group(NamedTuple):
    """Runs of one phase that lie near each other in time.

    Attributes:
        rows: the runs, at steps of `window`.
        window: the time indices that they go through.
        whole: whether they go through every step of it, in every sequence.
        enters: (rows of the window, 1) whether a step's losses enter one of them; None if all do.
        final: (R, 1) whether the final state's adjoint enters; None if it enters none.
        reaching: which of them go on into the initial state.
    """

    rows: kernel.Rows
    window: slice
    whole: bool
    enters: Tensor | None
    final: Tensor | None
    reaching: Tensor


class Layout(NamedTuple):
    """All runs back.

    Attributes:
        entering: (T, B) whether a step's losses enter any of them; None if all do.
        untouched: which of (T * B) rows none of the first phase's goes through.
        phases: groups of runs that do not meet; what later phases leave is added.
    """

    entering: Tensor | None
    untouched: Tensor
    phases: list[list[Group]]


def layout(course: Course, way: Way) -> Layout | None:
    """The runs of a way back; None where every loss goes back to the first step."""
    if way.alike is not None and course.lengths is None:
        return _held(way.alike, course.steps, course.batch, course.reverse)
    return _laid(course, way.spans(course.counts), None)


@functools.lru_cache(maxsize=LAYOUTS)
def _held(way: Way, steps: int, batch: int, reverse: bool) -> Layout | None:
    course = Course(steps, batch, None, None, reverse)
    return _laid(course, way.spans(course.counts), (way, steps, batch, reverse))


def _laid(course: Course, spans: Spans | None, name: tuple | None) -> Layout | None:
    if spans is None:
        return None
    entering = None
    if int(spans.losses.sum()) < int(course.counts.sum()):
        entering = _reached(course, spans, spans.losses).view(course.steps, course.batch)
    runs = [spans.where(spans.phase == phase) for phase in spans.phase.unique().tolist()]
    first = runs[0] if runs else spans
    untouched = ~_reached(course, first, first.back)
    phases = [
        list(_groups(course, own, None if name is None else (*name, phase)))
        for phase, own in enumerate(runs)
    ]
    return Layout(entering, untouched.nonzero().flatten(), phases)


def _groups(course: Course, spans: Spans, name: tuple | None) -> Iterator[Group]:
    """The runs of a phase, as they lie in time."""
    enters = _reached(course, spans, spans.losses)
    order = torch.argsort(begins(course, spans), stable=True)
    for start in range(0, len(order), ROWS):
        own = spans.where(order[start : start + ROWS])
        first, window = begins(course, own), _window(course, own)
        part = enters[window.start * course.batch : window.stop * course.batch]
        way, named = 1 if course.reverse else -1, None if name is None else (*name, start)
        back = own.back.contiguous()
        yield Group(
            kernel.Rows(own.sequence, first - window.start, back, way, True, named),
            window,
            int(back.sum()) == len(part),
            None if bool(part.all()) else part[:, None],
            own.final[:, None] if bool(own.final.any()) else None,
            own.reaches.nonzero().flatten(),
        )


def begins(course: Course, spans: Spans) -> Tensor:
    """The time index that each run begins with."""
    return course.counts[spans.sequence] - spans.end if course.reverse else spans.end - 1


def _window(course: Course, spans: Spans) -> slice:
    """The time indices that the runs go through."""
    first = begins(course, spans)
    if course.reverse:
        return slice(max(int(first.min()), 0), min(int((first + spans.back).max()), course.steps))
    return slice(max(int((first + 1 - spans.back).min()), 0), int(first.max()) + 1)


def _reached(course: Course, spans: Spans, counts: Tensor) -> Tensor:
    """(T * B,) whether a step is among the first so many of one of the runs."""
    found = torch.zeros(course.steps * course.batch, dtype=torch.bool)
    if len(counts):
        steps = torch.arange(max(int(counts.max()), 1))[:, None]
        place = begins(course, spans) + (steps if course.reverse else -steps)
        place = place * course.batch + spans.sequence
        found[place[steps < counts]] = True
    return found


def entering(laid: Layout | None, adjoints: Sequence[Tensor | None]) -> list[Tensor | None]:
    """dE/d(outputs), zero where it enters no run."""
    mask = None if laid is None else laid.entering
    if mask is None:
        return list(adjoints)
    return [
        a if a is None else torch.where(mask.view(*mask.shape, *[1] * (a.dim() - 2)), a, 0.0)
        for a in adjoints
    ]


class Sums(NamedTuple):
    """What runs leave: at each step, at the beginning, and at resets."""

    kept: Rows
    end: Rows
    anew: Rows


def run(job: Job, direction: Direction, laid: Layout, reads: Rows, seeds: Rows) -> Sums:
    """Adjoints kept at each step, at the beginning, and at resets, summed over the runs.

    Args:
        job: what was run.
        direction: the way back.
        laid: the runs.
        reads: what the loop reads, for all steps.
        seeds: adjoints of the final state, (B, width).
    """
    course, dtype = job.course, job.compiled.dtype
    rows = course.steps * course.batch
    kept = {part.name: torch.empty(rows, *part.shape, dtype=dtype) for part in direction.kept}
    end = {name: torch.zeros_like(seed) for name, seed in seeds.items()}
    anew = {} if course.reset is None else {n: torch.zeros_like(s) for n, s in seeds.items()}
    if len(laid.untouched):
        for leaf in kept.values():
            leaf.index_fill_(0, laid.untouched, 0.0)
    work = _Work(job, direction, reads, seeds, Sums(kept, end, anew))
    for number, groups in enumerate(laid.phases):
        for group in groups:
            work.run(group, first=number == 0)
    return work.sums


class _Work:
    """What groups of runs read and leave, and memory that one after another works in.

    Args:
        job: what was run.
        direction: the way back.
        reads: what the loop reads, for all steps.
        seeds: adjoints of the final state, (B, width).
        sums: what the runs leave is added to these.
    """

    def __init__(
        self, job: Job, direction: Direction, reads: Rows, seeds: Rows, sums: Sums
    ) -> None:
        self.job, self.direction, self.sums = job, direction, sums
        self._reads, self._seeds, self._room = reads, seeds, {}

    def run(self, group: Group, first: bool) -> None:
        """Take some runs back; `first`: nothing has been left at their steps before."""
        course, own, batch = self.job.course, group.rows.sequence, self.job.course.batch
        assert own is not None
        window = slice(group.window.start * batch, group.window.stop * batch)
        parts = {name: leaf[window] for name, leaf in self.sums.kept.items()}
        found = parts if first else {name: self.room(name, leaf) for name, leaf in parts.items()}
        if not first and not group.whole:
            for leaf in found.values():
                leaf.zero_()
        begin = {name: _seeded(seed, own, group.final) for name, seed in self._seeds.items()}
        end = {name: torch.empty_like(leaf) for name, leaf in begin.items()}
        reset = None
        if course.reset is not None:
            fresh = {name: torch.zeros_like(leaf) for name, leaf in begin.items()}
            reset = course.reset[group.window], fresh, "leave"
        memories = {**self.reads(group, window), **found}
        shape = group.window.stop - group.window.start, batch
        loop(self.job, self.direction, memories, shape, group.rows, begin, end, reset)
        if not first:
            for name, leaf in found.items():
                parts[name] += leaf
        self._add(group, own, end, None if reset is None else reset[1])

    def _add(self, group: Group, own: Tensor, end: Rows, fresh: Rows | None) -> None:
        if len(group.reaching):
            to = own[group.reaching]
            for name, leaf in end.items():
                self.sums.end[name].index_add_(0, to, leaf[group.reaching])
        if fresh is not None:
            for name, leaf in fresh.items():
                self.sums.anew[name].index_add_(0, own, leaf)

    def reads(self, group: Group, window: slice) -> Rows:
        """What the loop reads in a window of rows, without losses that enter no run."""
        names, whole, own = self.direction.names, self._reads, group.rows.sequence
        assert own is not None
        found = {**whole, **{name: whole[name][window] for name in names.step}}
        if group.enters is not None:
            for name, node in names.step.items():
                if node in self.direction.linear:
                    flat = found[name].reshape(len(found[name]), -1)
                    masked = self.room(name, flat)
                    found[name] = torch.where(group.enters, flat, flat.new_zeros(()), out=masked)
        found.update((name, whole[name].index_select(0, own)) for name in names.sequence)
        return found

    def room(self, name: str, like: Tensor) -> Tensor:
        """Memory of a tensor's shape."""
        room = self._room.get(name)
        if room is None or len(room) < len(like):
            room = self._room[name] = torch.empty_like(like)
        return room[: len(like)]


def _seeded(seed: Tensor, own: Tensor, final: Tensor | None) -> Tensor:
    """(R, width) the final state's adjoint in the rows that it enters."""
    if final is None:
        return seed.new_zeros(len(own), *seed.shape[1:])
    return torch.where(final, seed.index_select(0, own), 0.0)
