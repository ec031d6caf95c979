"""Long short-term memory."""

from typing import NamedTuple

import torch
from torch import Tensor

from bptt.cells.parts import Cell, check_state
from bptt.errors import ArgumentError


class LSTMState(NamedTuple):
    """What an LSTM carries: its output h (B, H, or P if projected) and its memory c (B, H)."""

    h: Tensor
    c: Tensor


def lstm(a: Tensor, c: Tensor) -> LSTMState:
    """h_t and c_t (B, H) from a = x_t Wx + h_{t-1} Ws + b (B, 4H) and c_{t-1} (B, H)."""
    i, f, g, o = a.chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return LSTMState(torch.sigmoid(o) * torch.tanh(c), c)


class LSTM(Cell):
    """Long short-term memory, with an optional projection of its output.

        i_t = sigma(x_t Wxi + h_{t-1} Wsi + bi)   input gate
        f_t = sigma(x_t Wxf + h_{t-1} Wsf + bf)   forget gate
        g_t = tanh(x_t Wxg + h_{t-1} Wsg + bg)    candidate
        o_t = sigma(x_t Wxo + h_{t-1} Wso + bo)   output gate
        c_t = f_t * c_{t-1} + i_t * g_t           memory
        h_t = o_t * tanh(c_t), times Wr if there is a projection

    Args:
        input_size: I, features of x_t.
        hidden_size: H, units of the memory.
        proj_size: P, features of the projected h; 0 for none.
        bias: whether there is a b.

    Shapes: x_t (B, I), c_t (B, H), h_t (B, H) or (B, P); Wx (I, 4H), Ws (H or P, 4H) and b (4H,)
    hold i, f, g, o side by side in this order; Wr (H, P). `Wx.T` is torch.nn.LSTM's weight_ih, and
    so on; b is the sum of its two biases.
    Weights start uniform in +-1/sqrt(H), as torch.nn.LSTM's do.

    Raises:
        ArgumentError: a size below 1, P not below H; in a step, x and state of unlike batch
            sizes.
        StructureError: a state that is not a pair of tensors.

    Source: Hochreiter & Schmidhuber 1997; the forget gate, Gers, Schmidhuber & Cummins 2000; the
    projection, Sak, Senior & Beaufays 2014.
    Not in the papers: no peepholes, one block a cell, and the whole gradient instead of a cut one.

    >>> cell = LSTM(3, 5)
    >>> state = cell(torch.zeros(2, 3), cell.initial_state(2))
    >>> state.h.shape, state.c.shape
    (torch.Size([2, 5]), torch.Size([2, 5]))
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, proj_size: int = 0, bias: bool = True
    ) -> None:
        super().__init__(input_size, hidden_size)
        if proj_size not in range(hidden_size):
            raise ArgumentError(f"proj_size should be 0 or below hidden_size, got {proj_size!r}")
        self.proj_size = proj_size
        gates, out = 4 * hidden_size, proj_size or hidden_size
        self.Wx = self.uniform(input_size, gates)
        self.Ws = self.uniform(out, gates)
        self.b = self.uniform(gates) if bias else None
        self.Wr = self.uniform(hidden_size, out) if proj_size else None

    def initial_state(self, batch_size: int) -> LSTMState:
        """h_0 = 0 and c_0 = 0."""
        return LSTMState(self.zeros(batch_size, self.proj_size or None), self.zeros(batch_size))

    def forward(self, x: Tensor, state: LSTMState) -> LSTMState:
        """h_t and c_t from x_t (B, I), h_{t-1} and c_{t-1}."""
        check_state(self, state, LSTMState._fields)
        a = x @ self.Wx + state[0] @ self.Ws
        h, c = lstm(a if self.b is None else a + self.b, state[1])
        return LSTMState(h if self.Wr is None else h @ self.Wr, c)

    def extra_repr(self) -> str:
        projection = f", proj_size={self.proj_size}" if self.proj_size else ""
        return f"{super().extra_repr()}{projection}"
