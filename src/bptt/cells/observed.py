"""Series with missing values, as `GRUD` takes them."""

from typing import NamedTuple

import torch
from torch import Tensor

from bptt.errors import ArgumentError


class Observed(NamedTuple):
    """Series (T, B, I) with missing values; what a step of `GRUD` takes is one time's (B, I).

    Attributes:
        x: values; where one is missing, the last one before, or the mean if there was none.
        mask: bool, True where a value was observed.
        delta: time since the last observation before; since the start if there was none.
    """

    x: Tensor
    mask: Tensor
    delta: Tensor


def observed(
    x: Tensor, times: Tensor, *, mask: Tensor | None = None, mean: Tensor | float = 0.0
) -> Observed:
    """Fill a series with missing values for `GRUD`.

    Fill whole series before they are cut into windows: what came before a window counts.

    Args:
        x: (T, B, I) values, NaN where missing.
        times: (T,) or (T, B) when they were taken, in the unit that the decay is to be in; never
            falling.
        mask: (T, B, I) bool, True where observed; where x is not NaN if None.
        mean: (I,) or a number, what stands where nothing was observed yet; the cell's own `mean`.

    Raises:
        ArgumentError: shapes that do not fit, times that fall.

    Source: Che et al. 2018, equation 2 and "GRU-D".

    >>> nan = float("nan")
    >>> series = observed(torch.tensor([nan, 5.0, nan, nan]).view(4, 1, 1), torch.arange(4.0))
    >>> series.x.flatten().tolist(), series.delta.flatten().tolist()
    ([0.0, 5.0, 5.0, 5.0], [0.0, 1.0, 1.0, 2.0])
    """
    mask = ~x.isnan() if mask is None else mask
    times = times[:, None] if times.dim() == 1 else times
    _check(x, times, mask)
    taken = times[..., None].expand(x.shape)
    order = torch.arange(len(x), device=x.device)[:, None, None]
    last = torch.where(mask, order, -1).cummax(0).values
    before = torch.cat([torch.full_like(last[:1], -1), last[:-1]])
    filled = torch.where(last < 0, mean, x.gather(0, last.clamp(min=0)))
    since = taken - taken.gather(0, before.clamp(min=0))  # a date is too large for float32
    return Observed(filled.to(x.dtype), mask, since.to(x.dtype))


def _check(x: Tensor, times: Tensor, mask: Tensor) -> None:
    fits = x.dim() == 3 and times.shape in (x.shape[:2], (len(x), 1))
    if not fits or mask.shape != x.shape or mask.dtype != torch.bool:
        raise ArgumentError(
            "expected x (T, B, I), times (T,) or (T, B) and a bool mask (T, B, I), got "
            f"{tuple(x.shape)}, {tuple(times.shape)} and {mask.dtype} {tuple(mask.shape)}"
        )
    if (times.diff(dim=0) < 0).any():
        raise ArgumentError("times should never fall from one step to the next: sort the series")
