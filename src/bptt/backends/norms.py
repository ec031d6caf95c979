"""Norms of adjoints, which may be far too small or too large to be squared in float32."""

import functools

import torch
from torch import Tensor

from bptt.backends.product import Found

ROOM = 1 << 16  # numbers that are in float64 at once: they stay near the core


def norm(leaf: Tensor, axes: int) -> Tensor:
    """Norms over what follows so many axes, in float64: squares may leave float32's range.

    >>> norm(torch.tensor([[3e-30, 4e-30]]), 1)
    tensor([5.0000e-30], dtype=torch.float64)
    """
    flat = leaf.flatten(axes) if leaf.dim() > axes else leaf.unsqueeze(-1)
    rows = max(ROOM // max(flat[:1].numel(), 1), 1)
    parts = [
        torch.linalg.vector_norm(part, dim=-1, dtype=torch.float64) for part in flat.split(rows)
    ]
    return torch.cat(parts)


def together(leaves: Found, axes: int) -> Tensor:
    """The norm over all leaves that there are, and what follows so many axes."""
    found = [norm(leaf, axes) for leaf in leaves if leaf is not None]
    return functools.reduce(torch.hypot, found)
