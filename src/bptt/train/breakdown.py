"""Training that breaks down: a loss or a gradient that is no number, and whose fault that is."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bptt.errors import RunError

MOST_NAMES = 3  # of parameters, in a message
GENTLER = "A smaller --learning-rate or --clip usually mends it"


class Breakdown(RunError):
    """A loss or a gradient became infinite or NaN; the weights are those of the step before."""


def check_loss(loss: float, network: nn.Module, cell: str, step: int) -> None:
    """Raise `Breakdown` unless the loss of a training step, the first being 1, is a number.

    Args:
        loss: of all processes.
        network: with the weights that gave it.
        cell: the name of its cells.
        step: the number of the step.
    """
    if math.isfinite(loss):
        return
    if spoilt := _named(not_finite(network.named_parameters())):
        blame = f"The step before made {spoilt} so. {GENTLER}"
    elif step == 1:
        blame = (
            f"No weight has been changed yet, so it is what the cell {cell} computes from these "
            "data. Look for a division, log, sqrt or exp beyond its range"
        )
    else:
        blame = f"The weights are numbers, so the states of the cell {cell} grew. {GENTLER}"
    what = f"training broke down at step {step}, going forward: the loss is {loss}"
    raise Breakdown(f"{what}. {blame}")


def check_gradient(norm: float, network: nn.Module, cell: str, step: int) -> None:
    """Raise `Breakdown` unless the norm of a step's gradient is a number; arguments as above."""
    if math.isfinite(norm):
        return
    grads = ((name, p.grad) for name, p in network.named_parameters() if p.grad is not None)
    spoilt = _named(not_finite(grads)) or "all weights together"
    blame = GENTLER
    if step == 1:
        blame = (
            f"No weight has been changed yet, so it is the derivative of the cell {cell} on these "
            "data. Look for a sqrt, norm, log, division or power at 0: they have none there"
        )
    raise Breakdown(
        f"training broke down at step {step}, going back: the loss is a number, and the gradient "
        f"of {spoilt} is {norm}. {blame}"
    )


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Names of the tensors that hold an infinite value or a NaN.

    >>> not_finite([("a", torch.ones(2)), ("b", torch.tensor([0.0, torch.nan]))])
    ['b']
    """
    return [name for name, tensor in tensors if not torch.isfinite(tensor).all()]


def _named(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
