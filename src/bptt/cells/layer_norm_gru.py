"""The gated recurrent unit with layer normalisation."""

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from bptt.cells.gru import gru
from bptt.cells.parts import Cell


class LayerNormGRU(Cell):
    """Gated recurrent unit with layer normalisation of what goes into gates and candidate.

        r, z = gxg * N(x_t Wxg) + bxg + gsg * N(s_{t-1} Wsg) + bsg    then sigma: the gates
        n_t = tanh(gxn * N(x_t Wxn) + bxn + sigma(r) * (gsn * N(s_{t-1} Wsn) + bsn))
        s_t = (1 - sigma(z)) * n_t + sigma(z) * s_{t-1}

        N(a) = (a - mean) / sqrt(variance + eps), over the features of each row

    Args:
        input_size: I, features of x_t.
        hidden_size: H, units of the state.
        eps: what keeps N from dividing by zero.

    Shapes: x_t (B, I), s_t (B, H); Wx (I, 3H), Ws (H, 3H), gx, gs, bx and bs (3H,) hold r, z, n
    side by side; r and z are normalised together (2H features), n by itself.
    Weights, bx and bs start uniform in +-1/sqrt(H), gains at 1.

    Raises:
        ArgumentError: a size below 1.

    Source: Ba, Kiros & Hinton 2016, "Layer normalization", whose z is our 1 - z.

    >>> cell = LayerNormGRU(3, 5)
    >>> cell(torch.ones(2, 3), cell.initial_state(2)).shape
    torch.Size([2, 5])
    """

    def __init__(self, input_size: int, hidden_size: int, *, eps: float = 1e-5) -> None:
        super().__init__(input_size, hidden_size)
        self.eps = eps
        self.Wx = self.uniform(input_size, 3 * hidden_size)
        self.Ws = self.uniform(hidden_size, 3 * hidden_size)
        self.bx = self.uniform(3 * hidden_size)
        self.bs = self.uniform(3 * hidden_size)
        self.gx = nn.Parameter(torch.ones(3 * hidden_size))
        self.gs = nn.Parameter(torch.ones(3 * hidden_size))

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """s_t (B, H) from x_t (B, I) and s_{t-1} (B, H)."""
        p = self._normed(x @ self.Wx, self.gx, self.bx)
        return gru(p, self._normed(state @ self.Ws, self.gs, self.bs), state)

    def _normed(self, *given: Tensor) -> Tensor:
        """gain * N(a) + bias (B, 3H): over r and z, and over n."""
        sizes = 2 * self.hidden_size, self.hidden_size
        parts = zip(*(tensor.split(sizes, -1) for tensor in given), strict=True)
        normed = (layer_norm(a, g.shape, g, b, self.eps) for a, g, b in parts)
        return torch.cat(tuple(normed), -1)
