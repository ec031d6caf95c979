"""What every cell here shares: its sizes, how weights start, and what a step refuses."""

from typing import Any

import torch
from torch import Tensor, nn

from bptt.errors import ArgumentError, StructureError
from bptt.structure import describe


class Cell(nn.Module):
    """A cell of H units whose state is one tensor (B, H) of zeros, unless it says otherwise."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size = input_size, hidden_size

    def uniform(self, *shape: int) -> nn.Parameter:
        """A weight of the given shape, uniform in +-1/sqrt(H)."""
        return uniform(*shape, hidden_size=self.hidden_size)

    def zeros(self, batch_size: int, size: int | None = None) -> Tensor:
        """Zeros (B, size), or (B, H), where the weights are and of their dtype."""
        return next(self.parameters()).new_zeros(batch_size, size or self.hidden_size)

    def initial_state(self, batch_size: int) -> Any:
        """s_0 = 0 (B, H)."""
        return self.zeros(batch_size)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


def uniform(*shape: int, hidden_size: int) -> nn.Parameter:
    """A weight of the given shape, uniform in +-1/sqrt(H) as torch.nn's recurrent weights are."""
    bound = hidden_size**-0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def check_sizes(**sizes: int) -> None:
    """Raise ArgumentError unless every size is a whole number of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ArgumentError(f"{name} should be a whole number of at least 1, got {size!r}")


def check_callable(name: str, value: object) -> None:
    """Raise StructureError unless value can be called."""
    if not callable(value):
        raise StructureError(f"{name} should be a function of a tensor, got {value!r}")


def check_state(cell: nn.Module, state: object, parts: tuple[str, ...]) -> None:
    """Raise StructureError unless the state is a tuple of so many: a tensor's rows would pass."""
    if not isinstance(state, tuple | list) or len(state) != len(parts):
        raise StructureError(
            f"{type(cell).__name__}: state should be ({', '.join(parts)}), a tensor each, got "
            f"{describe(state)}; initial_state(batch_size) gives one"
        )
