"""The simple recurrent network of the founding lesson."""

from collections.abc import Callable

import torch
from torch import Tensor

from bptt.cells.parts import Cell, check_callable


class Elman(Cell):
    """Simple recurrent network, `s_t = phi(x_t Wx + s_{t-1} Ws + b)`.

    Args:
        input_size: I, features of x_t.
        hidden_size: H, units of the state.
        activation: phi, any function (or module) from tensor to tensor of the same shape;
            tanh by default.
        bias: whether there is a b; without it, the lesson's own `phi(x_t Wx + s_{t-1} Ws)`.

    Shapes: x_t (B, I), s_t (B, H), Wx (I, H), Ws (H, H), b (H,).
    Weights start uniform in +-1/sqrt(H), as torch.nn.RNN's do.

    Raises:
        ArgumentError: a size below 1.

    Source: Elman 1990, "Finding structure in time".
    Not in the paper: phi is tanh where the paper has the logistic function.

    >>> cell = Elman(3, 5)
    >>> cell(torch.zeros(2, 3), cell.initial_state(2)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(input_size, hidden_size)
        check_callable("activation", activation)
        self.activation = activation
        self.Wx = self.uniform(input_size, hidden_size)
        self.Ws = self.uniform(hidden_size, hidden_size)
        self.b = self.uniform(hidden_size) if bias else None

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """s_t (B, H) from x_t (B, I) and s_{t-1} (B, H)."""
        a = x @ self.Wx + state @ self.Ws
        return self.activation(a if self.b is None else a + self.b)
