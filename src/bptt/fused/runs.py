"""Runs back through time as the rows of one larger batch.

No run needs another, so many of them go back at once, each from where it begins: the loop takes as
many steps as the longest of them. Runs of one phase do not meet, so that each leaves what it finds
at its own steps; what runs of several phases leave at a step is added up, before any product with
what is stored there, which is the same for all.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.backends.cpu import kernel
from bptt.compiler.compiled import Direction
from bptt.course import Course
from bptt.fused.job import Job
from bptt.fused.loop import Rows, loop
from bptt.methods.spans import Spans

ROWS = 128  # runs that go back at once: what they carry stays in the cache next to the core


def entering(
    course: Course, spans: Spans | None, adjoints: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """dE/d(outputs), zero where it enters no run."""
    if spans is None or int(spans.losses.sum()) == int(course.counts.sum()):
        return list(adjoints)
    mask = _reached(course, spans, spans.losses).view(course.steps, course.batch)
    return [
        a if a is None else torch.where(mask.view(*mask.shape, *[1] * (a.dim() - 2)), a, 0.0)
        for a in adjoints
    ]


class _Sums(NamedTuple):
    """What runs leave: at each step, at the beginning, and at resets."""

    kept: Rows
    end: Rows
    anew: Rows


def run(job: Job, direction: Direction, spans: Spans, reads: Rows, seeds: Rows) -> _Sums:
    """Adjoints kept at each step, at the beginning, and at resets, summed over the runs.

    Args:
        job: what was run.
        direction: the way back.
        spans: the runs.
        reads: what the loop reads, for all steps.
        seeds: adjoints of the final state, (B, width).
    """
    course, dtype = job.course, job.compiled.dtype
    rows = course.steps * course.batch
    kept = {part.name: torch.empty(rows, *part.shape, dtype=dtype) for part in direction.kept}
    ends = ({name: torch.zeros_like(seed) for name, seed in seeds.items()} for _ in range(2))
    sums, first = _Sums(kept, *ends), True
    phases = spans.phase.unique().tolist()
    _clear(course, spans.where(spans.phase == phases[0]) if phases else spans, kept)
    for phase in phases:
        runs = spans.where((spans.phase == phase).nonzero().flatten())
        enters = _reached(course, runs, runs.losses)
        work = _Work(job, direction, reads, enters)
        for group in _groups(course, runs):
            _run(work, group, seeds, sums, first)
        first = False
    return sums


def _clear(course: Course, spans: Spans, kept: Rows) -> None:
    """Zeros at steps that none of these runs goes through."""
    if int(spans.back.sum()) < course.steps * course.batch:
        untouched = (~_reached(course, spans, spans.back)).nonzero().flatten()
        for leaf in kept.values():
            leaf.index_fill_(0, untouched, 0.0)


def _reached(course: Course, spans: Spans, counts: Tensor) -> Tensor:
    """(T * B,) whether a step is among the first so many of one of the runs."""
    found = torch.zeros(course.steps * course.batch, dtype=torch.bool)
    if len(counts):
        steps = torch.arange(max(int(counts.max()), 1))[:, None]
        place = begins(course, spans) + (steps if course.reverse else -steps)
        place = place * course.batch + spans.sequence
        found[place[steps < counts]] = True
    return found


def begins(course: Course, spans: Spans) -> Tensor:
    """The time index that each run begins with."""
    return course.counts[spans.sequence] - spans.end if course.reverse else spans.end - 1


def _groups(course: Course, spans: Spans) -> Iterator[Spans]:
    """Runs that lie near each other in time."""
    order = torch.argsort(begins(course, spans), stable=True)
    for start in range(0, len(order), ROWS):
        yield spans.where(order[start : start + ROWS])


class _Work:
    """What groups of runs read, and memory that one after another works in.

    Args:
        job: what was run.
        direction: the way back.
        reads: what the loop reads, for all steps.
        enters: (T * B,) whether a step's losses enter one of the runs.
    """

    def __init__(self, job: Job, direction: Direction, reads: Rows, enters: Tensor) -> None:
        self.job, self.direction = job, direction
        self._reads, self._enters, self._room = reads, enters, {}

    def reads(self, window: slice, own: Tensor) -> Rows:
        """What the loop reads in a window of steps, without losses that enter no run."""
        names, whole = self.direction.names, self._reads
        found = {**whole, **{name: whole[name][window] for name in names.step}}
        for name, node in names.step.items():
            if node in self.direction.linear:
                flat, enters = _flat(found[name]), self._enters[window, None]
                if not bool(enters.all()):
                    masked = self.room(name, flat)
                    found[name] = torch.where(enters, flat, flat.new_zeros(()), out=masked)
        found.update((name, whole[name].index_select(0, own)) for name in names.sequence)
        return found

    def room(self, name: str, like: Tensor) -> Tensor:
        """Memory of a tensor's shape."""
        room = self._room.get(name)
        if room is None or len(room) < len(like):
            room = self._room[name] = torch.empty_like(like)
        return room[: len(like)]


def _flat(rows: Tensor) -> Tensor:
    """(rows, width), of rows that may be single numbers."""
    return rows.flatten(1) if rows.dim() > 1 else rows[:, None]


def _run(work: _Work, spans: Spans, seeds: Rows, sums: _Sums, first: bool) -> None:
    """Take some runs back.

    Args:
        work: what they read.
        spans: the runs.
        seeds: adjoints of the final state, (B, width).
        sums: what they leave is added to these.
        first: whether nothing has been left at their steps before.
    """
    job, course, own = work.job, work.job.course, spans.sequence
    time, (early, late) = begins(course, spans), _window(course, spans)
    window = slice(early * course.batch, late * course.batch)
    parts = {name: leaf[window] for name, leaf in sums.kept.items()}
    found = parts if first else {name: work.room(name, leaf) for name, leaf in parts.items()}
    if not first and int(spans.back.sum()) < window.stop - window.start:
        for leaf in found.values():
            leaf.zero_()
    begin = {
        name: torch.where(spans.final[:, None], seed.index_select(0, own), 0.0)
        for name, seed in seeds.items()
    }
    ends = {name: torch.empty_like(leaf) for name, leaf in begin.items()}
    fresh = {name: torch.zeros_like(leaf) for name, leaf in begin.items()}
    way = 1 if course.reverse else -1
    rows = kernel.Rows(own, time - early, spans.back.contiguous(), way, apart=True)
    reset = None if course.reset is None else (course.reset[early:late], fresh, "leave")
    memories, shape = {**work.reads(window, own), **found}, (late - early, course.batch)
    loop(job, work.direction, memories, shape, rows, begin, ends, reset)
    if not first:
        for name, leaf in found.items():
            parts[name] += leaf
    reaches = spans.reaches
    for name in begin:
        sums.end[name].index_add_(0, own[reaches], ends[name][reaches])
        sums.anew[name].index_add_(0, own, fresh[name])


def _window(course: Course, spans: Spans) -> tuple[int, int]:
    """The time indices that the runs go through."""
    first = begins(course, spans)
    if course.reverse:
        return max(int(first.min()), 0), min(int((first + spans.back).max()), course.steps)
    return max(int((first + 1 - spans.back).min()), 0), int(first.max()) + 1
