"""The update-gate recurrent network."""

import torch
from torch import Tensor

from bptt.cells.parts import Cell


class UGRNN(Cell):
    """Update-gate recurrent network: one gate between the state and its candidate.

        n_t = tanh(x_t Wxn + s_{t-1} Wsn + bn)     candidate
        g_t = sigma(x_t Wxg + s_{t-1} Wsg + bg)    update gate
        s_t = g_t * s_{t-1} + (1 - g_t) * n_t      state

    Args:
        input_size: I, features of x_t.
        hidden_size: H, units of the state.

    Shapes: x_t (B, I), s_t (B, H); Wx (I, 2H), Ws (H, 2H) and b (2H,) hold n, g side by side.
    Weights start uniform in +-1/sqrt(H).

    Raises:
        ArgumentError: a size below 1.

    Source: Collins, Sohl-Dickstein & Sussillo 2017, "Capacity and trainability in recurrent neural
    networks".

    >>> cell = UGRNN(3, 5)
    >>> cell(torch.zeros(2, 3), cell.initial_state(2)).shape
    torch.Size([2, 5])
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.Wx = self.uniform(input_size, 2 * hidden_size)
        self.Ws = self.uniform(hidden_size, 2 * hidden_size)
        self.b = self.uniform(2 * hidden_size)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """s_t (B, H) from x_t (B, I) and s_{t-1} (B, H)."""
        n, g = (x @ self.Wx + self.b + state @ self.Ws).chunk(2, -1)
        g = torch.sigmoid(g)
        return g * state + (1 - g) * torch.tanh(n)
