"""The pieces of sequences that runs back begin with, and how far each run goes."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bptt.course import Course
from bptt.methods.spans import Spans

Ints = np.ndarray


class Pieces(NamedTuple):
    """Runs, by sequence and end; each one's piece lies between the end before it and its own.

    Steps are counted as processed, each sequence's own from 0; all are arrays (R,).

    Attributes:
        sequence: whose steps they are.
        begin, end: of a run's piece. The run begins at its end,
        start: and goes back to here, through earlier pieces perhaps.
        final: whether the final state's adjoint enters.
        leaves: whether it arrives at a reset.
        arrives: whether it arrives there, or at the initial state: else it is cut.
        goes_on: whether the next run arrives where this one does.
    """

    sequence: Ints
    begin: Ints
    end: Ints
    start: Ints
    final: Ints
    leaves: Ints
    arrives: Ints
    goes_on: Ints


class _Runs(NamedTuple):
    """Runs, how many of their first steps' losses enter each, and whether they end at resets."""

    sequence: Ints
    end: Ints
    start: Ints
    losses: Ints
    final: Ints
    leaves: Ints

    def where(self, rows: Ints) -> "_Runs":
        return _Runs(*(part[rows] for part in self))


def pieces(course: Course, spans: Spans) -> Pieces:
    """Of the runs that have steps."""
    sequence, end, back, losses, final = (part.numpy() for part in spans[:5])
    runs = _Runs(sequence, end, end - back, losses, final, np.zeros_like(final)).where(back > 0)
    if course.reset is not None:
        parts = list(_until_resets(course, runs))
        runs = _Runs(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    runs = runs.where(np.lexsort((runs.end, runs.sequence)))
    begin = runs.start.copy()
    same = runs.sequence[1:] == runs.sequence[:-1]
    begin[1:][same] = np.maximum(runs.start[1:], runs.end[:-1])[same]
    arrives = runs.leaves | (runs.start == 0)
    goes_on = np.zeros_like(same, shape=len(begin))
    goes_on[:-1] = same & (runs.start[1:] == runs.start[:-1])
    return Pieces(
        runs.sequence, begin, runs.end, runs.start, runs.final, runs.leaves, arrives, goes_on
    )


def _until_resets(course: Course, runs: _Runs) -> Iterator[_Runs]:
    """Runs to the first reset that they come to; from there on, those of the losses before it."""
    height, keys = course.steps + 1, _resets(course)
    keys = np.concatenate([[-1], keys])  # before the first step of all
    while True:
        last = np.searchsorted(keys, runs.sequence * height + runs.end) - 1
        place = keys[last] - runs.sequence * height
        met = place >= runs.start
        yield runs._replace(start=np.where(met, place, runs.start), leaves=met)
        losses = runs.losses - (runs.end - place)
        rest = runs._replace(end=place, losses=losses, final=np.zeros_like(runs.final))
        runs = rest.where(met & (losses > 0))
        if not len(runs.end):
            return


def _resets(course: Course) -> Ints:
    """Where sequences start afresh, as (sequence * (T + 1) + step), sorted."""
    assert course.reset is not None
    time, sequence = np.nonzero(course.reset.numpy())
    count = course.counts.numpy()[sequence]
    step = count - 1 - time if course.reverse else time
    found = sequence * (course.steps + 1) + step
    return np.sort(found[(step >= 0) & (step < count)])


def covered(course: Course, sequence: Ints, low: Ints, high: Ints) -> np.ndarray:
    """(T, B) whether a time index is among a sequence's steps from `low` to `high`, of any."""
    if course.reverse:
        count = course.counts.numpy()[sequence]
        low, high = count - high, count - low
    edges = np.zeros((course.steps + 1, course.batch), dtype=np.int32)
    np.add.at(edges, (low, sequence), 1)
    np.add.at(edges, (high, sequence), -1)
    return np.cumsum(edges, axis=0)[: course.steps] > 0
