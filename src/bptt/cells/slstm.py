"""The sLSTM of the xLSTM family."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from bptt.cells.parts import Cell, check_sizes, check_state
from bptt.errors import ArgumentError

# m_0 cancels out of h where c_0 = n_0 = 0. This low, the first stabiliser is the first input
# gate's, and n_t >= 1 ever after, so that c_t / n_t is sound.
LOW = -1e4


class SLSTMState(NamedTuple):
    """What an sLSTM carries, (B, H) each: output, memory, normaliser, stabiliser."""

    h: Tensor
    c: Tensor
    n: Tensor
    m: Tensor


class SLSTM(Cell):
    """Long short-term memory with an exponential input gate, normalised and stabilised.

        i, f, z, o = x_t Wx + h_{t-1} Ws + b           (input, forget, candidate, output)
        m_t = max(log sigma(f) + m_{t-1}, i)           stabiliser
        i' = exp(i - m_t)
        f' = exp(log sigma(f) + m_{t-1} - m_t)
        c_t = f' * c_{t-1} + i' * tanh(z)              memory
        n_t = f' * n_{t-1} + i'                        normaliser
        h_t = sigma(o) * c_t / n_t

    Args:
        input_size: I, features of x_t.
        hidden_size: H, units of the memory.
        num_heads: N; Ws connects the units within each of N equal parts of h alone.

    Shapes: x_t (B, I), h, c, n, m (B, H); Wx (I, 4H) and b (4H,) hold i, f, z, o side by side, and
    so does each head of Ws (N, H/N, 4H/N). Weights start uniform in +-1/sqrt(H).

    Raises:
        ArgumentError: a size below 1, an H that N does not divide.
        StructureError: a state that is not of four tensors.

    Source: Beck et al. 2024, "xLSTM: extended long short-term memory", appendix A.

    >>> cell = SLSTM(3, 6, num_heads=2)
    >>> cell(torch.zeros(2, 3), cell.initial_state(2)).h.shape
    torch.Size([2, 6])
    """

    def __init__(self, input_size: int, hidden_size: int, *, num_heads: int = 1) -> None:
        super().__init__(input_size, hidden_size)
        check_sizes(num_heads=num_heads)
        size, rest = divmod(hidden_size, num_heads)
        if rest:
            raise ArgumentError(
                f"num_heads should divide hidden_size {hidden_size}, got {num_heads}"
            )
        self.Wx = self.uniform(input_size, 4 * hidden_size)
        self.Ws = self.uniform(num_heads, size, 4 * size)
        self.b = self.uniform(4 * hidden_size)

    def initial_state(self, batch_size: int) -> SLSTMState:
        """h_0 = c_0 = n_0 = 0, and an m_0 below anything that the gates can be."""
        h, c, n, m = (self.zeros(batch_size) for _ in range(4))
        return SLSTMState(h, c, n, m + LOW)

    def forward(self, x: Tensor, state: SLSTMState) -> SLSTMState:
        """h_t, c_t, n_t, m_t from x_t (B, I) and those before."""
        check_state(self, state, SLSTMState._fields)
        h, c, n, m = state
        i, f, z, o = (x @ self.Wx + self.b + self._recur(h)).chunk(4, -1)
        kept = m - softplus(-f)  # log sigma(f) = -softplus(-f)
        m = torch.maximum(kept, i)
        i, f = torch.exp(i - m), torch.exp(kept - m)
        c, n = f * c + i * torch.tanh(z), f * n + i
        return SLSTMState(torch.sigmoid(o) * c / n, c, n, m)

    def _recur(self, h: Tensor) -> Tensor:
        """h_{t-1} Ws (B, 4H), gate by gate, head by head within."""
        heads = zip(h.chunk(len(self.Ws), -1), self.Ws.unbind(), strict=True)
        parts = [(part @ W).chunk(4, -1) for part, W in heads]
        return torch.cat([part[gate] for gate in range(4) for part in parts], -1)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, num_heads={len(self.Ws)}"
