"""Long short-term memory whose gates look at the memory."""

import torch
from torch import Tensor

from bptt.cells.lstm import LSTMState
from bptt.cells.parts import Cell, check_state


class PeepholeLSTM(Cell):
    """Long short-term memory with peepholes: gates see the memory that they open and close.

        i_t = sigma(x_t Wxi + h_{t-1} Wsi + wi * c_{t-1} + bi)   input gate
        f_t = sigma(x_t Wxf + h_{t-1} Wsf + wf * c_{t-1} + bf)   forget gate
        g_t = tanh(x_t Wxg + h_{t-1} Wsg + bg)                   candidate
        c_t = f_t * c_{t-1} + i_t * g_t                          memory
        o_t = sigma(x_t Wxo + h_{t-1} Wso + wo * c_t + bo)       output gate
        h_t = o_t * tanh(c_t)

    Args:
        input_size: I, features of x_t.
        hidden_size: H, units of the memory.

    Shapes: x_t (B, I), h_t and c_t (B, H); Wx (I, 4H), Ws (H, 4H) and b (4H,) hold i, f, g, o side
    by side in this order, w (3H,) holds wi, wf, wo.
    Weights start uniform in +-1/sqrt(H).

    Raises:
        ArgumentError: a size below 1.
        StructureError: a state that is not a pair of tensors.

    Source: Gers, Schraudolph & Schmidhuber 2002, "Learning precise timing with LSTM recurrent
    networks". Not in the paper: h_t has a tanh, and the gradient is whole, as in Graves 2013.

    >>> cell = PeepholeLSTM(3, 5)
    >>> cell(torch.zeros(2, 3), cell.initial_state(2)).h.shape
    torch.Size([2, 5])
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.Wx = self.uniform(input_size, 4 * hidden_size)
        self.Ws = self.uniform(hidden_size, 4 * hidden_size)
        self.b = self.uniform(4 * hidden_size)
        self.w = self.uniform(3 * hidden_size)

    def initial_state(self, batch_size: int) -> LSTMState:
        """h_0 = 0 and c_0 = 0."""
        return LSTMState(self.zeros(batch_size), self.zeros(batch_size))

    def forward(self, x: Tensor, state: LSTMState) -> LSTMState:
        """h_t and c_t from x_t (B, I), h_{t-1} and c_{t-1}."""
        check_state(self, state, LSTMState._fields)
        h, c = state
        i, f, g, o = (x @ self.Wx + self.b + h @ self.Ws).chunk(4, -1)
        wi, wf, wo = self.w.chunk(3)
        i, f = torch.sigmoid(i + wi * c), torch.sigmoid(f + wf * c)
        c = f * c + i * torch.tanh(g)
        return LSTMState(torch.sigmoid(o + wo * c) * torch.tanh(c), c)
