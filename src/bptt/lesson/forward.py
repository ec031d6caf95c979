"""The forward pass of the lesson, step by step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bptt.lesson.example import Example, Weights


@dataclass(frozen=True)
class Forward:
    """What the network did, in order of time.

    Attributes:
        a: (t, H) a_1 to a_t, what goes into phi: x_t Wx + s_{t-1} Ws.
        s: (t + 1, H) s_0 to s_t.
        y: (t, K) y_1 to y_t.
        E: (t,) E_1 to E_t.
    """

    a: Tensor
    s: Tensor
    y: Tensor
    E: Tensor


def run(example: Example, weights: Weights | None = None) -> Forward:
    """Run the example's network over its sequence, with other weights if some are given.

    >>> from bptt.lesson import make_example
    >>> run(make_example(t=3)).s.shape
    torch.Size([4, 2])
    """
    weights = weights or example.weights
    states, sums = [example.s0], []
    for x in example.x:
        sums.append(x @ weights.Wx + states[-1] @ weights.Ws)
        states.append(example.activation(sums[-1]))
    z = torch.stack(states[1:]) @ weights.Wy
    y, E = example.loss.output(z), example.loss.error(z, example.d)
    return Forward(torch.stack(sums), torch.stack(states), y, E)
