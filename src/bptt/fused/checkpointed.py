"""An unroll by segments: few states are kept, and segments are run again on the way back.

In memory is only what belongs to one segment at a time, besides the states that are held and what
the caller holds: inputs, outputs and their gradients are read and written in place.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from bptt.backends.segments import go_back, go_out, segment_of
from bptt.compiler.compiled import Compiled, Direction
from bptt.compiler.graph import NO_MEMORY
from bptt.course import Course, Steps, Window
from bptt.fused import backward, forward
from bptt.fused.backward import Adjoints
from bptt.fused.job import Given, Job, Values
from bptt.fused.loop import Fixed, repeats, shifted
from bptt.fused.repeated import Repeated, is_repeated
from bptt.fused.rooms import Rooms
from bptt.fused.windows import Left
from bptt.methods.checkpointed import Checkpointed, Costs, Layout
from bptt.step import Leaves


class Laid(NamedTuple):
    """A job cut in segments."""

    job: Job
    layout: Layout


def lay(job: Job) -> Laid:
    """A job cut in segments as its method says."""
    assert isinstance(job.method, Checkpointed)
    costs = costs_of(job.compiled, job.course)
    return Laid(job, job.method.layout(int(job.course.counts.max()), costs))


def _way_back(compiled: Compiled, direction: Direction, course: Course) -> Direction:
    """The way back through segments: where they are alike, its loop adds up weights' gradients."""
    gathered = compiled.gathered(direction) if repeats(course, direction) else None
    return gathered or direction


def costs_of(compiled: Compiled, course: Course) -> Costs:
    """What is held for a state, for a step of a segment, and for gradients of weights."""
    graph, size, batch = compiled.step.graph, compiled.dtype.itemsize, course.batch
    ways = [compiled.forward, _way_back(compiled, compiled.backward(frozenset()), course)]
    beside = {part.leaf for part in compiled.forward.kept} if shifted(course) else set()
    begun = [node for node, leaf, _ in compiled.states if leaf not in beside]
    nodes: set[int] = {*begun, *(node for node, _, _ in (*compiled.inputs, *compiled.random))}
    for way in ways:
        columns = way.columns
        given = {*columns.given, *columns.kept, *columns.sums}
        nodes.update(columns.kept, columns.graph.between(columns.before, given))
        nodes.update(columns.graph.between(columns.after, {*given, *columns.before}))
    step = sum(math.prod(graph[n].shape) for n in nodes if graph[n].op not in NO_MEMORY)
    widths = [math.prod(shape) for shape in compiled.carried]
    sums = [math.prod(graph[n].shape) for n in compiled.step.d_fixed if n is not None]
    packed = [m.height * m.width for way in ways for m in way.loop.memories if m.kind == "matrix"]
    return Costs(
        (2 * sum(sums) + sum(packed)) * size, sum(widths) * batch * size, step * batch * size
    )


class _Each:
    """The way forward through segments that need not be alike, one at a time.

    Args:
        laid: the segments.
        given: the tensors of the whole.
        direction: forward, with what the way back needs.
        fixed: what that computes once.

    Attributes:
        job: the segment as an unroll of its own.
    """

    def __init__(self, laid: Laid, given: Given, direction: Direction, fixed: Fixed) -> None:
        self.job, self._window = laid.job, Window(laid.job.course, 0, 0)
        self._laid, self._given, self._rooms = laid, given, Rooms(laid.layout.longest)
        self._direction, self._fixed = direction, fixed

    def enter(self, segment: int) -> Steps:
        """Turn to a segment."""
        self._window = window = segment_of(self._laid.job.course, self._laid.layout, segment)
        self.job = self._laid.job._replace(course=window.course, first=window.first)
        return window

    def advance(self, state: Leaves) -> Leaves:
        """The state after the segment."""
        return self.run(state)[0]

    def run(self, state: Leaves) -> tuple[Leaves, Values]:
        """The same, and all values in the segment but those that come after the loop."""
        part = _part(self._given, self._window, state)
        direction, fixed, rooms = self._direction, self._fixed, self._rooms
        run = forward.run(self.job, part, fixed, direction, outputs=False, rooms=rooms)
        return run[1:]

    def shown(self, values: Values) -> Leaves:
        """The segment's outputs; what they are made of is added to its values."""
        return forward.shown(self.job, self._direction, values, self._fixed)


def _ahead(laid: Laid, given: Given, direction: Direction, fixed: Fixed) -> "_Each | Repeated":
    if is_repeated(laid.job, direction, given.initial):
        return Repeated(laid.job, laid.layout, given, direction, fixed)
    return _Each(laid, given, direction, fixed)


def run(laid: Laid, given: Given, direction: Direction) -> tuple[Leaves, Leaves, Leaves]:
    """Outputs, the final state, and the states held for the way back."""
    way = _ahead(laid, given, direction, direction.once.run(given.own))

    def segment(number: int, state: Leaves) -> tuple[Steps, Leaves, Leaves]:
        steps = way.enter(number)
        after, values = way.run(state)
        return steps, way.shown(values), after

    return go_out(laid.layout, laid.job.course, given.initial, segment)


def _part(given: Given, steps: Steps, state: Leaves) -> Given:
    return given._replace(inputs=[steps.take(leaf) for leaf in given.inputs], initial=state)


def adjoint(
    laid: Laid,
    given: Given,
    held: Leaves,
    adjoints: Sequence[Tensor | None],
    wanted: Sequence[bool],
) -> Adjoints:
    """Take dE/d(outputs) and dE/d(final state) back, segment by segment."""
    back = _Back(laid, given, adjoints, wanted)
    go_back(laid.layout, held, back.advance, back.visit)
    return back.left.adjoints(back.through)


class _Back:
    """The way back, and what it has left so far."""

    def __init__(
        self,
        laid: Laid,
        given: Given,
        adjoints: Sequence[Tensor | None],
        wanted: Sequence[bool],
    ) -> None:
        job = laid.job
        self.given, self.count = given, len(adjoints) - len(given.initial)
        self.adjoints = adjoints[: self.count]
        out, back = job.compiled.forward, backward.direction(job, adjoints)
        self.back = _way_back(job.compiled, back, job.course)
        # whether it takes what comes after the loop, where outputs are made
        self.takes_late = not {*out.columns.after}.isdisjoint(self.back.taken)
        self.way = _ahead(laid, given, out, out.once.run(given.own))
        self.fixed: Fixed = self.back.once.run(given.own)
        self.rooms = Rooms(laid.layout.longest)
        self.left = Left(given.inputs, len(given.fresh), wanted[: len(given.inputs)])
        self.through = adjoints[self.count :]

    def advance(self, segment: int, state: Leaves) -> Leaves:
        """The state after a segment."""
        self.way.enter(segment)
        return self.way.advance(state)

    def visit(self, segment: int, state: Leaves) -> None:
        """Run a segment from its state, and go back through it."""
        way, steps = self.way, self.way.enter(segment)
        values = way.run(state)[1]
        if self.takes_late:
            way.shown(values)
        losses = [None if leaf is None else steps.take(leaf) for leaf in self.adjoints]
        part, adjoints = _part(self.given, steps, state), [*losses, *self.through]
        found = backward.run(way.job, part, self.fixed, self.back, values, adjoints, self.rooms)
        self.through = found.initial
        self.left.add(steps, found)
