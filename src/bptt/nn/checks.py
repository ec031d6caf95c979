"""What the modules refuse before anything is computed.

torch.nn's own checks are called where it has them; what it leaves to its kernels is said here, in
classes that are also the RuntimeError those kernels raise.
"""

import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bptt.errors import (
    ArgumentError,
    StructureError,
    TorchArgumentError,
    TorchStructureError,
)
from bptt.ready import initial_state
from bptt.structure import Structure, describe


def check_tensor(name: str, value: object) -> None:
    """Raise StructureError unless value is a tensor."""
    if not isinstance(value, Tensor):
        raise TorchStructureError(f"{name} should be a tensor, got a {type(value).__name__}")


def check_pair(name: str, value: object) -> None:
    """Raise StructureError unless value is a tuple or list of two tensors."""
    pair = isinstance(value, tuple | list) and len(value) == 2
    if not pair or not all(isinstance(part, Tensor) for part in value):
        raise TorchStructureError(
            f"{name} should be a pair (h_0, c_0) of tensors, got {describe(value)}"
        )


def check_device(input: Tensor, kind: str, other: Tensor, name: str) -> None:
    """Raise ArgumentError, in torch.nn's words, unless the other is where the input is."""
    if other.device != input.device:
        raise TorchArgumentError(
            f"Input and {kind} tensors are not at the same device, found input tensor at "
            f"{input.device} and {kind} tensor at {other.device}; "
            f"move {name} with .to({str(input.device)!r})"
        )


def check_dtype(name: str, value: Tensor, like: Tensor) -> None:
    """Raise ArgumentError unless value has the weights' dtype; autocast converts it."""
    if value.dtype != like.dtype and not torch.is_autocast_enabled(value.device.type):
        raise TorchArgumentError(
            f"{name} is {value.dtype}, the weights {like.dtype}; convert it with .to({like.dtype})"
        )


def check_reset(reset: Tensor, axes: Sequence[tuple[str, int]]) -> None:
    """Raise unless reset is a bool tensor with these axes, (name, size) each."""
    check_tensor("reset", reset)
    names, sizes = zip(*axes, strict=True)
    if reset.dtype != torch.bool or tuple(reset.shape) != sizes:
        raise ArgumentError(
            f"reset should be a bool tensor of shape ({', '.join(names)}) = {sizes}, laid out as "
            f"the input is; got {reset.dtype} of shape {tuple(reset.shape)}"
        )


def check_dropout(dropout: float, num_layers: int) -> None:
    """Raise, or warn of a dropout without effect, in torch.nn's words."""
    if not isinstance(dropout, Real) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
        raise ArgumentError(
            "dropout should be a number in range [0, 1] representing the probability of an element "
            f"being zeroed, got {dropout!r}"
        )
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout "
            f"expects num_layers greater than 1, but got dropout={dropout} and num_layers=1",
            stacklevel=3,
        )


def check_sequences(inputs: Any, batch_first: bool) -> None:
    """Raise unless inputs has leaves, all of them tensors with axes of time and batch."""
    axes = "(B, T, ...)" if batch_first else "(T, B, ...)"
    leaves = pytree.tree_leaves(inputs)
    wrong = [leaf for leaf in leaves if not isinstance(leaf, Tensor) or leaf.dim() < 2]
    if wrong or not leaves:
        raise ArgumentError(
            f"inputs should be a tensor {axes} or a pytree of such, got {describe(inputs)}"
        )


def check_stacked(state: object, count: int, batch_size: int) -> None:
    """Raise unless every leaf of state is (count, batch_size, ...)."""
    for leaf in pytree.tree_leaves(state):
        check_tensor("state", leaf)
        if tuple(leaf.shape[:2]) != (count, batch_size):
            raise ArgumentError(
                "state's leaves should have shape (num_layers * directions, B, ...) = "
                f"({count}, {batch_size}, ...), got {tuple(leaf.shape)}"
            )


def check_structure(cell: nn.Module, state: Any) -> None:
    """Raise unless state has the structure of what the cell starts from, where it says so."""
    if not hasattr(cell, "initial_state") and not isinstance(cell, nn.RNNCellBase):
        return
    fresh = initial_state(cell, 1)
    if Structure(fresh).flatten(state) is None:
        raise StructureError(
            f"state should have the structure of the cell's, {describe(fresh)}, each leaf stacked "
            f"over layers and directions; got {describe(state)}"
        )


def check_flags(**flags: bool) -> None:
    """Raise ArgumentError unless every flag is True or False."""
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise ArgumentError(f"{name} should be True or False, got {flag!r}")
