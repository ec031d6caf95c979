"""A loop column compiled for this machine, and how it is run."""

import functools

import torch
from torch import Tensor

from bptt.backends.cpu import crowd, scratch, simd
from bptt.backends.cpu.arguments import Arguments, Reset, Tensors
from bptt.backends.cpu.prepared import Entries, Prepared, Room
from bptt.backends.cpu.program import ENTRIES, program
from bptt.backends.cpu.rows import Order, Rows, arrange
from bptt.compiler.stages import Loop

__all__ = ["Kernel", "Prepared", "Reset", "Rows", "make"]


class Kernel:
    """One compiled loop.

    Attributes:
        loop: what it computes.
        dtype: of all its numbers.
        source: the generated source.
    """

    def __init__(self, loop: Loop, dtype: torch.dtype, machine: simd.Machine) -> None:
        lanes = machine.lanes[str(dtype).removeprefix("torch.")]
        made = program(loop, lanes, machine.registers, dtype.itemsize)
        self.loop, self.dtype, self.source = loop, dtype, made.source
        self._arguments = Arguments(loop, dtype, made.slots)
        self._effort, self._weights = made.effort, made.weights
        self._together = made.together
        self._fixed = sum(buffer.fixed for buffer in made.buffers)
        self._row = sum(buffer.row for buffer in made.buffers)
        code = simd.build(made.source, ENTRIES, dtype)
        pack, run = (code.addresses[name] for name in ENTRIES)
        self._entries = Entries(pack, run, made.slots)

    def run(
        self,
        memories: Tensors,
        rows: Rows | None,
        begin: Tensors,
        end: Tensors,
        reset: tuple[Tensor, Tensors, str] | None = None,
    ) -> None:
        """Runs rows through their steps.

        Args:
            memories: step (T, B, width), sequence (B, width), weight (width,) and matrix (K, N)
                memories by name; a matrix may have any strides, the others are contiguous.
            rows: or None for every sequence through all steps.
            begin: every carry before a row's first step, (B, width).
            end: filled with carries after each row's last step; those not named are dropped.
            reset: a `Reset`: rows that start afresh within their run.

        Raises:
            ValueError: if a tensor does not fit its memory.
        """
        shape = self._arguments.times_and_batch(memories)
        order, size = self._order(rows, shape, shape[0])
        block = self._arguments.block(memories, order, begin, end, reset, shape)
        buffer = scratch.take(size)
        try:
            room = Room(buffer, self._weights, self._reach(order))
            Prepared(self._entries, block, order, room, shape, None).run()
        finally:
            scratch.give_back(buffer)

    def prepare(
        self,
        memories: Tensors,
        rows: Rows | None,
        begin: Tensors,
        end: Tensors,
        reset: tuple[Tensor, Tensors, str] | None = None,
        *,
        steps: int | None = None,
    ) -> Prepared:
        """A call of `run` that is made later, or often: its own cost is some microseconds.

        Args:
            memories, rows, begin, end, reset: as for `run`. They are read when the call is made.
            steps: how many steps a call will take, where it is told at which to start.

        Raises:
            ValueError: if a tensor does not fit its memory.
        """
        shape = self._arguments.times_and_batch(memories)
        order, size = self._order(rows, shape, shape[0] if steps is None else steps)
        block = self._arguments.block(memories, order, begin, end, reset, shape)
        room = Room(scratch.make(size), self._weights, self._reach(order))
        owners = dict(memories), dict(begin), dict(end), reset
        return Prepared(self._entries, block, order, room, shape, owners)

    def _order(self, rows: Rows | None, shape: tuple[int, int], steps: int) -> tuple[Order, int]:
        """Who runs when, and how many bytes that takes."""
        together = self._together and not crowd.is_crowded() and simd.torch_team() is not None
        order = arrange(rows, *shape, self._effort * steps // max(shape[0], 1), together)
        shares = max(order.members, len(order.shares) - 1)
        return order, self._weights + shares * self._reach(order)

    def _reach(self, order: Order) -> int:
        """Bytes of a share's buffers."""
        return self._fixed + order.height * self._row


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
