"""Clipping the gradient by its norm, and telling how often that was done."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass
class Clipping:
    """Scales a gradient that is longer than `limit` down to it; 0 only measures.

    Attributes:
        limit: longest gradient let through, in the Euclidean norm over all parameters.
        steps: gradients seen.
        clipped: how many of them were longer.
        norm: length of the last one, before it was scaled.

    Source: Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural
    networks".

    >>> import torch
    >>> weight = nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> clipping = Clipping(limit=1.0)
    >>> clipping.apply([weight])
    >>> clipping.norm, clipping.share
    (5.0, 1.0)
    >>> round(weight.grad.norm().item(), 4)
    1.0
    """

    limit: float
    steps: int = 0
    clipped: int = 0
    norm: float = 0.0

    @property
    def share(self) -> float:
        """Share of the gradients so far that were scaled down."""
        return self.clipped / max(1, self.steps)

    @property
    def was_clipped(self) -> bool:
        """Whether the last gradient was scaled down."""
        return 0 < self.limit < self.norm

    def apply(self, parameters: Iterable[nn.Parameter]) -> None:
        """Measure the gradients of the parameters and scale them down together if need be."""
        parameters = list(parameters)
        norm = gradient_norm(parameters)
        self.norm = norm.item()
        self.steps += 1
        self.clipped += self.was_clipped
        if self.was_clipped:
            nn.utils.clip_grads_with_norm_(parameters, self.limit, norm)


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Length of the gradient over all parameters that have one."""
    return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
