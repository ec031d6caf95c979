"""Which argument of `unroll` a cell's own error comes from."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bptt import check
from bptt.errors import ArgumentError, BackendError, CellError, StructureError
from bptt.step import Arguments, Leaves
from bptt.structure import describe, structure

DIMENSIONS = {"inputs": 3, "state": 2}  # of a tensor of plain features


def explain(
    error: Exception,
    cell: Any,
    given_inputs: Any,
    given: Any,
    arguments: Arguments,
    start: Callable[[Any], Any],
) -> None:
    """Say which argument a cell's own error comes from, where that can be told.

    Args:
        error: what the cell, or torch inside it, raised.
        cell: the cell.
        given_inputs: the inputs it was given.
        given: the state it was given.
        arguments: the leaves of inputs and state.
        start: what the cell itself would start from, None if it does not say.

    Raises:
        BackendError: forward-mode differentiation was asked for.
        CellError: the cell does not take an input and a state.
        StructureError: the state's structure is not that of the cell's own initial state.
        ArgumentError: sizes, dtype or device of inputs or state are not those of the cell.
    """
    ours = isinstance(error, (ArgumentError, BackendError, CellError, StructureError))
    if ours:
        return
    _not_forward_mode(error)
    _not_a_list(given_inputs, error)
    _takes_two(cell, error)
    if not isinstance(cell, nn.Module):
        return
    own = start(cell)
    if own is not None:
        _same_structure(given, own, error)
    _same_sizes("inputs", arguments.inputs, "input_size", cell, error)
    _same_sizes("state", arguments.initial, "hidden_size", cell, error)
    parameter = next((p for p in cell.parameters() if p.is_floating_point()), None)
    if parameter is not None:
        for leaf in arguments.inputs:
            if leaf.is_floating_point() or isinstance(check.size(cell), int):
                _same_place("inputs", leaf, parameter, error)
        for leaf in arguments.initial:
            if leaf.is_floating_point():
                _same_place("state", leaf, parameter, error)


def _not_forward_mode(error: Exception) -> None:
    if isinstance(error, NotImplementedError) and torch.autograd.forward_ad._current_level >= 0:
        raise BackendError(
            "bptt.unroll expected plain tensors, got tangents of forward-mode differentiation "
            "(torch.autograd.forward_ad), which goes back through time alone. Use loss.backward() "
            "or torch.autograd.grad."
        ) from error


def _takes_two(cell: Any, error: Exception) -> None:
    """A cell that cannot be called with an input and a state; one that can failed otherwise."""
    step = cell.forward if isinstance(cell, nn.Module) else cell
    try:
        signature = inspect.signature(step)
    except (TypeError, ValueError):  # a callable of C says nothing of its arguments
        return
    try:
        signature.bind(None, None)
    except TypeError:
        name = getattr(cell, "__name__", type(cell).__name__)
        raise CellError(
            f"cell: expected a step that takes an input and a state, `cell(x_t, state) -> state` "
            f"or `-> (y_t, state)`, got {name}{signature}."
        ) from error


def _not_a_list(given: Any, error: Exception) -> None:
    """A sequence is one tensor; a list of its steps is the commonest mistake."""
    if isinstance(given, (list, tuple)) and all(isinstance(leaf, Tensor) for leaf in given):
        raise ArgumentError(
            f"inputs: expected a tensor (T, B, ...), got a {type(given).__name__} of {len(given)} "
            "tensors, which the cell could not take as x_t. If they are the steps of a sequence, "
            "torch.stack them."
        ) from error


def _same_structure(given: Any, own: Any, error: Exception) -> None:
    if structure(own).flatten(given) is None:
        raise StructureError(
            f"state: expected the structure of the cell's initial_state, {describe(own)}, got "
            f"{describe(given)}."
        ) from error


def _same_sizes(
    argument: str, leaves: Leaves, attribute: str, cell: nn.Module, error: Exception
) -> None:
    """`cell.input_size` and `cell.hidden_size` are names that torch.nn and the field agree on."""
    size = getattr(cell, attribute, None)
    for leaf in leaves:
        if isinstance(size, int) and leaf.dim() == DIMENSIONS[argument] and leaf.shape[-1] != size:
            raise ArgumentError(
                f"{argument}: expected {size} features, as the cell's {attribute} says, got shape "
                f"{tuple(leaf.shape)}."
            ) from error


def _same_place(argument: str, leaf: Tensor, parameter: Tensor, error: Exception) -> None:
    if leaf.device != parameter.device:
        raise ArgumentError(
            f"{argument}: expected it on {parameter.device} with the cell's parameters, got "
            f"{leaf.device}. Move one of them with .to()."
        ) from error
    if leaf.dtype != parameter.dtype:
        raise ArgumentError(
            f"{argument}: expected {check.dtype(parameter)} like the cell's parameters, got "
            f"{check.dtype(leaf)}. Convert it with .to({parameter.dtype}), or the cell."
        ) from error
