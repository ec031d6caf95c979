"""Zoneout."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bptt.errors import ArgumentError
from bptt.remedies.wrapper import Wrapper, check_probability, with_state


class Zoneout(Wrapper):
    """A cell whose units keep, each by chance at each step, the value that they had.

        s_t = d_t * s_{t-1} + (1 - d_t) * s'_t    in training, d_t Bernoulli(p), s'_t the cell's own
        s_t = p * s_{t-1} + (1 - p) * s'_t        in evaluation: the expectation

    Args:
        cell: any cell.
        p: the probability to keep the old value; or one for each of the state's tensors, such as
            (p_h, p_c) of an LSTM. Integer tensors in a state are left alone.

    A cell that returns its state puts out what is kept, as in the paper. An output beside the
    state stays as the cell computes it.

    Raises:
        ArgumentError: a p that is no probability; in a step, not one for each tensor.

    Source: Krueger et al. 2017, "Zoneout: regularizing RNNs by randomly preserving hidden
    activations".

    >>> from bptt.cells import LSTM
    >>> from bptt import unroll
    >>> cell = Zoneout(LSTM(3, 5), (0.05, 0.5))
    >>> outputs, state = unroll(cell, torch.zeros(7, 2, 3))
    >>> outputs.shape
    torch.Size([7, 2, 5])
    """

    def __init__(self, cell: Any, p: float | Sequence[float]) -> None:
        super().__init__(cell)
        several = isinstance(p, tuple | list)
        for each in p if several else [p]:
            check_probability("p", each)
        self.p: Any = tuple(p) if several else p

    def forward(self, x: Any, state: Any) -> Any:
        """What the cell returns, its state zoned out."""
        return with_state(self.cell(x, state), state, lambda new: self._kept(state, new))

    def _kept(self, state: Any, new: list[Tensor]) -> list[Tensor]:
        old, p = torch.utils._pytree.tree_leaves(state), self.p
        rates = p if isinstance(p, tuple) else [p] * len(new)
        if len(rates) != len(new):
            raise ArgumentError(
                f"p should be one probability, or one for each of the state's {len(new)} tensors, "
                f"got {p}"
            )
        return [self._mixed(*leaves) for leaves in zip(old, new, rates, strict=True)]

    def _mixed(self, old: Tensor, new: Tensor, p: float) -> Tensor:
        if not p or not new.is_floating_point():
            return new
        if self.training:
            return torch.where(torch.rand_like(new) < p, old, new)
        return p * old + (1 - p) * new

    def extra_repr(self) -> str:
        return f"p={self.p}"
