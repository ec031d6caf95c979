"""A direction's loop: what it reads, what it works in, and its run by a kernel."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bptt.backends.cpu import kernel
from bptt.compiler.compiled import Direction
from bptt.compiler.record import Ref
from bptt.course import Course
from bptt.fused.job import Job, Values
from bptt.step import Leaves

Fixed = dict[Ref, Tensor]
Rows = dict[str, Tensor]  # by memory or carry


class Room:
    """What the loop of some steps works in.

    Args:
        begin: by carry, (B, width).
        kept: what it fills at each step, by memory.

    Attributes:
        end: by carry, filled with what the last step leaves; and each sequence's part of sums over
            all rows.
        states: by leaf of the state, those before each step, where they lie beside what is kept.
        heads: by leaf, where the first of them stands.
    """

    def __init__(self, begin: Rows, kept: Rows) -> None:
        self.begin, self.kept = begin, kept
        self.end = {name: torch.empty_like(tensor) for name, tensor in begin.items()}
        self.states: dict[int, Tensor] = {}
        self.heads: dict[int, Tensor] = {}
        self._call: kernel.Prepared | None = None

    def run(
        self, job: Job, direction: Direction, values: Values, fixed: Fixed, back: bool
    ) -> Values:
        """Run the loop; gives the products over rows that it has added up, until it runs again.

        Where it has run before, all but what it reads at each step is the same.
        """
        rows = rows_of(job.course, back)
        steps = step_reads(job, direction, values)
        if self._call is None:
            memories = {**steps, **fixed_reads(job, direction, fixed), **self.kept}
            shape = job.course.steps, job.course.batch
            made = compiled(job, direction)
            self._call = made.prepare(memories, rows, self.begin, self.end, shape=shape)
            self._call.run()
        else:
            for name, memory in steps.items():
                self._call.move(name, memory)
            self._call.run(pack=False)
        sums = map(kernel.summed, self._call.totals)
        return dict(zip(direction.names.outers.values(), sums, strict=True))


class Rooms:
    """The rooms of segments that follow one another, all in one memory.

    Args:
        longest: steps of the longest segment.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._memories: Rows = {}
        self._rooms: dict[tuple, Room] = {}

    def room(self, job: Job, direction: Direction, begin: Rows, beside: bool) -> Room:
        """The room of segments of this length, which begins with this."""
        kind = job.course.steps, beside
        room = self._rooms.get(kind)
        if room is None:
            own = {name: leaf.clone() for name, leaf in begin.items()}
            room = self._rooms[kind] = _made(job, direction, own, beside, self._take)
        else:
            for name, leaf in begin.items():
                room.begin[name].copy_(leaf)
        return room

    def _take(self, name: str, steps: int, *shape: int, dtype: torch.dtype) -> Tensor:
        """The memory of that name, for so many steps."""
        if name not in self._memories:
            self._memories[name] = torch.empty(self._longest + 1, *shape, dtype=dtype)
        return self._memories[name][:steps]


def repeats(course: Course, direction: Direction) -> bool:
    """Whether segments may differ in nothing but what they read at each step."""
    return bool(direction.loop.stages) and course.lengths is None and course.reset is None


def room_of(
    job: Job, direction: Direction, begin: Rows, initial: Leaves | None, rooms: Rooms | None
) -> Room:
    """The room of a loop.

    Args:
        job: what is run.
        direction: forward or backward.
        begin: by carry, (B, width).
        initial: the state before the first step, where states are to lie beside what is kept.
        rooms: those of earlier segments.
    """
    course = job.course
    beside = initial is not None and direction.reads_states and shifted(course)
    if rooms is None:
        room = _made(job, direction, begin, beside, _fresh)
    else:
        room = rooms.room(job, direction, begin, beside)
    if course.dead is not None:
        for memory in room.kept.values():  # no loop stores anything there, but sums read it
            memory.index_fill_(0, course.dead, 0.0)
    for leaf, head in room.heads.items():
        assert initial is not None
        head.copy_(initial[leaf])
    return room


