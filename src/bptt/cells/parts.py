"""What every cell here shares: how weights start, and what a step refuses."""

import torch
from torch import nn

from bptt.errors import ArgumentError, StructureError
from bptt.structure import describe


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


def check_pair(cell: nn.Module, state: object) -> None:
    """Raise StructureError unless the state is a pair. A tensor of two rows would pass for one."""
    if not isinstance(state, tuple | list) or len(state) != 2:
        raise StructureError(
            f"{type(cell).__name__}: state should be a pair (h, c) of tensors, got "
            f"{describe(state)}; initial_state(batch_size) gives one"
        )
