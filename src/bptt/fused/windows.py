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
from bptt.course import Window
from bptt.fused import backward
from bptt.fused.backward import Adjoints
from bptt.fused.job import Given, Job, Values
from bptt.fused.loop import Fixed, Rooms, can_share
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

    def add(self, window: Window, found: Adjoints, shared: bool = False) -> None:
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


def _steps(job: Job, direction: Direction) -> int:
    """How many steps a window has; all of them where windows do not pay."""
    columns, graph = direction.columns, direction.columns.graph
    given = {*columns.given, *columns.kept}
    made = {*columns.kept, *graph.between(columns.before, given)}
    made |= graph.between(columns.after, {*given, *columns.before})
    numbers = sum(math.prod(graph[n].shape) for n in made if graph[n].op not in NO_MEMORY)
    row = job.course.batch * job.compiled.dtype.itemsize
    size, steps = max(MEMORY // max(numbers * row, 1), 1), job.course.steps
    return steps if steps < 2 * size or not can_share(job, direction) else size


def _windows(job: Job, spans: Spans | None, size: int) -> Iterator[tuple[Window, Way]]:
    """The last window first, each with what goes back in it."""
    course = job.course
    for begin in range((course.steps - 1) // size * size, -1, -size):
        end = min(begin + size, course.steps)
        if spans is None:
            yield Window(course, begin, end), job.method
            continue
        runs = spans.where(((spans.end > begin) & (spans.end <= end)).nonzero().flatten())
        if len(runs.end):
            # One step more than they go back, or they would seem to reach the initial state.
            first = max(int((runs.end - runs.back).min()) - 1, 0)
            yield Window(course, first, end), _Part(runs._replace(end=runs.end - first))