def _fresh(name: str, steps: int, *shape: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(steps, *shape, dtype=dtype)


def _made(
    job: Job, direction: Direction, begin: Rows, beside: bool, take: Callable[..., Tensor]
) -> Room:
    """A new room, in memory that is taken by name for so many steps.

    Where the state before each step is the one stored a step earlier (`beside`), its memory has
    one step more than the sequence, with the first state in it: both are views of that.
    """
    steps, batch, dtype = job.course.steps, job.course.batch, job.compiled.dtype
    room = Room(begin, {})
    for name, _, shape, leaf, _ in direction.kept:
        if leaf is None or not beside:
            room.kept[name] = take(name, steps, batch, *shape, dtype=dtype).flatten(0, 1)
        else:
            whole = take(name, steps + 1, batch, *shape, dtype=dtype).flatten(0, 1)
            early, late = whole[:-batch], whole[batch:]
            reverse = job.course.reverse
            room.kept[name], room.states[leaf] = (early, late) if reverse else (late, early)
            room.heads[leaf] = whole[-batch:] if reverse else whole[:batch]
    for name, node in direction.names.totals.items():
        room.end[name] = torch.empty(batch, *direction.columns.graph[node].shape, dtype=dtype)
    return room


def shifted(course: Course) -> bool:
    """Whether the state before each step is the one that was stored a step earlier."""
    return course.reset is None and not (course.reverse and course.lengths is not None)


def rows_of(course: Course, backward: bool = False) -> kernel.Rows | None:
    """The rows of a loop that goes forward, or back again, through each sequence."""
    direction = -1 if course.reverse != backward else 1
    lengths = course.lengths
    if lengths is None and direction > 0:
        return None
    return kernel.Rows(steps=lengths, direction=direction)


def loop(
    job: Job,
    direction: Direction,
    memories: Rows,
    shape: tuple[int, int],
    rows: kernel.Rows | None,
    begin: Rows,
    end: Rows,
    reset: tuple | None,
) -> None:
    """Run a loop once.

    Args:
        job: what is run.
        direction: forward or backward.
        memories: what it reads and keeps.
        shape: T and B.
        rows: which sequences through which steps.
        begin, end: carries before the first and after the last step.
        reset: a kernel's `Reset`, or None.
    """
    if direction.loop.stages:
        compiled(job, direction).run(memories, rows, begin, end, reset, shape)
        return
    for name, first in begin.items():  # a state that no step changes
        end[name].copy_(_unchanged(rows, first, name, reset))


def compiled(job: Job, direction: Direction) -> kernel.Kernel:
    """The kernel of a loop."""
    made = direction.made.get("cpu")
    if made is None:
        made = direction.made["cpu"] = kernel.make(direction.loop, job.compiled.dtype)
    return made


def _unchanged(rows: kernel.Rows | None, first: Tensor, name: str, reset: tuple | None) -> Tensor:
    if reset is None:
        return first
    mask, fresh, mode = reset
    some = (mask if rows is None else _within(rows, mask)).any(0)[:, None]
    if mode == "leave":
        fresh[name] += torch.where(some, first, 0.0)
        return torch.where(some, 0.0, first)
    return torch.where(some, fresh[name], first)


def _within(rows: kernel.Rows, mask: Tensor) -> Tensor:
    """(T, R) the mask of resets at the steps that rows go through."""
    sequence, start, steps, direction, *_ = rows
    mask = mask if sequence is None else mask[:, sequence]
    if steps is None:
        return mask
    if start is None:
        start = torch.zeros_like(steps) if direction > 0 else steps - 1
    time, last = torch.arange(len(mask))[:, None], start + direction * (steps - 1)
    inside = (torch.minimum(start, last) <= time) & (time <= torch.maximum(start, last))
    return mask & inside & (steps > 0)


def flat_leaf(leaf: Tensor, dtype: torch.dtype) -> Tensor:
    """A leaf of the state as (B, width) numbers."""
    leaf = leaf if leaf.dtype == dtype else leaf.to(dtype)
    leaf = leaf if leaf.dim() == 2 else leaf.reshape(leaf.shape[0], math.prod(leaf.shape[1:]))
    return leaf.contiguous()


def memories(job: Job, direction: Direction, values: Values, fixed: Fixed) -> Rows:
    """What a loop reads."""
    return {**step_reads(job, direction, values), **fixed_reads(job, direction, fixed)}


def step_reads(job: Job, direction: Direction, values: Values) -> Rows:
    """What a loop reads at each step."""
    dtype = job.compiled.dtype
    return {name: real(values[node], dtype) for name, node in direction.names.step.items()}


def fixed_reads(job: Job, direction: Direction, fixed: Fixed) -> Rows:
    """What a loop reads that is the same at all steps."""
    graph, names, dtype = direction.columns.graph, direction.names, job.compiled.dtype
    reads = {
        name: real(fixed[graph[node].attributes[0]], dtype) for name, node in names.sequence.items()
    }
    for name, part in names.fixed.items():
        tensor = fixed[graph[part.node].attributes[0]]
        if part.stop is None:
            reads[name] = real(tensor, dtype)
        else:
            reads[name] = part.rows_of(tensor, dtype)
    return reads


def real(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return (tensor if tensor.dtype is dtype else tensor.to(dtype)).contiguous()
