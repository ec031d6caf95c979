"""Cells and modules of bptt.nn as what is inspected: one cell, and a batch with time first."""

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from bptt import check
from bptt.errors import ArgumentError, CellError, StructureError
from bptt.inspect.stacked import ReadOut, Stacked
from bptt.inspect.subject import Lengths, Subject
from bptt.nn.drop_in import DropIn
from bptt.nn.layers import unstack
from bptt.nn.network import Network
from bptt.nn.recurrent import Recurrent
from bptt.structure import describe

MODULES = (DropIn, Recurrent, Network)


def as_cell(model: Any) -> Any:
    """One cell that does in a step what a model does in all of its layers.

    Args:
        model: a module of `bptt.nn` (RNN, GRU, LSTM, Recurrent, Network) of one direction, or a
            cell, which is returned as it is.

    Returns:
        A cell that shares the model's parameters. Its state is a tuple over layers (a network's is
        its cell's), its output that of the last layer, or the network's scores.

    Raises:
        ArgumentError: a bidirectional model: it has no step that ends at one time.
        CellError: a module that runs whole sequences and is none of `bptt.nn`'s.

    >>> import torch, bptt
    >>> gru = bptt.nn.GRU(3, 5, num_layers=2)
    >>> outputs, state = bptt.unroll(as_cell(gru), torch.zeros(7, 2, 3))
    >>> outputs.shape, len(state)
    (torch.Size([7, 2, 5]), 2)
    """
    if isinstance(model, Network):
        return ReadOut(as_cell(model.cell), model)
    if isinstance(model, DropIn | Recurrent):
        if model.bidirectional:
            raise ArgumentError(_one_direction(model))
        return Stacked(model)
    if isinstance(model, nn.RNNBase):
        kind = type(model).__name__
        raise CellError(
            f"model: expected a cell or a module of bptt.nn, got torch.nn.{kind}, whose steps "
            f"cannot be seen. bptt.nn.{kind} takes its place: the same arguments, then "
            "load_state_dict(model.state_dict())."
        )
    if not callable(model) or isinstance(model, type):
        raise CellError(
            "model: expected a cell, as bptt.unroll takes it, or a module of bptt.nn, got "
            f"{model!r}"
        )
    check.one_step(model)
    return model


def _one_direction(model: DropIn | Recurrent) -> str:
    """Why a bidirectional model cannot be inspected, and what of it can."""
    kind = type(model).__name__
    how = (
        "its cells by themselves: cells[0], and cells[1] with reverse=True"
        if isinstance(model, Recurrent)
        else f"a bptt.nn.{kind} of one direction that takes over its weights, of the first layer "
        "those without or with `_reverse` in their names (these with the inputs' time reversed)"
    )
    return (
        f"{kind}: expected one direction, got bidirectional=True. The reverse direction's state at "
        "a step comes from later steps, so there is no one way back from an error in time. Train a "
        f"model of one direction to compare with; or inspect {how}."
    )


def of_module(
    model: Any,
    inputs: Any,
    *,
    state: Any = None,
    lengths: Lengths = None,
    reset: Tensor | None = None,
    reset_state: Any = None,
    reverse: bool = False,
    backend: str = "auto",
) -> Subject:
    """A cell, or a module of `bptt.nn`, and a batch, as `bptt.inspect.models.subject` takes them.

    Raises:
        ArgumentError: inputs of no steps or sequences, packed, or without a batch.
        StructureError: inputs that are no tensors.
        CellError: a cell that does not say what it starts from.
    """
    cell = as_cell(model)
    _check_start(cell, state)
    first = isinstance(model, MODULES) and model.batch_first
    _check_inputs(inputs, first)
    if first:
        inputs = pytree.tree_map(lambda leaf: leaf.transpose(0, 1), inputs)
        reset = reset.transpose(0, 1) if isinstance(reset, Tensor) and reset.dim() == 2 else reset
    if runs_layers(model):
        state, reset_state = _by_layer(state), _by_layer(reset_state)
    return Subject(model, cell, inputs, state, lengths, reset, reset_state, reverse, backend, first)


def runs_layers(model: Any) -> bool:
    """Whether a model's state has a first axis for its layers."""
    return isinstance(model.cell if isinstance(model, Network) else model, DropIn | Recurrent)


def says_start(cell: Any) -> bool:
    """Whether a cell says what it starts from."""
    return hasattr(cell, "initial_state") or isinstance(cell, nn.RNNCellBase)


def _by_layer(state: Any) -> tuple | None:
    """A module's state, leaves (layers, B, ...), as a tuple over layers."""
    return None if state is None else tuple(unstack(state, len(pytree.tree_leaves(state)[0])))


def _check_start(cell: Any, state: Any) -> None:
    if state is None and not says_start(cell) and isinstance(cell, nn.Module):
        raise CellError(
            f"state=None: {type(cell).__name__} does not say what it starts from. Pass `state`, or "
            "give the cell a method `initial_state(self, batch_size)`."
        )


def _check_inputs(inputs: Any, batch_first: bool) -> None:
    axes = "(B, T, ...)" if batch_first else "(T, B, ...)"
    if isinstance(inputs, PackedSequence):
        raise ArgumentError(
            f"inputs: expected a tensor {axes}, got a PackedSequence. Pad it with "
            "torch.nn.utils.rnn.pad_packed_sequence and pass its lengths."
        )
    leaves = pytree.tree_leaves(inputs)
    if not leaves or not all(isinstance(leaf, Tensor) for leaf in leaves):
        raise StructureError(
            f"inputs: expected a tensor {axes} or a pytree of them, got {describe(inputs)}. "
            "torch.as_tensor makes tensors of arrays and lists."
        )
    for leaf in leaves:
        if leaf.dim() < 2 or 0 in leaf.shape[:2]:
            raise ArgumentError(
                f"inputs: expected {axes} of at least one step and one sequence, got "
                f"{tuple(leaf.shape)}."
            )
