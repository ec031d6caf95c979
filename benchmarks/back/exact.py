"""Nothing is timed before it is right: gradients compared, tensor by tensor."""

import math
from collections.abc import Sequence

from torch import Tensor

# Largest allowed ||found - exact|| / ||exact||; programs in float32 that are right stay below 2e-6.
ALLOWED = 1e-5

Gradients = Sequence[Tensor]


def agree(who: str, found: Gradients, exact: Gradients, allowed: float = ALLOWED) -> float:
    """The worst relative error of a tensor.

    Raises:
        AssertionError: it is above what is allowed; says whose.

    >>> import torch
    >>> agree("ours", [torch.ones(3)], [torch.ones(3)])
    0.0
    """
    worst = max(_error(a, b) for a, b in zip(found, exact, strict=True))
    if worst > allowed:
        raise AssertionError(
            f"{who}: differs by {worst:.1e} of a tensor's norm, allowed are {allowed:.0e}; "
            "nothing is timed"
        )
    return worst


def _error(found: Tensor, exact: Tensor) -> float:
    if found.shape != exact.shape:
        return math.inf
    error = float((found - exact).norm() / (exact.norm() or 1.0))
    return math.inf if math.isnan(error) else error  # max() would pass over NaN
