"""A long way back, window by window: what each makes lies where the last one's did.

The way back makes more than it leaves: adjoints at every step, of which only sums over all steps
remain. Made for all steps at once they would go to fresh memory, whose pages cost more time than
the sums.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.backends.segments import put_all
from bptt.backends.sweeps import add
from bptt.compiler.compiled import Direction
from bptt.compiler.graph import NO_MEMORY
from bptt.course import Course, Stretch, Window
from bptt.fused import backward
from bptt.fused.backward import Adjoints
from bptt.fused.job import Given, Job, Values
from bptt.fused.loop import Fixed, Rooms
from bptt.fused.runs import begins
from bptt.methods.spans import Spans, Way
from bptt.step import Leaves

MEMORY = 1 << 24  # bytes that a window makes: what is much larger, the system takes back at once


class Left:
    """What windows have left so far.

    Args:
        inputs: of all steps.
        fresh: how many leaves there are to start afresh from.
        wanted: for which inputs a gradient is.
    """

    def __init__(self, inputs: Leaves, fresh: int, wanted: Sequence[bool]) -> None:
        self._like, self._wanted = inputs, wanted
        self._inputs: list[Tensor | None] = [None] * len(inputs)
        self._fresh: list[Tensor | None] = [None] * fresh
        self._reached: Fixed = {}

    def add(self, window: Window | Stretch, found: Adjoints, shared: bool = False) -> None:
        """What one window has left; `shared` if others may have left something at its steps."""
        put_all(window, self._inputs, found.inputs, self._like, self._wanted, shared)
        self._fresh = [add(a, b) for a, b in zip(self._fresh, found.fresh, strict=True)]
        if not self._reached:  # copies: two weights may have one gradient, in one memory
            self._reached = {name: tensor.clone() for name, tensor in found.reached.items()}
        elif found.reached:
            torch._foreach_add_(list(self._reached.values()), list(found.reached.values()))

    def adjoints(self, initial: Sequence[Tensor | None]) -> Adjoints:
        """All of it, with dE/d(initial state)."""
        return Adjoints(self._inputs, list(initial), self._fresh, self._reached)


class _Part(NamedTuple):
    """The runs of a window, as a way back."""

    runs: Spans

    @property
    def alike(self) -> None:
        """Not to be found again by anything smaller than its runs."""

    def spans(self, counts: Tensor) -> Spans:
        return self.runs


def run(
    job: Job,
    given: Given,
    fixed: Fixed,
    direction: Direction,
    values: Values,
    adjoints: Sequence[Tensor | None],
) -> Adjoints:
    """Take dE/d(outputs) and dE/d(final state) back; the arguments are those of `backward.run`."""
    size = _steps(job, direction)
    if size >= job.course.steps:
        return backward.run(job, given, fixed, direction, values, adjoints)
    spans = job.method.spans(job.course.counts)
    count = len(adjoints) - len(given.initial)
    left = Left(given.inputs, len(given.fresh), [True] * len(given.inputs))
    through: list[Tensor | None] = list(adjoints[count:])
    initial: list[Tensor | None] = [None] * len(given.initial)
    rooms: Rooms | None = {} if spans is None else None
    for window, method in _windows(job, spans, size):
        part = job._replace(course=window.course, method=method)
        own = given._replace(inputs=[window.take(leaf) for leaf in given.inputs])
        known = {node: value[window.rows] for node, value in values.items()}
        losses = [None if leaf is None else window.take(leaf) for leaf in adjoints[:count]]
        found = backward.run(part, own, fixed, direction, known, [*losses, *through], rooms)
        left.add(window, found, shared=spans is not None)
        if spans is None:
            through = initial = found.initial
        else:
            initial = [add(a, b) for a, b in zip(initial, found.initial, strict=True)]
    return left.adjoints(initial)


def width(direction: Direction) -> int:
    """Numbers that a direction makes for each row."""
    columns, graph = direction.columns, direction.columns.graph
    given = {*columns.given, *columns.kept}
    made = {*columns.kept, *graph.between(columns.before, given)}
    made |= graph.between(columns.after, {*given, *columns.before})
    return sum(math.prod(graph[n].shape) for n in made if graph[n].op not in NO_MEMORY)


def size_of(width: int, course: Course, dtype: torch.dtype) -> int:
    """How many steps a window has that makes so many numbers a row; all where it does not pay."""
    row = course.batch * dtype.itemsize
    size = max(MEMORY // max(width * row, 1), 1)
    return course.steps if course.steps < 2 * size else size


def _steps(job: Job, direction: Direction) -> int:
    """How many steps a window has."""
    return size_of(width(direction), job.course, job.compiled.dtype)


def _windows(job: Job, spans: Spans | None, size: int) -> Iterator[tuple[Stretch, Way]]:
    """The last window first, each with what goes back in it; none where no sequence has steps."""
    course = job.course
    longest = int(course.counts.max())
    starts = range(0, longest, size)
    starts = starts if course.reverse else reversed(starts)
    if spans is not None:
        yield from _with_runs(course, spans, list(starts), size)
        return
    for start in starts:
        yield Stretch(course, start, min(start + size, longest)), job.method


def _with_runs(
    course: Course, spans: Spans, starts: Sequence[int], size: int
) -> Iterator[tuple[Stretch, Way]]:
    """Windows of the runs that begin in `size` steps from each of `starts`, as wide as need be."""
    first = begins(course, spans).clamp(min=0)  # a sequence without steps: its final state
    first, order = torch.sort(first, stable=True)
    spans, edges = spans.where(order), torch.tensor(starts)
    places = [torch.searchsorted(first, edge).tolist() for edge in (edges, edges + size)]
    for begin, end in zip(*places, strict=True):
        if begin < end:
            yield _around(course, spans.where(slice(begin, end)), first[begin:end])


def _around(course: Course, spans: Spans, first: Tensor) -> tuple[Stretch, Way]:
    """A window as wide as some runs need, which begin at the steps `first`."""
    # One step more than they go back, or they would seem to reach the initial state.
    if course.reverse:
        start, stop = int(first.min()), min(int((first + spans.back).max()) + 1, course.steps)
    else:
        start, stop = max(int((first - spans.back).min()), 0), int(first.max()) + 1
    window = Stretch(course, start, stop)
    end = spans.end - window.before[spans.sequence]
    return window, _Part(spans._replace(end=end))
