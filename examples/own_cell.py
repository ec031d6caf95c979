"""Train a recurrent cell of your own: a leaky rate network that remembers the last pulse it saw.

Any module with `forward(x_t, state) -> (y_t, state)` will do. Run it: python examples/own_cell.py
"""

import torch
from torch import nn

import bptt


class Leaky(nn.Module):
    """s_t = s_{t-1} + a (tanh(x_t Wx + s_{t-1} Ws) - s_{t-1}), y_t = s_t Wy, with a learnt."""

    def __init__(self, inputs: int, units: int, outputs: int) -> None:
        super().__init__()
        self.Wx = nn.Parameter(torch.randn(inputs, units))
        self.Ws = nn.Parameter(torch.randn(units, units) / units**0.5)
        self.Wy = nn.Parameter(torch.randn(units, outputs) / units**0.5)
        self.leak = nn.Parameter(torch.zeros(units))

    def initial_state(self, batch_size):
        return self.Ws.new_zeros(batch_size, len(self.Ws))

    def forward(self, x, s):
        s = s + torch.sigmoid(self.leak) * (torch.tanh(x @ self.Wx + s @ self.Ws) - s)
        return s @ self.Wy, s


def pulses(steps, batch):
    """Rare pulses of +1 and -1, and at each step the last one there was (0 before the first)."""
    x = torch.randint(-1, 2, (steps, batch)) * (torch.rand(steps, batch) < 0.3)
    last = torch.zeros_like(x)
    for t in range(steps):
        last[t] = torch.where(x[t] != 0, x[t], last[t - 1] if t else 0)
    return x[..., None].float(), last[..., None].float()


torch.manual_seed(0)
cell = Leaky(1, 32, 1)
optimizer = torch.optim.Adam(cell.parameters(), lr=5e-3)
for update in range(160):
    x, wanted = pulses(steps=20, batch=32)
    y, _ = bptt.unroll(cell, x)
    loss = nn.functional.mse_loss(y, wanted)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(cell.parameters(), 1.0)
    optimizer.step()
    if update % 40 == 0:
        print(f"update {update:3}  loss {loss.item():.3f}")

x, wanted = pulses(steps=40, batch=256)
with torch.no_grad():
    y, _ = bptt.unroll(cell, x)
print(f"on sequences twice as long, right {(y.round() == wanted).float().mean():.1%} of the time")
