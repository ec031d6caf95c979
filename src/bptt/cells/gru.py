"""The gated recurrent unit."""

import torch
from torch import Tensor, nn

from bptt.cells.parts import check_sizes, uniform


def gru(p: Tensor, q: Tensor, state: Tensor) -> Tensor:
    """s_t (B, H) from p = x_t Wx + bx (B, 3H), q = s_{t-1} Ws + bs (B, 3H) and s_{t-1} (B, H)."""
    (pr, pz, pn), (qr, qz, qn) = p.chunk(3, -1), q.chunk(3, -1)
    r = torch.sigmoid(pr + qr)
    z = torch.sigmoid(pz + qz)
    n = torch.tanh(pn + r * qn)
    return (1 - z) * n + z * state


class GRU(nn.Module):
    """Gated recurrent unit.

        r_t = sigma(x_t Wxr + bxr + s_{t-1} Wsr + bsr)          reset gate
        z_t = sigma(x_t Wxz + bxz + s_{t-1} Wsz + bsz)          update gate
        n_t = tanh(x_t Wxn + bxn + r_t * (s_{t-1} Wsn + bsn))   candidate
        s_t = (1 - z_t) * n_t + z_t * s_{t-1}                   state

    Args:
        input_size: I, features of x_t.
        hidden_size: H, units of the state.
        bias: whether there are bx and bs.

    Shapes: x_t (B, I), s_t (B, H); Wx (I, 3H), Ws (H, 3H), bx and bs (3H,) hold r, z, n side by
    side in this order. `Wx.T` is torch.nn.GRU's weight_ih, and so on.
    Weights start uniform in +-1/sqrt(H), as torch.nn.GRU's do.

    Raises:
        ArgumentError: a size below 1.

    Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder".
    Not in the paper: the reset gate acts after the product with Wsn, so that the three products
    are one; that is torch.nn's and cuDNN's form, and why bs is kept apart from bx.

    >>> cell = GRU(3, 5)
    >>> cell(torch.zeros(2, 3), cell.initial_state(2)).shape
    torch.Size([2, 5])
    """

    def __init__(self, input_size: int, hidden_size: int, *, bias: bool = True) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.Wx = uniform(input_size, 3 * hidden_size, hidden_size=hidden_size)
        self.Ws = uniform(hidden_size, 3 * hidden_size, hidden_size=hidden_size)
        self.bx = uniform(3 * hidden_size, hidden_size=hidden_size) if bias else None
        self.bs = uniform(3 * hidden_size, hidden_size=hidden_size) if bias else None

    def initial_state(self, batch_size: int) -> Tensor:
        """s_0 = 0 (B, H)."""
        return self.Ws.new_zeros(batch_size, self.hidden_size)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """s_t (B, H) from x_t (B, I) and s_{t-1} (B, H)."""
        p, q = x @ self.Wx, state @ self.Ws
        if self.bx is not None and self.bs is not None:
            p, q = p + self.bx, q + self.bs
        return gru(p, q, state)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"
