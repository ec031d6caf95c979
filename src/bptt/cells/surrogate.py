"""Spikes, and what stands in for their derivative."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Spike(torch.autograd.Function):
    """1 where v > 0, else 0; in the backward pass as if its derivative were `derivative(v)`."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, derivative: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(v)
        ctx.derivative = derivative
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor) -> tuple[Tensor, None]:
        (v,) = ctx.saved_tensors
        return adjoints[0] * ctx.derivative(v), None


class Surrogate(nn.Module):
    """Spikes of v (any shape). Give a class of your own a `derivative(v)` and it is one, too."""

    def derivative(self, v: Tensor) -> Tensor:
        """What stands in for the derivative of the step at 0, in the shape of v."""
        raise NotImplementedError

    def forward(self, v: Tensor) -> Tensor:
        """1 where v > 0, else 0."""
        return Spike.apply(v, self.derivative)


class FastSigmoid(Surrogate):
    """Derivative of a fast sigmoid, `1 / (1 + slope |v|)^2`.

    Args:
        slope: how narrow it is.

    Source: Zenke & Ganguli 2018, "SuperSpike: supervised learning in multilayer spiking neural
    networks".

    >>> v = torch.tensor([-0.1, 0.1], requires_grad=True)
    >>> spikes = FastSigmoid(slope=10.0)(v)
    >>> spikes.detach(), torch.autograd.grad(spikes.sum(), v)[0]
    (tensor([0., 1.]), tensor([0.2500, 0.2500]))
    """

    def __init__(self, slope: float = 10.0) -> None:
        super().__init__()
        self.slope = slope

    def derivative(self, v: Tensor) -> Tensor:
        return 1 / (1 + self.slope * v.abs()).square()

    def extra_repr(self) -> str:
        return f"slope={self.slope}"


class Triangle(Surrogate):
    """A triangle, `height * max(0, 1 - |v| / width)`.

    Args:
        width: |v| beyond which it is 0.
        height: its value at 0.

    Source: Bellec, Salaj, Subramoney, Legenstein & Maass 2018, "Long short-term memory and learning
    to learn in networks of spiking neurons", with height 0.3.

    >>> v = torch.tensor([-0.5, 2.0], requires_grad=True)
    >>> torch.autograd.grad(Triangle()(v).sum(), v)[0]
    tensor([0.1500, 0.0000])
    """

    def __init__(self, width: float = 1.0, height: float = 0.3) -> None:
        super().__init__()
        self.width, self.height = width, height

    def derivative(self, v: Tensor) -> Tensor:
        return self.height * torch.relu(1 - v.abs() / self.width)

    def extra_repr(self) -> str:
        return f"width={self.width}, height={self.height}"
