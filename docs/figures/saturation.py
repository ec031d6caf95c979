"""How many of an LSTM's units sit where their functions are flat, by the size of its inputs."""

import altair as alt
import torch

import bptt
from figures.drawing import curves

SIZES = 1, 2, 4, 8, 16, 32, 64


def draw() -> alt.Chart:
    cell, x = bptt.cells.LSTM(4, 16), torch.randn(20, 8, 4)
    found = {size: bptt.inspect.saturation(cell, size * x) for size in SIZES}
    order = list(found[1].names)
    rows = [
        {"x": size, "y": float(share), "line": name}
        for size, one in found.items()
        for name, share in zip(one.names, one.share, strict=True)
    ]
    chart = curves(rows, "size of the inputs", "share of flat units", order=order, log=False)
    doubling, axis = alt.Scale(type="log", base=2), alt.Axis(grid=False)
    return chart.encode(x=alt.X("x:Q", title="size of the inputs", scale=doubling, axis=axis))
