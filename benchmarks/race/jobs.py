"""What is run: a cell at a shape, with the numbers that every way of running it gets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import bptt.cells
from race import cells


class Shape(NamedTuple):
    """Steps, batch, inputs, units."""

    T: int
    B: int
    I: int  # noqa: E741  the field's name
    H: int

    def __str__(self) -> str:
        return ", ".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> "Shape":
        """The shape that `T,B,I,H` names.

        Raises:
            ValueError: not four whole numbers of at least 1.

        >>> Shape.parse("100,32,16,64").H
        64
        """
        sizes = text.split(",")
        if len(sizes) != 4 or not all(size.strip().isdecimal() and int(size) for size in sizes):
            raise ValueError(f"a shape is T,B,I,H, as in 100,32,16,64; got {text!r}")
        return cls(*map(int, sizes))


GRID = [
    Shape(100, 1, 16, 32),
    Shape(2000, 1, 8, 64),
    Shape(100, 32, 16, 64),
    Shape(1000, 16, 8, 64),
    Shape(100, 32, 64, 128),
    Shape(784, 64, 1, 128),
    Shape(100, 64, 256, 256),
    Shape(50, 64, 512, 512),
    Shape(97, 5, 7, 50),
    Shape(333, 3, 5, 100),
    Shape(64, 1, 32, 512),
]
QUICK = [Shape(100, 1, 16, 32), Shape(100, 32, 16, 64), Shape(97, 5, 7, 50)]


class Kind(NamedTuple):
    """A cell: how it is built, the matrices (., H) it multiplies with, what torch.nn calls it."""

    build: Callable[[int, int], nn.Module]
    products: int
    states: int = 1
    in_torch: type[nn.RNN | nn.GRU | nn.LSTM] | None = None


KINDS = {
    "tanh RNN": Kind(bptt.cells.Elman, 1, in_torch=nn.RNN),
    "GRU": Kind(bptt.cells.GRU, 3, in_torch=nn.GRU),
    "LSTM": Kind(bptt.cells.LSTM, 4, 2, nn.LSTM),
    "leaky": Kind(cells.Leaky, 1),
    "layer-norm LSTM": Kind(cells.LayerNormLSTM, 4, 2),
    "peephole LSTM": Kind(cells.PeepholeLSTM, 4, 2),
    "minimal gated": Kind(cells.MinimalGated, 2),
}


@dataclass(frozen=True, eq=False)
class Job:
    """A cell at a shape.

    Attributes:
        module: the cell, float32.
        inputs: (T, B, I).
        state: leaves of the initial state, (B, H) each.
        adjoint: dE/dy (T, B, H), what the backward pass starts from.
    """

    name: str
    shape: Shape
    module: nn.Module
    inputs: Tensor
    state: tuple[Tensor, ...]
    adjoint: Tensor

    def __str__(self) -> str:
        return f"{self.name} at T, B, I, H = {self.shape}"

    @property
    def bare_state(self) -> Any:
        """The initial state as the cell takes it: a tensor where there is one alone."""
        return self.state if len(self.state) > 1 else self.state[0]

    @property
    def targets(self) -> dict[str, Tensor]:
        """Every tensor that gets a gradient, by name."""
        states = {f"state {i}": leaf for i, leaf in enumerate(self.state)}
        return {"inputs": self.inputs, **states, **dict(self.module.named_parameters())}

    @property
    def flops(self) -> int:
        """Of the matrix products, forward and backward: a product costs twice as much backward."""
        T, B, I, H = self.shape  # noqa: E741
        return 3 * 2 * T * B * KINDS[self.name].products * H * (I + H)


def job(name: str, shape: Shape, module: nn.Module | None = None) -> Job:
    """A cell, with random weights if it is not given, and random numbers for it."""
    torch.manual_seed(0)
    T, B, I, H = shape  # noqa: E741
    kind = KINDS[name]
    module = kind.build(I, H) if module is None else module
    inputs = torch.randn(T, B, I).requires_grad_()
    state = tuple(torch.randn(B, H).mul_(0.5).requires_grad_() for _ in range(kind.states))
    return Job(name, shape, module, inputs, state, torch.randn(T, B, H))
