"""Segments that are alike: what they have in common is made ready once, and lies in one room.

Where sequences differ in nothing, neither in length nor by resets, segments differ in nothing but
what they read. With small budgets there are thousands, and a kernel goes through each in some
microseconds.
"""

from torch import Tensor

from bptt.compiler.compiled import Direction
from bptt.course import Course, Span, Steps
from bptt.fused import forward, states
from bptt.fused.job import Given, Job, Values
from bptt.fused.loop import Fixed, flat_leaf, repeats
from bptt.fused.rooms import Rooms, room_of
from bptt.methods.checkpointed import Layout
from bptt.step import Leaves


def is_repeated(job: Job, direction: Direction, initial: Leaves) -> bool:
    """Whether segments of a job differ in nothing but what they read."""
    numbers = all(leaf.dtype is job.compiled.dtype for leaf in initial)
    return numbers and repeats(job.course, direction)


class Repeated:
    """The way forward through segments that are alike but for the last one's length.

    Args:
        job: of the whole sequence.
        layout: its segments.
        given: its tensors.
        direction: forward, with what the way back needs.
        fixed: what that computes once.

    Attributes:
        job: the segment as an unroll of its own.
    """

    def __init__(
        self, job: Job, layout: Layout, given: Given, direction: Direction, fixed: Fixed
    ) -> None:
        self.job, self._course, self._layout = job, job.course, layout
        self._given, self._direction, self._fixed = given, direction, fixed
        self._rooms = Rooms(layout.longest)
        self._out: _Out | None = None
        self._span = Span(0, 0)

    def enter(self, segment: int) -> Steps:
        """Turn to a segment."""
        layout, whole = self._layout, self._course
        first, last = segment * layout.length, segment == layout.count - 1
        steps = layout.steps - first if last else layout.length
        start = whole.steps - first - steps if whole.reverse else first
        self._span = Span(start, start + steps)
        if self._out is None or self.job.course.steps != steps:
            course = Course(steps, whole.batch, None, None, whole.reverse)
            self.job = self.job._replace(course=course)
            state = self._given.initial
            self._out = _Out(self.job, self._direction, self._fixed, state, self._rooms)
        if self.job.compiled.random:
            self.job = self.job._replace(first=first)
        return self._span

    def advance(self, state: Leaves) -> Leaves:
        """The state after the segment, in memory that the next one takes."""
        self._run(state)
        return self._own.after

    def run(self, state: Leaves) -> tuple[Leaves, Values]:
        """The same, and all values in the segment but those that come after the loop."""
        self._own.store(state)
        values = self._run(state)
        self._own.add(self.job, values)
        return self._own.after, values

    def shown(self, values: Values) -> Leaves:
        """The segment's outputs; what they are made of is added to its values."""
        return forward.shown(self.job, self._direction, values, self._fixed)

    def _run(self, state: Leaves) -> Values:
        job, direction, fixed = self.job, self._direction, self._fixed
        values = forward.given_values(job, [self._span.take(leaf) for leaf in self._given.inputs])
        if direction.prepares:
            before = direction.columns.before
            values.update(forward.computed(direction.before, before, values, fixed, job.course))
        self._own.run(job, values, state)
        return values

    @property
    def _own(self) -> "_Out":
        assert self._out is not None
        return self._out


class _Out:
    """The loop through segments of one length.

    Args:
        job: of one of them.
        direction: forward.
        fixed: what that computes once.
        state: like those that segments begin with.
        rooms: where it lies.

    Attributes:
        after: the state after the segment that was run last.
    """

    def __init__(
        self, job: Job, direction: Direction, fixed: Fixed, state: Leaves, rooms: Rooms
    ) -> None:
        self._direction, self._fixed, dtype = direction, fixed, job.compiled.dtype
        flat = [flat_leaf(leaf, dtype) for leaf in state]
        begin = dict(zip(direction.names.carried, flat, strict=True))
        self._room = room = room_of(job, direction, begin, state, rooms)
        self._begin = _shaped(list(room.begin.values()), state)
        self.after = _shaped(list(room.end.values()), state)
        self._heads = [(leaf, head.view(state[leaf].shape)) for leaf, head in room.heads.items()]
        self._begun = states.Begun(job.course, room.begin, None, {})

    def run(self, job: Job, values: Values, state: Leaves) -> None:
        """Go through a segment."""
        for begin, leaf in zip(self._begin, state, strict=True):
            begin.copy_(leaf)
        self._room.run(job, self._direction, values, self._fixed, back=False)

    def store(self, state: Leaves) -> None:
        """Put the state that a segment begins with before those that the loop keeps."""
        for leaf, head in self._heads:
            head.copy_(state[leaf])

    def add(self, job: Job, values: Values) -> None:
        """Add what the loop has kept, and the states before each step."""
        forward.add_kept(self._direction, self._room.kept, values)
        if self._direction.reads_states:
            states.add(job, self._direction, values, self._begun, self._room.states)


def _shaped(rows: list[Tensor], leaves: Leaves) -> Leaves:
    """(B, width) each, in the shapes of leaves."""
    return [row.view(leaf.shape) for row, leaf in zip(rows, leaves, strict=True)]
