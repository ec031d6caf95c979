"""A loop column compiled for this machine, and how it is run."""

import array
import functools

import torch
from torch import Tensor

from bptt.backends.cpu import scratch, simd
from bptt.backends.cpu.arguments import Arguments, Reset, Tensors
from bptt.backends.cpu.program import ENTRIES, program
from bptt.backends.cpu.rows import Rows, arrange
from bptt.compiler.stages import Loop

__all__ = ["Kernel", "Reset", "Rows", "make"]


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
        self._fixed = sum(buffer.fixed for buffer in made.buffers)
        self._row = sum(buffer.row for buffer in made.buffers)
        code = simd.build(made.source, ENTRIES, dtype)
        self._pack, self._run = (code.addresses[name] for name in ENTRIES)

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
        order = arrange(rows, *shape, self._effort)
        block = self._arguments.block(memories, order, begin, end, reset, shape)
        reach = self._fixed + order.height * self._row
        buffer = scratch.take(self._weights + (len(order.shares) - 1) * reach)
        try:
            self._start(block, order.shares, buffer.data_ptr(), reach)
        finally:
            scratch.give_back(buffer)

    def _start(self, block: list[int], shares: tuple[int, ...], place: int, reach: int) -> None:
        """Completes the block and calls the kernel: weights are packed by one thread, first."""
        slots, count = self._arguments.slots, len(shares) - 1
        values = array.array("q", (*block, *shares))
        address, _ = values.buffer_info()
        values[slots["shares"]] = address + 8 * len(block)
        values[slots["packed"]], values[slots["scratch"]] = place, place + self._weights
        values[slots["reach"]], values[slots["pack"]] = reach, count == 1
        if count > 1 and self._weights:
            simd.run(self._pack, address, 1)
        simd.run(self._run, address, count)


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
