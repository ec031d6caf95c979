"""The same gradient by two other ways: `bptt.unroll`, and finite differences."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from bptt.cells import Elman
from bptt.lesson.activations import has_corner
from bptt.lesson.example import Example, Weights
from bptt.lesson.forward import run
from bptt.unroll import unroll

STEP = 1e-5  # of the differences: about the cube root of float64's precision


@dataclass(frozen=True)
class Check:
    """How far dE_t/dW, written out as a chain, lies from the other two ways, at its worst entry.

    Attributes:
        unroll: from `bptt.unroll` and `backward()`; rounding alone is about 1e-16 of the gradient.
        differences: from central finite differences; about 1e-10 where phi is smooth.
        scale: the largest entry of the gradient, or 0.01 if that is larger.
        corner: whether phi has a corner (as relu at 0) so near that differences say nothing.
    """

    unroll: float
    differences: float
    scale: float
    corner: bool

    @property
    def agrees(self) -> bool:
        smooth = self.corner or self.differences <= 1e-5 * self.scale
        return smooth and self.unroll <= 1e-13 * self.scale


class Others(NamedTuple):
    """dE_t/dW by the two other ways."""

    unroll: Weights
    differences: Weights


def others_of(example: Example) -> Others:
    """dE_t/dW by `bptt.unroll` and by finite differences."""
    return Others(unrolled(example), differences(example))


def check(example: Example, gradient: Weights, others: Others | None = None) -> dict[str, Check]:
    """Compare a gradient of E_t with the two other ways, for each of Wx, Ws and Wy.

    Args:
        example: whose E_t.
        gradient: to be compared.
        others: of the example, where they are known already.

    >>> from bptt.lesson import back, make_example, run
    >>> example = make_example(t=3)
    >>> all(c.agrees for c in check(example, back(example, run(example)).gradient).values())
    True
    """
    corner = has_corner(example.activation, run(example).a, 10 * STEP)
    pairs = zip(*(others or others_of(example)), strict=True)
    return {
        name: Check(_gap(own, by_unroll), _gap(own, by_hand), max(0.01, _size(own)), corner)
        for name, own, (by_unroll, by_hand) in zip(Weights._fields, gradient, pairs, strict=True)
    }


def unrolled(example: Example) -> Weights:
    """dE_t/dW as a user of the library gets it: `bptt.unroll`, a torch loss, `backward()`."""
    inputs, hidden = example.weights.Wx.shape
    cell = Elman(inputs, hidden, example.activation, bias=False).double()
    cell.load_state_dict({"Wx": example.weights.Wx, "Ws": example.weights.Ws})
    Wy = example.weights.Wy.clone().requires_grad_()
    states, _ = unroll(cell, example.x[:, None], example.s0[None])
    z, d = states[-1] @ Wy, example.d[-1:]
    loss = {"squared": functional.mse_loss, "cross-entropy": functional.cross_entropy}
    loss[example.loss.name](z, d, reduction="sum").backward()
    return Weights(*(_gradient(w) for w in (cell.Wx, cell.Ws, Wy)))


def differences(example: Example) -> Weights:
    """dE_t/dW by central differences: E_t at W + h and at W - h, one entry of W at a time."""
    return Weights(*(_differences(example, name) for name in Weights._fields))


def _differences(example: Example, name: str) -> Tensor:
    W = getattr(example.weights, name)
    h = STEP * W.abs().clamp(min=1).flatten()
    nudges = torch.diag(h).reshape(-1, *W.shape)

    def error(value: Tensor) -> Tensor:
        return run(example, example.weights._replace(**{name: value})).E[-1]

    errors = torch.func.vmap(error, chunk_size=128)
    return ((errors(W + nudges) - errors(W - nudges)) / (2 * h)).reshape(W.shape)


def _gradient(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad


def _gap(one: Tensor, other: Tensor) -> float:
    return _size(one - other)


def _size(values: Tensor) -> float:
    return float(values.abs().max())
