"""Blocks of uniform or normal numbers, by (seed, operation, block)."""

import hashlib
import threading

import torch
from torch import Tensor

from bptt.draws.recipes import Base, Like

BLOCK = 64
# On the CPU torch draws normal numbers by so many: the first of many are those of fewer.
CHUNK = 16


def block(base: Base, like: Like, key: tuple[int, int, int], needed: int) -> Tensor:
    """(BLOCK, ...) numbers, or their first (needed, ...) where those can be had alone.

    Args:
        base: `torch.rand` or `torch.randn`.
        like: what one step's numbers look like.
        key: the seed, the operation and the block.
        needed: how many of the block's steps will be asked for.
    """
    dtype = like.dtype if like.dtype == torch.float64 else torch.float32
    generator = seeded(like.device, *key)
    size = like.shape.numel()
    count = -(-needed * size // CHUNK) * CHUNK
    if like.device.type != "cpu" or count >= BLOCK * size:
        return base((BLOCK, *like.shape), generator=generator, dtype=dtype, device=like.device)
    numbers = base(count, generator=generator, dtype=dtype)
    numbers = numbers if count == needed * size else numbers[: needed * size]
    return numbers.view(needed, *like.shape)


def seeded(device: torch.device, seed: int, operation: int, block: int) -> torch.Generator:
    """This thread's generator, seeded by (seed, operation, block)."""
    key = f"{seed} {operation} {block}".encode()
    number = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little", signed=True)
    return _source(device).manual_seed(number)


_SOURCES = threading.local()


def _source(device: torch.device) -> torch.Generator:
    """A generator of this thread's, to be seeded: a new one costs more than to seed it."""
    sources = vars(_SOURCES)
    found = sources.get(str(device))
    if found is None:
        found = sources[str(device)] = torch.Generator(device)
    return found
