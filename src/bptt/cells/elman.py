"""The simple recurrent network of the founding lesson."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Elman(nn.Module):
    """Simple recurrent network, `s_t = phi(x_t Wx + s_{t-1} Ws + b)`.

    Args:
        input_size: I, features of x_t.
        hidden_size: H, units of the state.
        activation: phi, any function from tensor to tensor of the same shape; tanh by default.
        bias: whether there is a b; without it, the lesson's own `phi(x_t Wx + s_{t-1} Ws)`.

    Shapes: x_t (B, I), s_t (B, H), Wx (I, H), Ws (H, H), b (H,).
    Weights start uniform in +-1/sqrt(H), as torch.nn.RNN's do.

    Source: Elman 1990, "Finding structure in time".

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
        super().__init__()
        self.input_size, self.hidden_size, self.activation = input_size, hidden_size, activation
        self.Wx = nn.Parameter(torch.empty(input_size, hidden_size))
        self.Ws = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.b = nn.Parameter(torch.empty(hidden_size)) if bias else None
        bound = hidden_size**-0.5
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.Ws.new_zeros(batch_size, self.hidden_size)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        a = x @ self.Wx + state @ self.Ws
        return self.activation(a if self.b is None else a + self.b)
