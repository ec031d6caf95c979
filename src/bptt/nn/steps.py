"""One layer and direction of torch.nn's modules: their weights' layout, our cells' equations."""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.functional import linear

from bptt.cells.gru import gru
from bptt.cells.lstm import lstm


class Weights(NamedTuple):
    """What torch.nn keeps for one layer and direction; None for what a module is without."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None
    weight_hr: Tensor | None = None


class Step(nn.Module):
    """A cell on weights that belong to another module, be they parameters or computed from some.

    Shapes, G gates: weight_ih (G H, I), weight_hh (G H, H or P), bias_ih and bias_hh (G H,),
    weight_hr (P, H).
    """

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, self.weight_hr = weights

    def stands_on(self, weights: Weights) -> bool:
        """Whether these are its weights, the very ones."""
        own = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, self.weight_hr
        return all(map(operator.is_, own, weights))

    def initial_state(self, batch_size: int) -> Any:
        """h_0 = 0 (B, H or P)."""
        return self.weight_hh.new_zeros(batch_size, self.weight_hh.shape[1])

    def products(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """What x_t and what h_{t-1} give to the gates, each (B, G H)."""
        return linear(x, self.weight_ih, self.bias_ih), linear(h, self.weight_hh, self.bias_hh)


class ElmanStep(Step):
    """One layer and direction of torch.nn.RNN."""

    def __init__(self, weights: Weights, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__(weights)
        self.activation = activation

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        p, q = self.products(x, state)
        return self.activation(p + q)


class GRUStep(Step):
    """One layer and direction of torch.nn.GRU."""

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        return gru(*self.products(x, state), state)


class LSTMStep(Step):
    """One layer and direction of torch.nn.LSTM, its state a plain pair (h, c)."""

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        units = self.weight_hh.shape[0] // 4
        return super().initial_state(batch_size), self.weight_hh.new_zeros(batch_size, units)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        p, q = self.products(x, state[0])
        h, c = lstm(p + q, state[1])
        return h if self.weight_hr is None else linear(h, self.weight_hr), c
