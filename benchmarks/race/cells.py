"""Cells as their users write them, in plain PyTorch: nothing here knows of bptt.

Steps take x_t (B, I) and a state of (B, H) tensors.
"""

import torch
from torch import Tensor, nn

Pair = tuple[Tensor, Tensor]


class Leaky(nn.Module):
    """A rate network with leaks, sparse connections, and units that excite or inhibit.

    s_t = s_{t-1} + a (tanh(x_t Wx + s_{t-1} (mask |Ws|) + b) - s_{t-1}), a = sigmoid(leak). The
    fifth that inhibits does so four times as strongly, so that the two balance.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.Wx = nn.Parameter(torch.randn(inputs, hidden) / inputs**0.5)
        self.Ws = nn.Parameter(torch.randn(hidden, hidden) / hidden**0.5)
        self.b = nn.Parameter(torch.zeros(hidden))
        self.leak = nn.Parameter(torch.zeros(hidden))
        signs = torch.where(torch.arange(hidden) < 0.8 * hidden, 0.25, -1.0)
        self.register_buffer("mask", (torch.rand(hidden, hidden) < 0.5) * signs[:, None])

    def initial_state(self, batch_size: int) -> Tensor:
        return self.b.new_zeros(batch_size, len(self.b))

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        a = x @ self.Wx + s @ (self.Ws.abs() * self.mask) + self.b
        return s + torch.sigmoid(self.leak) * (torch.tanh(a) - s)


class LSTM(nn.Module):
    """The LSTM once more, from two nn.Linear: what a built-in cell must not be faster than."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.drive = nn.Linear(inputs, 4 * hidden)
        self.recur = nn.Linear(hidden, 4 * hidden, bias=False)

    def forward(self, x: Tensor, state: Pair) -> Pair:
        h, c = state
        i, f, g, o = (self.drive(x) + self.recur(h)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class LayerNormLSTM(nn.Module):
    """The LSTM with normalised sums and memory (Ba, Kiros & Hinton 2016, equations 20 to 22).

    The recurrent gain starts at 0.3: from 1, its dynamics are chaotic and no two programs agree.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.drive = nn.Linear(inputs, 4 * hidden, bias=False)
        self.recur = nn.Linear(hidden, 4 * hidden, bias=False)
        self.of_drive, self.of_recur = nn.LayerNorm(4 * hidden), nn.LayerNorm(4 * hidden)
        self.of_memory = nn.LayerNorm(hidden)
        nn.init.constant_(self.of_recur.weight, 0.3)

    def forward(self, x: Tensor, state: Pair) -> Pair:
        h, c = state
        a = self.of_drive(self.drive(x)) + self.of_recur(self.recur(h))
        i, f, g, o = a.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * self.of_memory(c).tanh(), c


class PeepholeLSTM(nn.Module):
    """The LSTM whose gates see the memory, each unit its own (Gers & Schmidhuber 2000)."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.drive = nn.Linear(inputs, 4 * hidden)
        self.recur = nn.Linear(hidden, 4 * hidden, bias=False)
        self.pi, self.pf, self.po = (nn.Parameter(torch.randn(hidden) / 4) for _ in range(3))

    def forward(self, x: Tensor, state: Pair) -> Pair:
        h, c = state
        i, f, g, o = (self.drive(x) + self.recur(h)).chunk(4, 1)
        c = torch.sigmoid(f + self.pf * c) * c + torch.sigmoid(i + self.pi * c) * g.tanh()
        return torch.sigmoid(o + self.po * c) * c.tanh(), c


class MinimalGated(nn.Module):
    """The minimal gated unit (Zhou, Wu, Zhang & Zhou 2016): two products, one after the other."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(inputs, hidden)
        self.gate_recur = nn.Linear(hidden, hidden, bias=False)
        self.drive = nn.Linear(inputs, hidden)
        self.recur = nn.Linear(hidden, hidden, bias=False)

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        f = torch.sigmoid(self.gate(x) + self.gate_recur(s))
        n = torch.tanh(self.drive(x) + self.recur(f * s))
        return (1 - f) * s + f * n
