"""Long short-term memory with layer normalisation."""

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from bptt.cells.lstm import LSTMState
from bptt.cells.parts import Cell, check_state


class LayerNormLSTM(Cell):
    """Long short-term memory with layer normalisation of what goes into the gates and of c_t.

        i, f, g, o = gx * N(x_t Wx) + gs * N(h_{t-1} Ws) + b
        c_t = sigma(f) * c_{t-1} + sigma(i) * tanh(g)            memory
        h_t = sigma(o) * tanh(gc * N(c_t) + bc)

        N(a) = (a - mean) / sqrt(variance + eps), over the features of each row

    Args:
        input_size: I, features of x_t.
        hidden_size: H, units of the memory.
        eps: what keeps N from dividing by zero.

    Shapes: x_t (B, I), h_t and c_t (B, H); Wx (I, 4H), Ws (H, 4H), gx, gs and b (4H,) hold i, f, g,
    o side by side in this order and are normalised over all four; gc and bc (H,).
    Weights and b start uniform in +-1/sqrt(H), gains at 1, bc at 0.

    Raises:
        ArgumentError: a size below 1.
        StructureError: a state that is not a pair of tensors.

    Source: Ba, Kiros & Hinton 2016, "Layer normalization". Its three biases within the gates only
    ever add up: here they are one, b.

    >>> cell = LayerNormLSTM(3, 5)
    >>> cell(torch.ones(2, 3), cell.initial_state(2)).h.shape
    torch.Size([2, 5])
    """

    def __init__(self, input_size: int, hidden_size: int, *, eps: float = 1e-5) -> None:
        super().__init__(input_size, hidden_size)
        self.eps = eps
        self.Wx = self.uniform(input_size, 4 * hidden_size)
        self.Ws = self.uniform(hidden_size, 4 * hidden_size)
        self.b = self.uniform(4 * hidden_size)
        self.gx = nn.Parameter(torch.ones(4 * hidden_size))
        self.gs = nn.Parameter(torch.ones(4 * hidden_size))
        self.gc = nn.Parameter(torch.ones(hidden_size))
        self.bc = nn.Parameter(torch.zeros(hidden_size))

    def initial_state(self, batch_size: int) -> LSTMState:
        """h_0 = 0 and c_0 = 0."""
        return LSTMState(self.zeros(batch_size), self.zeros(batch_size))

    def forward(self, x: Tensor, state: LSTMState) -> LSTMState:
        """h_t and c_t from x_t (B, I), h_{t-1} and c_{t-1}."""
        check_state(self, state, LSTMState._fields)
        h, c = state
        p = layer_norm(x @ self.Wx, self.b.shape, self.gx, self.b, self.eps)
        q = layer_norm(h @ self.Ws, self.b.shape, self.gs, None, self.eps)
        i, f, g, o = (p + q).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        seen = layer_norm(c, self.bc.shape, self.gc, self.bc, self.eps)
        return LSTMState(torch.sigmoid(o) * torch.tanh(seen), c)
