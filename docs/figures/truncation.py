"""What a truncated gradient loses, by how far it goes back."""

import altair as alt
import torch

import bptt
from figures.drawing import curves
from figures.echo import batch, network


def draw() -> alt.Chart:
    rows = [
        {"x": k2, "y": float(bias), "line": name}
        for name, updates in (("before training", 0), ("trained", 400))
        for k2, bias in enumerate(biases(updates), 1)
    ]
    order = ["before training", "trained"]
    return curves(rows, "k2, steps back", "relative bias", order=order, log=False)


def biases(updates: int) -> list[torch.Tensor]:
    """|g_k2 - g| / |g| for k2 = 1, 2, ..."""
    x, wanted = batch()
    exact = gradient(network(updates), x, wanted, bptt.Full())
    found = [gradient(network(updates), x, wanted, bptt.Truncated(1, k2)) for k2 in range(1, 17)]
    return [(g - exact).norm() / exact.norm() for g in found]


def gradient(made, x, wanted, method) -> torch.Tensor:
    made.zero_grad()
    made.loss(made(x, method=method)[0], wanted).backward()
    return torch.cat([p.grad.flatten() for p in made.cell.parameters()])
