"""Lyapunov spectra of random networks: where order ends and chaos begins."""

import altair as alt
import torch

import bptt
from figures.drawing import curves

UNITS, STEPS, LEAST = 32, 600, -2.0


def draw() -> alt.Chart:
    names = {f"gain {gain}": gain for gain in (0.7, 1.5, 3.0)}
    rows = [
        {"x": n, "y": value, "line": name}
        for name, gain in names.items()
        for n, value in enumerate(exponents(gain), 1)
    ]
    return curves(rows, "exponent", "nats a step", order=list(names), log=False)


def exponents(gain: float) -> list[float]:
    """Of s_t = tanh(s_(t-1) Ws), Ws normal with deviation gain / sqrt(H), left to itself."""
    cell = bptt.cells.Elman(1, UNITS, bias=False)
    with torch.no_grad():
        cell.Ws.normal_(0, gain / UNITS**0.5)
    found = bptt.inspect.lyapunov(cell, torch.zeros(STEPS, 1, 1), state=torch.randn(1, UNITS))
    return [value for value in found.exponents.tolist() if value > LEAST]
