"""The recurrent highway network."""

import torch
from torch import Tensor, nn

from bptt.cells.parts import Cell, check_sizes


class RHN(Cell):
    """Recurrent highway network: several gated layers between one state and the next.

        n_l = tanh([l = 1] x_t Wxn + s_{l-1} Wsn_l + bn_l)     candidate of layer l = 1..L
        t_l = sigma([l = 1] x_t Wxt + s_{l-1} Wst_l + bt_l)    transform gate
        s_l = t_l * n_l + (1 - t_l) * s_{l-1}                  s_0 is s_{t-1}, s_L is s_t

    Args:
        input_size: I, features of x_t.
        hidden_size: H, units of the state.
        depth: L, layers in a step.

    Shapes: x_t (B, I), s_t (B, H); Wx (I, 2H), Ws (L, H, 2H) and b (L, 2H) hold n, t side by side.
    Weights start uniform in +-1/sqrt(H), but bt at -2: what is there is mostly kept.

    Raises:
        ArgumentError: a size or a depth below 1.

    Source: Zilly, Srivastava, Koutnik & Schmidhuber 2017, "Recurrent highway networks", with the
    carry gate coupled as in its experiments, c = 1 - t.

    >>> cell = RHN(3, 5, depth=4)
    >>> cell(torch.zeros(2, 3), cell.initial_state(2)).shape
    torch.Size([2, 5])
    """

    def __init__(self, input_size: int, hidden_size: int, *, depth: int = 2) -> None:
        super().__init__(input_size, hidden_size)
        check_sizes(depth=depth)
        self.Wx = self.uniform(input_size, 2 * hidden_size)
        self.Ws = self.uniform(depth, hidden_size, 2 * hidden_size)
        self.b = self.uniform(depth, 2 * hidden_size)
        nn.init.constant_(self.b.detach()[:, hidden_size:], -2.0)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """s_t (B, H) from x_t (B, I) and s_{t-1} (B, H)."""
        b = self.b.unbind()
        offsets = x @ self.Wx + b[0], *b[1:]
        for offset, W in zip(offsets, self.Ws.unbind(), strict=True):
            n, t = (offset + state @ W).chunk(2, -1)
            t = torch.sigmoid(t)
            state = t * torch.tanh(n) + (1 - t) * state
        return state

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, depth={len(self.b)}"
