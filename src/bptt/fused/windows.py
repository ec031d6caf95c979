"""A long way back, window by window: what each makes lies where the last one's did.

The way back makes more than it leaves: adjoints at every step, of which only sums over all steps
remain. Made for all steps at once they would go to fresh memory, whose pages cost more time than
the sums.
"""

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bptt.backends.segments import put_all
from bptt.backends.sweeps import add
from bptt.compiler.compiled import Direction
from bptt.compiler.graph import NO_MEMORY
from bptt.course import Course, Steps, Stretch
from bptt.fused import backward, runs
from bptt.fused.backward import Adjoints
from bptt.fused.job import Given, Job, Values
from bptt.fused.linear import is_linear
from bptt.fused.loop import Fixed
from bptt.fused.passes import Layout
from bptt.fused.rooms import Rooms
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

    def add(self, window: Steps, found: Adjoints, shared: bool = False) -> None:
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


def run(
    job: Job,
    given: Given,
    fixed: Fixed,
    direction: Direction,
    values: Values,
    adjoints: Sequence[Tensor | None],
) -> Adjoints:
    """Take dE/d(outputs) and dE/d(final state) back; the arguments are those of `backward.run`."""
    whole = job.compiled.gathered(direction) or direction
    size = size_of(made(whole), job.course, job.compiled.dtype)
    laid = runs.layout(job.course, job.method, size)
    if laid is not None:
        way = _Way(job, given, fixed, whole, values, adjoints)
        return way.apart([laid] if is_linear(direction) else way.phases(size))
    direction = direction if whole.names.outers else whole
    way = _Way(job, given, fixed, direction, values, adjoints)
    size = size_of(width(direction), job.course, job.compiled.dtype)
    return way.whole() if size >= job.course.steps else way.through(size)


class _Way:
    """A way back; the arguments are those of `backward.run`."""

    def __init__(
        self,
        job: Job,
        given: Given,
        fixed: Fixed,
        direction: Direction,
        values: Values,
        adjoints: Sequence[Tensor | None],
    ) -> None:
        self.job, self.given, self.fixed = job, given, fixed
        self.direction, self.values, self.adjoints = direction, values, adjoints
        count = len(adjoints) - len(given.initial)
        self.losses, self.final = adjoints[:count], adjoints[count:]

    def whole(self) -> Adjoints:
        """All at once."""
        job, direction = self.job, self.direction
        return backward.run(job, self.given, self.fixed, direction, self.values, self.adjoints)

    def through(self, size: int) -> Adjoints:
        """Every loss to the first step, the last window first."""
        left, rooms, adjoints = self._left(), Rooms(size), self.final
        longest = int(self.job.course.counts.max())
        starts = range(0, longest, size)
        for start in starts if self.job.course.reverse else reversed(starts):
            window = Stretch(self.job.course, start, min(start + size, longest))
            found = self._window(window, [*self._losses(window), *adjoints], rooms=rooms)
            left.add(window, found)
            adjoints = found.initial
        return left.adjoints(adjoints)

    def phases(self, size: int) -> list[Layout]:
        """Runs that do not meet, apart from those that they would meet."""
        course = self.job.course
        spans = self.job.method.spans(course.counts)
        assert spans is not None
        return runs.by_phase(course, spans, size)

    def apart(self, layouts: Sequence[Layout]) -> Adjoints:
        """Every loss as far as its run goes, those of one layout together."""
        left, ends = self._left(), list[tuple[list, list]]()
        seeds = backward.seeds(self.job, self.direction, self.given.initial, self.final)
        for laid in layouts:
            going = runs.Runs(self.job, self.direction, laid, seeds, self.fixed)
            for part in laid.parts:
                window = Stretch(self.job.course, *part.window)
                losses = runs.entering(laid, part, self._losses(window))
                run = functools.partial(going.run, part)
                found = self._window(window, [*losses, *self.final], going=run)
                left.add(window, found, shared=len(layouts) > 1)
            ends.append(backward.ends(self.direction, self.given, *going.ends()))
        initial, fresh = (
            [functools.reduce(add, each) for each in zip(*kind, strict=True)]
            for kind in zip(*ends, strict=True)
        )
        return left.adjoints(initial)._replace(fresh=fresh)

    def _left(self) -> Left:
        given = self.given
        return Left(given.inputs, len(given.fresh), [True] * len(given.inputs))

    def _losses(self, window: Stretch) -> list[Tensor | None]:
        return [None if leaf is None else window.take(leaf) for leaf in self.losses]

    def _window(self, window: Stretch, adjoints: Sequence[Tensor | None], **how) -> Adjoints:
        part = self.job._replace(course=window.course)
        own = self.given._replace(inputs=[window.take(leaf) for leaf in self.given.inputs])
        known = {node: value[window.rows] for node, value in self.values.items()}
        return backward.run(part, own, self.fixed, self.direction, known, adjoints, **how)


def made(direction: Direction) -> int:
    """Numbers that a direction makes for each row and does not leave."""
    return 0 if direction.is_summed else width(direction)


def width(direction: Direction) -> int:
    """Numbers that a direction makes for each row."""
    columns, graph = direction.columns, direction.columns.graph
    given = {*columns.given, *columns.kept, *columns.sums, *direction.names.totals.values()}
    made = {*columns.kept, *graph.between(columns.before, given)}
    made |= graph.between(columns.after, {*given, *columns.before})
    return sum(math.prod(graph[n].shape) for n in made if graph[n].op not in NO_MEMORY)


def size_of(width: int, course: Course, dtype: torch.dtype) -> int:
    """How many steps a window has that makes so many numbers a row; all where it does not pay."""
    row = course.batch * dtype.itemsize
    size = max(MEMORY // max(width * row, 1), 1)
    return course.steps if course.steps < 2 * size else size
