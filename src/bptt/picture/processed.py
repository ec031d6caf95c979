"""Sequences laid out in the order in which their steps are processed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bptt.inspect.subject import Lengths


class Backwards:
    """Turns what belongs to a reverse unroll round: each sequence's own last step comes first.

    Args:
        steps: T.
        lengths: (B,) steps that count, or None where all do; what lies beyond them stays there.
    """

    def __init__(self, steps: int, lengths: Lengths) -> None:
        self.steps, self.lengths = steps, lengths

    def turned(self, tree: Any) -> Any:
        """Leaves (T, B, ...) with the steps in the other order."""
        return pytree.tree_map_only(Tensor, self._turned, tree)

    def loss(self, loss: Callable[..., Tensor] | None) -> Callable[..., Tensor] | None:
        """The same loss of outputs that are turned: it may hold on to targets that are not."""
        if loss is None:
            return None

        def of_turned(outputs: Any, *targets: Any) -> Tensor:
            return self._turned(loss(self.turned(outputs), *map(self.turned, targets)))

        return of_turned

    def _turned(self, leaf: Tensor) -> Tensor:
        if self.lengths is None:
            return leaf.flip(0)
        lengths = torch.as_tensor(self.lengths, device=leaf.device)
        at = torch.arange(self.steps, device=leaf.device)[:, None]
        places = torch.where(at < lengths, lengths - 1 - at, at)
        return leaf[places, torch.arange(leaf.shape[1], device=leaf.device)]
