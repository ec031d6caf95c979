"""The two ways of the lesson to read the state out and to judge what was read."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """An output and the error that goes with it, as functions of z_t = s_t Wy.

    Attributes:
        name: what the command calls it.
        output: y from z, (..., K) to (..., K).
        error: E from z and d, (..., K) to (...).
        slope: dE/dz from y and d, (..., K) to (..., K).
    """

    name: str
    output: Callable[[Tensor], Tensor]
    error: Callable[[Tensor, Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]


SQUARED = Loss(
    "squared",
    output=lambda z: z,
    error=lambda z, d: ((d - z) ** 2).sum(-1),
    slope=lambda y, d: -2 * (d - y),
)

# dE/dy dy/dz = (-d/y)(diag(y) - y^T y) = y - d, for the d of one step sum to 1. The product is
# taken by hand: d/y would overflow where y is tiny.
CROSS_ENTROPY = Loss(
    "cross-entropy",
    output=lambda z: torch.softmax(z, -1),
    error=lambda z, d: -(d * torch.log_softmax(z, -1)).sum(-1),
    slope=lambda y, d: y - d,
)

LOSSES = {loss.name: loss for loss in (SQUARED, CROSS_ENTROPY)}
