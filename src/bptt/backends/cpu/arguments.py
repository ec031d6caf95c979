"""The argument block of one call, from the caller's tensors."""

from collections.abc import MutableSequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.backends.cpu.rows import Order
from bptt.compiler.stages import KINDS, Loop

Tensors = dict[str, Tensor]
Block = MutableSequence[int]


class Reset(NamedTuple):
    """Rows that start afresh within their run.

    Attributes:
        mask: (T, B) bool.
        fresh: by carry, (B, width): what it is replaced by before the step (`"enter"`), or what it
            is added to, and emptied, after the stages of the step (`"leave"`).
        mode: `"enter"` or `"leave"`.
    """

    mask: Tensor
    fresh: Tensors
    mode: str


class Arguments:
    """Writes a loop's argument blocks: `slots.py` says what stands where."""

    def __init__(self, loop: Loop, dtype: torch.dtype, slots: dict[str, int]) -> None:
        self.slots, self._dtype, self._mask = slots, dtype, slots["mask"]
        kinds = {kind: [] for kind in KINDS}
        for memory in loop.memories:
            kinds[memory.kind].append(memory)
        steps = kinds["step"] + kinds["begun"]
        self._steps = [(m.name, slots[m.name], m.width) for m in steps]
        self._fresh = [slots[f"{m.name}.fresh"] for m in kinds["begun"]]
        self._trails = [(m.name, slots[m.name], m.width) for m in kinds["trail"]]
        self._sequences = [(m.name, slots[m.name], m.width) for m in kinds["sequence"]]
        self._weights = [(m.name, slots[m.name], m.width) for m in kinds["weight"]]
        self._matrices = [(m.name, slots[m.name], (m.height, m.width)) for m in kinds["matrix"]]
        self._sums = [(m.name, slots[f"{m.name}.end"], m.width) for m in kinds["sum"]]
        self._carries = [(m.name, slots[f"{m.name}.begin"], m.width) for m in kinds["carry"]]

    def times_and_batch(self, memories: Tensors) -> tuple[int, int]:
        """T and B, as the first step memory has them."""
        if not self._steps:
            raise ValueError("expected a loop that reads or stores something at each step")
        times, batch, _ = memories[self._steps[0][0]].shape
        return times, batch

    def rows(self, order: Order) -> list[int]:
        """A block that says who runs when, and nothing else."""
        block, slots = [0] * len(self.slots), self.slots
        block[slots["order"]] = order.order.data_ptr()
        block[slots["sequence"]] = order.sequence.data_ptr()
        block[slots["steps"]] = 0 if order.steps is None else order.steps.data_ptr()
        block[slots["first"]], block[slots["stride"]] = order.first, order.stride
        block[slots["trail"]], block[slots["pace"]] = order.trail.data_ptr(), order.pace
        block[slots["longest"]], block[slots["height"]] = order.longest, order.height
        return block

    def fill(
        self,
        block: Block,
        memories: Tensors,
        begin: Tensors,
        end: Tensors,
        reset: tuple[Tensor, Tensors, str] | None,
        shape: tuple[int, int],
        carried: int,
    ) -> None:
        """Writes where everything lies.

        Args:
            block: made of `rows`.
            memories: step, sequence, weight and matrix memories.
            begin: where carries begin.
            end: where they are stored at the end.
            reset: a `Reset`, or None.
            shape: T and B.
            carried: rows of a carry, of a sequence memory, and of a step in a trail.
        """
        times, batch = shape
        for rows, kind in (
            (times * batch, self._steps),
            (times * carried, self._trails),
            (carried, self._sequences),
            (1, self._weights),
        ):
            for name, slot, width in kind:
                block[slot] = _address(name, memories[name], rows, width, self._dtype)
        for slot in self._fresh:
            block[slot] = 0
        for name, slot, wanted in self._matrices:
            matrix = memories[name]
            if matrix.dtype is not self._dtype or matrix.shape != wanted:
                raise _misfit(name, matrix, f"a matrix {wanted}", self._dtype)
            block[slot] = matrix.data_ptr()
            block[slot + 1], block[slot + 2] = matrix.stride()
        for name, slot, width in self._carries:
            block[slot] = _address(name, begin[name], carried, width, self._dtype)
            last = end.get(name)
            block[slot + 1] = (
                0 if last is None else _address(name, last, carried, width, self._dtype)
            )
            block[slot + 3] = block[slot + 4] = 0
        for name, slot, width in self._sums:
            block[slot] = 0
            if name in end:
                block[slot] = _address(name, end[name], carried, width, self._dtype)
        if reset is not None:
            self._reset(block, reset, shape, carried)
        else:
            block[self._mask] = 0

    def _reset(
        self, block: Block, reset: tuple[Tensor, Tensors, str], shape: tuple[int, int], carried: int
    ) -> None:
        mask, fresh, mode = reset
        if mode not in ("enter", "leave"):
            raise ValueError(f"expected the mode of resets to be 'enter' or 'leave', got {mode!r}")
        block[self._mask] = _address("the mask of resets", mask, *shape, torch.bool)
        block[self.slots["leave"]] = mode == "leave"
        for name, slot, width in self._carries:
            block[slot + 2] = _address(name, fresh[name], carried, width, self._dtype)


def _address(name: str, tensor: Tensor, rows: int, width: int, dtype: torch.dtype) -> int:
    """The address of a tensor that must be as said."""
    if tensor.dtype is not dtype or tensor.numel() != rows * width or not tensor.is_contiguous():
        raise _misfit(name, tensor, f"{rows} times {width} contiguous numbers", dtype)
    return tensor.data_ptr()


def _misfit(name: str, tensor: Tensor, wanted: str, dtype: torch.dtype) -> ValueError:
    return ValueError(
        f"expected {name} to be {wanted} of {dtype}, got {tensor.dtype} of shape "
        f"{tuple(tensor.shape)} with strides {tensor.stride()}"
    )
