"""The gated recurrent unit."""

import torch
from torch import Tensor

from bptt.cells.parts import Cell


def gru(p: Tensor, q: Tensor, state: Tensor) -> Tensor:
    """s_t (B, H) from p = x_t Wx + bx (B, 3H), q = s_{t-1} Ws + bs (B, 3H) and s_{t-1} (B, H)."""
    (pr, pz, pn), (qr, qz, qn) = p.chunk(3, -1), q.chunk(3, -1)
    r = torch.sigmoid(pr + qr)
    z = torch.sigmoid(pz + qz)
    n = torch.tanh(pn + r * qn)
    return (1 - z) * n + z * state


def gru_reset_before(p: Tensor, Ws: Tensor, state: Tensor) -> Tensor:
    """s_t (B, H) from p = x_t Wx + bx (B, 3H), Ws (H, 3H) and s_{t-1} (B, H)."""
    size = state.shape[-1]
    (pg, pn), (Wg, Wn) = p.split((2 * size, size), -1), Ws.split((2 * size, size), -1)
    r, z = torch.sigmoid(pg + state @ Wg).chunk(2, -1)
    n = torch.tanh(pn + (r * state) @ Wn)
    return (1 - z) * n + z * state


class GRU(Cell):
    """Gated recurrent unit.

        r_t = sigma(x_t Wxr + bxr + s_{t-1} Wsr + bsr)          reset gate
        z_t = sigma(x_t Wxz + bxz + s_{t-1} Wsz + bsz)          update gate
        n_t = tanh(x_t Wxn + bxn + r_t * (s_{t-1} Wsn + bsn))   candidate, reset after the product
        n_t = tanh(x_t Wxn + bxn + (r_t * s_{t-1}) Wsn)         candidate, reset before it
        s_t = (1 - z_t) * n_t + z_t * s_{t-1}                   state

    Args:
        input_size: I, features of x_t.
        hidden_size: H, units of the state.
        reset_after: whether the reset gate acts after the product with Wsn.
        bias: whether there are bx and bs.

    Shapes: x_t (B, I), s_t (B, H); Wx (I, 3H), Ws (H, 3H), bx and bs (3H,) hold r, z, n side by
    side in this order. `Wx.T` is torch.nn.GRU's weight_ih, and so on. With the reset before there
    is no bs: it would only add to bx.
    Weights start uniform in +-1/sqrt(H), as torch.nn.GRU's do.

    Raises:
        ArgumentError: a size below 1.

    Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder", which has
    the reset before the product and no biases. After the product, the three products are one: that
    is torch.nn's and cuDNN's form.

    >>> cell = GRU(3, 5)
    >>> cell(torch.zeros(2, 3), cell.initial_state(2)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, reset_after: bool = True, bias: bool = True
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.reset_after = reset_after
        self.Wx = self.uniform(input_size, 3 * hidden_size)
        self.Ws = self.uniform(hidden_size, 3 * hidden_size)
        self.bx = self.uniform(3 * hidden_size) if bias else None
        self.bs = self.uniform(3 * hidden_size) if bias and reset_after else None

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """s_t (B, H) from x_t (B, I) and s_{t-1} (B, H)."""
        p = x @ self.Wx if self.bx is None else x @ self.Wx + self.bx
        if not self.reset_after:
            return gru_reset_before(p, self.Ws, state)
        q = state @ self.Ws
        return gru(p, q if self.bs is None else q + self.bs, state)
