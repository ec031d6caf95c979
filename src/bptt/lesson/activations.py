"""The activations phi of the lesson, and their derivative element by element."""

from collections.abc import Callable

import torch
from torch import Tensor


def identity(a: Tensor) -> Tensor:
    """No activation: the linear network."""
    return a


# By name: the function, and its derivative as a textbook writes it, with s = phi(a).
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "tanh": (torch.tanh, "1 - s²"),
    "sigmoid": (torch.sigmoid, "s (1 - s)"),
    "relu": (torch.relu, "1 if a > 0 else 0"),
    "identity": (identity, "1"),
    "softplus": (torch.nn.functional.softplus, "sigmoid(a)"),
    "silu": (torch.nn.functional.silu, "sigmoid(a) (1 + a - s)"),
    "sin": (torch.sin, "cos(a)"),
}


def derivative(activation: Callable[[Tensor], Tensor], a: Tensor) -> Tensor:
    """phi'(a), for any phi that works element by element.

    Args:
        activation: phi, from a tensor to a tensor of the same shape.
        a: where, of any shape.

    Returns: a tensor of a's shape.

    >>> derivative(torch.tanh, torch.tensor([0.0]))
    tensor([1.])
    """
    a = a.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(activation(a).sum(), a)
    return slope


def has_corner(activation: Callable[[Tensor], Tensor], a: Tensor, radius: float) -> bool:
    """Whether phi bends sharply within `radius` of some a, where finite differences mislead.

    >>> has_corner(torch.relu, torch.zeros(1), 1e-5), has_corner(torch.tanh, torch.zeros(1), 1e-5)
    (True, False)
    """
    bend = derivative(activation, a + radius) - derivative(activation, a - radius)
    return bool(bend.abs().max() > 1e-3)
