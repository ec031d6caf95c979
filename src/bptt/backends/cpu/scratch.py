"""Buffers that die within a call, kept for the next one because fresh pages are slow.

A buffer belongs to one call from `take` to `give_back`, whichever thread calls.
"""

import functools

import torch
from torch import Tensor

LINE = 64  # bytes that a cache moves at once
KEPT = 64 << 20  # bytes of a buffer that is kept; larger ones go back to the system
MAPPED = (32 << 20) - (64 << 10)  # bytes of the largest block that glibc learns from
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


@functools.cache
def keep_freed() -> None:
    """Has the C library keep memory that is freed, up to 64 MB of it.

    glibc gives the free end of its heap back to the system where that is more than twice the
    largest block of up to 32 MB that it has seen freed. What a sequence keeps for its way back is
    many blocks, none of them large: all of it would be had afresh at every call, whose page faults
    may take as long as all else. So one block of that size is freed, once. Nothing is written
    there: it takes no memory.
    """
    torch.empty(MAPPED, dtype=torch.uint8)
