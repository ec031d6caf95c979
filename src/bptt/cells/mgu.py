"""The minimal gated unit."""

import torch
from torch import Tensor

from bptt.cells.parts import Cell


class MGU(Cell):
    """Minimal gated unit: a GRU whose one gate both resets and updates.

        f_t = sigma(x_t Wxf + s_{t-1} Wsf + bf)           forget gate
        n_t = tanh(x_t Wxn + (f_t * s_{t-1}) Wsn + bn)    candidate
        s_t = (1 - f_t) * s_{t-1} + f_t * n_t             state

    Args:
        input_size: I, features of x_t.
        hidden_size: H, units of the state.

    Shapes: x_t (B, I), s_t (B, H); Wx (I, 2H), Ws (H, 2H) and b (2H,) hold f, n side by side.
    Weights start uniform in +-1/sqrt(H).

    Raises:
        ArgumentError: a size below 1.

    Source: Zhou, Wu, Zhang & Zhou 2016, "Minimal gated unit for recurrent neural networks".

    >>> cell = MGU(3, 5)
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
        pf, pn = (x @ self.Wx + self.b).chunk(2, -1)
        Wf, Wn = self.Ws.chunk(2, -1)
        f = torch.sigmoid(pf + state @ Wf)
        n = torch.tanh(pn + (f * state) @ Wn)
        return (1 - f) * state + f * n
