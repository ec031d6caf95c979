"""A loop column compiled for this machine, and how it is run."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from bptt.backends.cpu import crowd, scratch, simd
from bptt.backends.cpu.arguments import Arguments, Reset, Tensors
from bptt.backends.cpu.prepared import Entries, Prepared, Room
from bptt.backends.cpu.program import ENTRIES, program
from bptt.backends.cpu.rows import EVERY, Rows, arrange
from bptt.compiler.stages import Loop

__all__ = ["Kernel", "Prepared", "Reset", "Rows", "make"]

SHAPES = 64  # of batches, whose calls a kernel remembers


class Kernel:
    """One compiled loop.

    Attributes:
        loop: what it computes.
        dtype: of all its numbers.
        source: the generated source.
        slots: the place of each argument by name.
        begun: the names of memories that may be told what resets start from.
    """

    def __init__(self, loop: Loop, dtype: torch.dtype, machine: simd.Machine) -> None:
        lanes = machine.lanes[str(dtype).removeprefix("torch.")]
        made = program(loop, lanes, machine.registers, dtype.itemsize)
        self.loop, self.dtype, self.source = loop, dtype, made.source
        self.slots = made.slots
        self.begun = [memory.name for memory in loop.memories if memory.kind == "begun"]
        scratch.keep_freed()
        self._arguments = Arguments(loop, dtype, made.slots)
        self._effort, self._weights = made.effort, made.weights
        self._together, self._outers = made.together, made.outers
        self._fixed = sum(buffer.fixed for buffer in made.buffers)
        self._row = sum(buffer.row for buffer in made.buffers)
        code = simd.build(made.source, ENTRIES, dtype)
        pack, run = (code.addresses[name] for name in ENTRIES)
        self._entries = Entries(pack, run, made.slots)
        self._calls: dict[tuple, list[Prepared]] = {}

    def run(
        self,
        memories: Tensors,
        rows: Rows | None,
        begin: Tensors,
        end: Tensors,
        reset: tuple[Tensor, Tensors, str] | None = None,
        shape: tuple[int, int] | None = None,
    ) -> list[Tensor]:
        """Runs rows through their steps; gives the totals of products over rows, (K, N) each.

        Args:
            memories: step (T, B, width), sequence (B, width), weight (width,) and matrix (K, N)
                memories by name; a matrix may have any strides. The others are contiguous, and may
                have any axes that hold those numbers in that order.
            rows: or None for every sequence through all steps.
            begin: every carry before a row's first step, (B, width).
            end: filled with carries after each row's last step; those not named are dropped.
            reset: a `Reset`: rows that start afresh within their run.
            shape: T and B; None: as the first step memory has them.

        Raises:
            ValueError: if a tensor does not fit its memory.
        """
        shape = shape or self._arguments.times_and_batch(memories)
        free = self._free(rows, shape)
        call = free.pop() if free else self._call(rows, shape)
        self._arguments.fill(call.values, memories, begin, end, reset, shape, _carried(rows, shape))
        found = self._run(call)
        free.append(call)
        return found

    def run_at(
        self, places: Sequence[int], addresses: Sequence[int], shape: tuple[int, int], rows: Rows
    ) -> list[Tensor]:
        """`run`, for a caller who knows that every tensor fits.

        Args:
            places: the slots of everything that the loop reads and fills, and of resets.
            addresses: what stands there: addresses, and a matrix's strides.
            shape: T and B.
            rows: every sequence, through all steps or its own.
        """
        free = self._free(rows, shape)
        call = free.pop() if free else self._call(rows, shape)
        values = call.values
        for place, address in zip(places, addresses, strict=True):
            values[place] = address
        found = self._run(call)
        free.append(call)
        return found

    def _run(self, call: Prepared) -> list[Tensor]:
        """In a buffer that dies with the call; the totals of products over rows."""
        found = self._add_up(call)
        buffer = scratch.take(call.room.size)
        try:
            call.use(buffer)
            call.run()
        finally:
            scratch.give_back(buffer)
        return [summed(totals) for totals in found]

    def _add_up(self, call: Prepared) -> list[Tensor]:
        """Memory for the totals of products over rows, (shares, K, N) each."""
        found = [torch.empty(call.shares, *shape, dtype=self.dtype) for _, *shape in self._outers]
        for (place, *_), totals in zip(self._outers, found, strict=True):
            call.values[place] = totals.data_ptr()
        return found

    def _free(self, rows: Rows | None, shape: tuple[int, int]) -> list[Prepared]:
        """Calls made before, which nobody makes now, where rows are told by name, or all run."""
        sequence, start, steps, direction, _, name, _ = rows or EVERY
        if name is None and not (sequence is start is steps is None):
            return []
        key = shape, direction, name, torch.get_num_threads(), self._shares_columns()
        free = self._calls.get(key)
        if free is None:
            if len(self._calls) == SHAPES:
                self._calls.clear()
            free = self._calls[key] = []
        return free

    def prepare(
        self,
        memories: Tensors,
        rows: Rows | None,
        begin: Tensors,
        end: Tensors,
        reset: tuple[Tensor, Tensors, str] | None = None,
        *,
        shape: tuple[int, int] | None = None,
    ) -> Prepared:
        """A call of `run` that is made later, or often: its own cost is some microseconds.

        Args:
            memories, rows, begin, end, reset, shape: as for `run`. They are read when the call is
                made.

        Raises:
            ValueError: if a tensor does not fit its memory.
        """
        shape = shape or self._arguments.times_and_batch(memories)
        call = self._call(rows, shape)
        self._arguments.fill(call.values, memories, begin, end, reset, shape, _carried(rows, shape))
        buffer = scratch.make(call.room.size)
        call.use(buffer)
        call.totals = self._add_up(call)
        call.owners = {**memories, "": (dict(begin), dict(end), reset, buffer)}
        return call

    def _call(self, rows: Rows | None, shape: tuple[int, int]) -> Prepared:
        """A call that knows who runs when."""
        order = arrange(rows, *shape, self._effort, self._shares_columns())
        shares = max(order.members, len(order.shares) - 1)
        reach = self._fixed + order.height * self._row
        room = Room(self._weights + shares * reach, self._weights, reach)
        return Prepared(self._entries, self._arguments.rows(order), order, room)

    def _shares_columns(self) -> bool:
        """Whether threads share the columns of few rows."""
        return self._together and not crowd.is_crowded() and simd.torch_team() is not None


def summed(totals: Tensor) -> Tensor:
    """The total of what shares have come to."""
    return totals[0] if len(totals) == 1 else totals.sum(0)


def _carried(rows: Rows | None, shape: tuple[int, int]) -> int:
    """How many rows a carry has."""
    if rows is None or not rows.apart:
        return shape[1]
    return next(len(part) for part in rows[:3] if part is not None)


def make(loop: Loop, dtype: torch.dtype) -> Kernel:
    """The kernel of a loop, compiled at its first use in this process.

    Args:
        loop: what to compute.
        dtype: torch.float32 or torch.float64.
    """
    return _made(loop, dtype, simd.machine().name)


@functools.cache
def _made(loop: Loop, dtype: torch.dtype, machine: str) -> Kernel:
    """`machine` is part of the key: kernels are made for one."""
    return Kernel(loop, dtype, simd.machine())
