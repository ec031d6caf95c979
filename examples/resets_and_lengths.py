"""Sequences of unequal lengths, with episodes that end inside them, in one call.

Reinforcement learning and streams of documents need both: padding that counts for nothing, and a
state that starts afresh where an episode does. Run it: python examples/resets_and_lengths.py
"""

import torch

import bptt

torch.manual_seed(0)
cell = torch.nn.GRUCell(3, 5).double()
x = torch.randn(6, 2, 3, dtype=torch.float64)
x[4:, 1] = torch.nan  # padding may hold anything

# Sequence 0 has 6 steps; a new episode begins at its steps 2 and 3. Sequence 1 has 4 steps.
lengths = torch.tensor([6, 4])
reset = torch.zeros(6, 2, dtype=torch.bool)
reset[2, 0] = reset[3, 0] = True
outputs, last = bptt.unroll(cell, x, lengths=lengths, reset=reset)
outputs.square().sum().backward()
at_once = [parameter.grad.clone() for parameter in cell.parameters()]

# The same, one episode at a time.
cell.zero_grad()
episodes = [x[0:2, :1], x[2:3, :1], x[3:6, :1], x[0:4, 1:]]
alone = [bptt.unroll(cell, episode) for episode in episodes]
sum(states.square().sum() for states, _ in alone).backward()
one_by_one = [parameter.grad for parameter in cell.parameters()]

print("states that sequence 1 has beyond its length:", outputs[4:, 1].abs().sum().item())
gap = (last - torch.cat([alone[2][1], alone[3][1]])).abs().max().item()
print(f"final states differ from those of the last episodes run alone by {gap:.0e}")
gap = max((a - b).abs().max().item() for a, b in zip(at_once, one_by_one, strict=True))
print(f"gradients differ from those of the episodes run alone by {gap:.0e}")
