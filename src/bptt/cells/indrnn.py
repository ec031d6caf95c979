"""The independently recurrent network."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bptt.cells.parts import Cell, check_callable


class IndRNN(Cell):
    """Independently recurrent network: each unit sees its own past alone.

        s_t = phi(x_t Wx + u * s_{t-1} + b)

    Units meet in the next layer: put two or more on top of each other with `bptt.nn.Recurrent`.

    Args:
        input_size: I, features of x_t.
        hidden_size: H, units of the state.
        activation: phi, any function (or module) from tensor to tensor of the same shape.

    Shapes: x_t (B, I), s_t (B, H), Wx (I, H), u and b (H,).
    Wx and b start uniform in +-1/sqrt(H), u in 0..1. Over T steps a gradient grows at most to
    |u|^T of what it was: the paper keeps |u| at or below 2^(1/T) by clamping it after each update.

    Raises:
        ArgumentError: a size below 1.
        StructureError: an activation that cannot be called.

    Source: Li, Li, Cook, Zhu & Gao 2018, "Independently recurrent neural network (IndRNN)".

    >>> cell = IndRNN(3, 5)
    >>> cell(torch.zeros(2, 3), cell.initial_state(2)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        activation: Callable[[Tensor], Tensor] = torch.relu,
    ) -> None:
        super().__init__(input_size, hidden_size)
        check_callable("activation", activation)
        self.activation = activation
        self.Wx = self.uniform(input_size, hidden_size)
        self.u = nn.Parameter(torch.rand(hidden_size))
        self.b = self.uniform(hidden_size)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """s_t (B, H) from x_t (B, I) and s_{t-1} (B, H)."""
        return self.activation(x @ self.Wx + self.b + self.u * state)
