"""Runs back through time as the rows of one larger batch.

No run needs another, so all of them, or as many as memory is set aside for, go back at once: the
loop takes as many steps as the longest of them. What a run reads is gathered from the values of its
sequence; what it leaves at a step is added up over the runs that went through it, before any
product with what is stored there, which is the same for all.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from bptt.backends.cpu import kernel
from bptt.compiler.compiled import Direction
from bptt.course import Course
from bptt.fused.job import Job
from bptt.fused.loop import Rows, loop
from bptt.methods.spans import Spans

MEMORY = 1 << 23  # bytes that are gathered at once: more leaves the cache and gains nothing


def entering(
    course: Course, spans: Spans | None, adjoints: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """dE/d(outputs), zero where it enters no run."""
    if spans is None or int(spans.losses.sum()) == int(course.counts.sum()):
        return list(adjoints)
    enters = torch.zeros(course.steps * course.batch, dtype=torch.bool)
    if len(spans.back):
        places, steps = _places(course, spans)
        enters[places[steps < spans.losses]] = True
    mask = enters.view(course.steps, course.batch)
    return [
        a if a is None else torch.where(mask.view(*mask.shape, *[1] * (a.dim() - 2)), a, 0.0)
        for a in adjoints
    ]


def run(
    job: Job, direction: Direction, spans: Spans, reads: Rows, seeds: Rows
) -> tuple[Rows, Rows, Rows]:
    """Adjoints kept at each step, at the beginning, and at resets, summed over the runs.

    Args:
        job: what was run.
        direction: the way back.
        spans: the runs.
        reads: what the loop reads, for all steps.
        seeds: adjoints of the final state, (B, width).
    """
    course, names = job.course, direction.names
    rows = course.steps * course.batch
    kept = {
        part.name: torch.zeros(rows, *part.shape, dtype=job.compiled.dtype)
        for part in direction.kept
    }
    end = {name: torch.zeros_like(seed) for name, seed in seeds.items()}
    anew = {name: torch.zeros_like(seed) for name, seed in seeds.items()}
    memories = [*kept.values(), *(reads[name] for name in names.step)]
    width = sum(leaf[0].numel() for leaf in memories)
    for group in _groups(spans, width * job.compiled.dtype.itemsize):
        _run(job, direction, group, reads, seeds, (kept, end, anew))
    return kept, end, anew


def _groups(spans: Spans, bytes_a_step: int) -> Iterator[Spans]:
    """Runs by length, so many at once that what they gather stays small."""
    if not len(spans.back):
        return
    order = torch.argsort(spans.back, descending=True, stable=True)
    spans = spans.where(order)
    longest = max(int(spans.back[0]), 1)
    size = max(MEMORY // (bytes_a_step * longest), 16)
    for start in range(0, len(order), size):
        yield Spans(*(part[start : start + size] for part in spans))


def _run(
    job: Job,
    direction: Direction,
    spans: Spans,
    reads: Rows,
    seeds: Rows,
    sums: tuple[Rows, Rows, Rows],
) -> None:
    course, names = job.course, direction.names
    places, steps = _places(course, spans)
    inside = steps < spans.back
    gathered = dict(reads)
    for name, node in names.step.items():
        rows = reads[name].index_select(0, places.flatten())
        gathered[name] = rows.view(*places.shape, -1)
        if node in direction.linear:
            gathered[name].masked_fill_((steps >= spans.losses)[..., None], 0.0)
    for name in names.sequence:
        gathered[name] = reads[name].index_select(0, spans.sequence)
    begin = {
        n: torch.where(spans.final[:, None], s.index_select(0, spans.sequence), 0.0)
        for n, s in seeds.items()
    }
    ends = {name: torch.empty_like(leaf) for name, leaf in begin.items()}
    fresh = {name: torch.zeros_like(leaf) for name, leaf in begin.items()}
    kept, end, anew = sums
    found = {n: leaf.new_zeros(*places.shape, *leaf.shape[1:]) for n, leaf in kept.items()}
    reset = None
    if course.reset is not None:
        reset = course.reset.flatten()[places].contiguous(), fresh, "leave"
    rows = None if bool(inside.all()) else kernel.Rows(None, None, spans.back.contiguous())
    shape = places.shape[0], places.shape[1]
    loop(job, direction, {**gathered, **found}, shape, rows, begin, ends, reset)
    index, own = places[inside], spans.sequence
    for name, leaf in found.items():
        kept[name].index_add_(0, index, leaf[inside])
    reaches = spans.reaches
    for name in end:
        end[name].index_add_(0, own[reaches], ends[name][reaches])
        anew[name].index_add_(0, own, fresh[name])


def _places(course: Course, spans: Spans) -> tuple[Tensor, Tensor]:
    """(K, R) the row of each run at each step, and (K, 1) the steps; its last row once it ended."""
    steps = torch.arange(max(int(spans.back.max()), 1))[:, None]
    step = (spans.end - 1 - steps).clamp(min=0)
    if course.reverse:
        step = (course.counts[spans.sequence] - 1 - step).clamp(min=0)
    return step * course.batch + spans.sequence, steps
