"""How the gradient of a loss fades, or grows, on its way back through different cells."""

import altair as alt
import torch

import bptt
from figures.drawing import curves

STEPS, BATCH, UNITS = 60, 16, 32


def draw() -> alt.Chart:
    made = cells()
    rows = [
        {"x": j, "y": size, "line": name}
        for name, cell in made.items()
        for j, size in enumerate(fading(cell))
    ]
    return curves(rows, "steps back", "size of the gradient", order=list(made))


def cells() -> dict[str, torch.nn.Module]:
    """Linear networks of two spectral radii, one with tanh, and an LSTM with open forget gates."""
    lstm = bptt.cells.LSTM(1, UNITS)
    with torch.no_grad():
        lstm.b[UNITS : 2 * UNITS] = 3.0
    return {
        "linear, radius 1.1": elman(1.1, torch.nn.Identity()),
        "LSTM, gates open": lstm,
        "tanh, radius 1": elman(1.0, torch.tanh),
        "linear, radius 0.9": elman(0.9, torch.nn.Identity()),
    }


def elman(radius: float, activation) -> bptt.cells.Elman:
    cell = bptt.cells.Elman(1, UNITS, activation=activation)
    with torch.no_grad():
        cell.Ws *= radius / torch.linalg.eigvals(cell.Ws).abs().max()
    return cell


def fading(cell: torch.nn.Module) -> list[float]:
    """||dE_T/ds_(T-j)||, as a share of that at j = 0; E_T the sum of the last output."""
    x = 2 * torch.randn(STEPS, BATCH, 1)
    found = bptt.inspect.credit(cell, x, lambda s: s.sum(-1), times=[-1], parameters=False)
    sizes = found.state[0][::-1]
    return (sizes / sizes[0]).tolist()
