"""The lesson's network unfolded to t = 3, and the same over eight steps with a slider."""

import torch

import bptt
from bptt.lesson import make_example
from bptt.picture import Unfolded

SLIDER_STEPS = 8


def draw() -> str:
    return unfolded(3).svg()


def page() -> str:
    """A page by itself."""
    return unfolded(SLIDER_STEPS).html()


def unfolded(steps: int) -> Unfolded:
    example = make_example(t=steps)
    network = bptt.nn.Network(bptt.cells.Elman(2, 2, bias=False), 1).double()
    with torch.no_grad():
        network.cell.Wx.copy_(example.weights.Wx)
        network.cell.Ws.copy_(example.weights.Ws)
        network.Wy.copy_(example.weights.Wy)
    x, d, start = example.x[:, None], example.d[:, None], example.s0[None]
    return bptt.picture.draw(network, x, targets=d, state=start)
