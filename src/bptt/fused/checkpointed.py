"""An unroll by segments: few states are kept, and segments are run again on the way back.

In memory is only what belongs to one segment at a time, besides the states that are held and what
the caller holds: inputs, outputs and their gradients are read and written in place.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from bptt.backends.segments import States, go_back, go_out, segment_of
from bptt.compiler.compiled import Compiled, Direction
from bptt.compiler.graph import NO_MEMORY
from bptt.course import Window
from bptt.fused import backward, forward
from bptt.fused.backward import Adjoints
from bptt.fused.job import Given, Job, Values
from bptt.fused.loop import Fixed, Rooms
from bptt.fused.windows import Left
from bptt.methods.checkpointed import Checkpointed, Costs, Layout
from bptt.step import Leaves


class Laid(NamedTuple):
    """A job cut in segments."""

    job: Job
    layout: Layout

    def window(self, segment: int) -> tuple[Job, Window]:
        """A segment as an unroll of its own."""
        window = segment_of(self.job.course, self.layout, segment)
        return self.job._replace(course=window.course, first=window.first), window


def lay(job: Job) -> Laid:
    """A job cut in segments as its method says."""
    assert isinstance(job.method, Checkpointed)
    costs = costs_of(job.compiled, job.course.batch)
    return Laid(job, job.method.layout(int(job.course.counts.max()), costs))


def costs_of(compiled: Compiled, batch: int) -> Costs:
    """What is held for a state, for a step of a segment, and for gradients of weights."""
    graph, size = compiled.step.graph, compiled.dtype.itemsize
    ways = [compiled.forward, compiled.backward(frozenset())]
    nodes: set[int] = {
        node for node, _, _ in (*compiled.inputs, *compiled.states, *compiled.random)
    }
    for way in ways:
        columns = way.columns
        given = {*columns.given, *columns.kept}
        nodes.update(columns.kept, columns.graph.between(columns.before, given))
        nodes.update(columns.graph.between(columns.after, {*given, *columns.before}))
    step = sum(math.prod(graph[n].shape) for n in nodes if graph[n].op not in NO_MEMORY)
    widths = [math.prod(shape) for shape in compiled.carried]
    sums = [math.prod(graph[n].shape) for n in compiled.step.d_fixed if n is not None]
    packed = [m.height * m.width for way in ways for m in way.loop.memories if m.kind == "matrix"]
    return Costs(
        (2 * sum(sums) + sum(packed)) * size, sum(widths) * batch * size, step * batch * size
    )


def run(laid: Laid, given: Given, direction: Direction) -> tuple[Leaves, Leaves, States]:
    """Outputs, the final state, and the states held for the way back."""
    fixed = direction.once.run(given.own)
    rooms: Rooms = {}

    def segment(number: int, state: Leaves) -> tuple[Window, Leaves, Leaves]:
        job, window = laid.window(number)
        part = _part(given, window, state)
        outputs, after, _ = forward.run(job, part, fixed, direction, rooms=rooms)
        return window, outputs, after

    return go_out(laid.layout, laid.job.course, given.initial, segment)


def _part(given: Given, window: Window, state: Leaves) -> Given:
    return given._replace(inputs=[window.take(leaf) for leaf in given.inputs], initial=state)


def adjoint(
    laid: Laid,
    given: Given,
    held: States,
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
        self.laid, self.given = laid, given
        self.count = len(adjoints) - len(given.initial)
        self.adjoints = adjoints[: self.count]
        self.out = job.compiled.forward
        self.back = backward.direction(job, adjoints)
        # whether it takes what comes after the loop, where outputs are made
        self.takes_late = not {*self.out.columns.after}.isdisjoint(self.back.taken)
        self.fixed_out: Fixed = self.out.once.run(given.own)
        self.fixed_back: Fixed = self.back.once.run(given.own)
        self.rooms_out, self.rooms_back = Rooms(), Rooms()
        wanted = wanted[: len(given.inputs)]
        self.left = Left(given.inputs, len(given.fresh), wanted)
        self.through = adjoints[self.count :]

    def advance(self, segment: int, state: Leaves) -> Leaves:
        """The state after a segment."""
        job, window = self.laid.window(segment)
        part = _part(self.given, window, state)
        return self._forward(job, part, outputs=False)[0]

    def visit(self, segment: int, state: Leaves) -> None:
        """Run a segment from its state, and go back through it."""
        job, window = self.laid.window(segment)
        part = _part(self.given, window, state)
        _, values = self._forward(job, part, outputs=self.takes_late)
        losses = [None if leaf is None else window.take(leaf) for leaf in self.adjoints]
        adjoints = [*losses, *self.through]
        found = backward.run(
            job, part, self.fixed_back, self.back, values, adjoints, self.rooms_back
        )
        self.through = found.initial
        self.left.add(window, found)

    def _forward(self, job: Job, part: Given, *, outputs: bool) -> tuple[Leaves, Values]:
        """The state after a segment, and all values in it, those of its outputs if wanted."""
        _, after, values = forward.run(
            job, part, self.fixed_out, self.out, outputs=outputs, rooms=self.rooms_out
        )
        return after, values
