"""Train at one time t alone, taking into account all that happened before, s_0 included.

One network starts from two states and hears the same silence. At t = 20, and only there, it is
asked which state it started from; the two states are learnt together with the weights.
Run it: python examples/one_time.py
"""

import torch
from torch import nn

import bptt
from bptt.cells import Elman

torch.manual_seed(0)
t, hidden = 20, 8
cell = Elman(1, hidden)
start = nn.Parameter(0.01 * torch.randn(2, hidden))  # s_0 of either sequence
Wy = nn.Parameter(torch.randn(hidden, 2) / hidden**0.5)
silence, answer = torch.zeros(t, 2, 1), torch.tensor([0, 1])

parameters = [*cell.parameters(), start, Wy]
optimizer = torch.optim.Adam(parameters, lr=1e-2)
for update in range(200):
    states, _ = bptt.unroll(cell, silence, start)
    loss = nn.functional.cross_entropy(states[-1] @ Wy, answer)  # E_20, and no other
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if update in (0, 199):
        reached, apart = start.grad.norm(), (states[-1, 0] - states[-1, 1]).norm()
        print(
            f"update {update:3}  E_{t} {loss.item():.4f}  dE_{t}/ds_0 has norm {reached:.1e}  "
            f"s_{t} of the two differ by {apart:.1e}"
        )
