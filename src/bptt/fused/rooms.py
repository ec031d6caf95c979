"""What a direction's loop works in: its memory, which segments that follow one another share."""

from collections.abc import Callable

import torch
from torch import Tensor

from bptt.backends.cpu import kernel
from bptt.compiler.compiled import Direction
from bptt.fused.job import Job, Values
from bptt.fused.loop import Fixed, Rows, compiled, fixed_reads, rows_of, shifted, step_reads
from bptt.step import Leaves


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
