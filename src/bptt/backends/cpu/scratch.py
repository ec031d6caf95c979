"""Buffers that die within a call, kept for the next one because fresh pages are slow.

A buffer belongs to one call from `take` to `give_back`, whichever thread calls.
"""

import torch
from torch import Tensor

LINE = 64  # bytes that a cache moves at once
KEPT = 64 << 20  # bytes of a buffer that is kept; larger ones go back to the system
_free: list[Tensor] = []


def take(size: int) -> Tensor:
    """A buffer of at least `size` bytes, aligned to a cache line."""
    buffer = _free.pop() if _free else None
    if buffer is None or buffer.numel() < size:
        buffer = make(size + size // 4)
    return buffer


def make(size: int) -> Tensor:
    """A buffer of its own, aligned to a cache line."""
    buffer = torch.empty(size + LINE, dtype=torch.uint8)
    return buffer[-buffer.data_ptr() % LINE :]


def give_back(buffer: Tensor) -> None:
    """Ends the use of a buffer."""
    if buffer.numel() <= KEPT:
        _free.append(buffer)
