"""Norms of adjoints, which may be far too small or too large to be squared in float32."""

import functools

import torch
from torch import Tensor

from bptt.backends.product import Found

FAR = 1e6  # beyond, norms are brought near 1 before they are taken
LEAST = 1e-15  # squares of what is so small, or a thousand times less, leave float32's range


def norm(leaf: Tensor, axes: int, scale: Tensor | None = None) -> Tensor:
    """Norms over what follows so many axes, in float64: squares may leave float32's range.

    Args:
        leaf: any numbers.
        axes: how many axes are kept.
        scale: (L,) by the first axis, what brings about 1 out of most norms, which takes less time.

    >>> norm(torch.tensor([[3e-30, 4e-30]]), 1)
    tensor([5.0000e-30], dtype=torch.float64)
    """
    flat = leaf.flatten(axes) if leaf.dim() > axes else leaf.unsqueeze(-1)
    if scale is None or leaf.dtype == torch.float64:
        return torch.linalg.vector_norm(flat, dim=-1, dtype=torch.float64)
    far = (scale > FAR) | (scale < 1 / FAR)
    if not bool(far.any()):
        return near_one(flat)
    scale = torch.where(far, scale, 1.0).reshape(-1, *[1] * (axes - 1))
    return near_one(flat * scale[..., None].to(leaf.dtype)) / scale


def near_one(rows: Tensor, nothing: Tensor | None = None) -> Tensor:
    """Norms over the last axis, in float64, that are taken in float32 where that is exact.

    Args:
        rows: any numbers.
        nothing: where they are known to be zero.
    """
    found = torch.linalg.vector_norm(rows, dim=-1)
    least, largest = map(float, torch.aminmax(found)) if found.numel() else (1.0, 1.0)
    found = found.double()
    if not LEAST < least <= largest < 1 / LEAST:  # or NaN
        rest = ~((found > LEAST) & (found < 1 / LEAST))
        rest = rest if nothing is None else rest & ~nothing
        found[rest] = torch.linalg.vector_norm(rows[rest], dim=-1, dtype=torch.float64)
    return found


def together(leaves: Found, axes: int, scale: Tensor | None = None) -> Tensor:
    """The norm over all leaves that there are, and what follows so many axes."""
    found = [norm(leaf, axes, scale) for leaf in leaves if leaf is not None]
    return functools.reduce(torch.hypot, found)
