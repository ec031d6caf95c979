"""A network that repeats what it heard six steps before: what most pictures are of."""

from functools import cache

import torch

import bptt

LAG, STEPS, BATCH = 6, 24, 32


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Noise (T, B, 1), and the same noise six steps later."""
    x = torch.randn(STEPS, BATCH, 1)
    wanted = torch.zeros_like(x)
    wanted[LAG:] = x[:-LAG]
    return x, wanted


@cache
def network(updates: int = 400) -> bptt.nn.Network:
    """A GRU of 24 units and a read-out, after so many updates."""
    torch.manual_seed(0)
    made = bptt.nn.Network(bptt.cells.GRU(1, 24), 1)
    optimizer = torch.optim.Adam(made.parameters(), 1e-2)
    for _ in range(updates):
        x, wanted = batch()
        optimizer.zero_grad()
        made.loss(made(x)[0], wanted).backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 20.0)
        optimizer.step()
    return made
