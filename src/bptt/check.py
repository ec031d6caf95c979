"""What `unroll` is given, checked: an error names the argument, what it got and what it needs."""

from collections.abc import Callable, Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

from bptt.errors import ArgumentError, BackendError, CellError, StructureError
from bptt.methods import Method
from bptt.step import Arguments, Leaves
from bptt.structure import describe, leaves_of, structure

BACKENDS = ("auto", "cpu", "reference")
DIMENSIONS = {"inputs": 3, "state": 2}  # of a tensor of plain features


def not_transformed() -> None:
    """torch.func's transforms cannot see through the recursion.

    Raises:
        BackendError: one of them is active.
    """
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise BackendError(
            "bptt.unroll was called inside a transform of torch.func (grad, vjp, vmap, jacrev...), "
            "which cannot go through its backward pass. Use loss.backward() or "
            "torch.autograd.grad, also with create_graph=True, and put what vmap would add into "
            "the batch dimension."
        )


def choices(cell: Any, method: Any, backend: Any) -> None:
    if not callable(cell):
        raise CellError(
            f"cell: expected a module or function `cell(x_t, state)`, got {type(cell).__name__}."
        )
    if isinstance(cell, type):
        raise CellError(f"cell: expected a cell, got the class {cell.__name__}: make one of it.")
    one_step(cell)
    if not isinstance(method, Method):
        names = ", ".join(f"bptt.{kind.__name__}" for kind in get_args(Method))
        raise StructureError(f"method: expected one of {names}, got {describe(method)}.")
    if backend not in BACKENDS:
        raise BackendError(f"backend: this version has {_listed(BACKENDS)}, not {backend!r}.")


def one_step(cell: Any) -> None:
    """A cell takes one step.

    Raises:
        CellError: it is one of torch.nn's modules that run a whole sequence.
    """
    if isinstance(cell, nn.RNNBase):
        name = cell.mode.split("_")[0]
        raise CellError(
            f"cell should take one step, but {name} runs a whole sequence: use torch.nn.{name}Cell "
            f"or bptt.cells.{'Elman' if name == 'RNN' else name}"
        )


def reverse(given: Any) -> None:
    if not isinstance(given, bool):
        raise StructureError(f"reverse: expected True or False, got {describe(given)}.")


def has(cell: Any, name: str) -> bool:
    """`hasattr`; a module that has no such thing is not asked to say so in an error of its own."""
    kind = type(cell)
    if hasattr(kind, name) or getattr(kind, "__getattr__", None) is not nn.Module.__getattr__:
        return hasattr(cell, name)
    own = vars(cell)
    return name in own or name in own["_modules"]


def inputs(given: Any, cell: Any) -> tuple[Leaves, int, int, torch.device]:
    """The leaves of the inputs, T, B and the device."""
    leaves = leaves_of(given)
    if not leaves or not all(isinstance(leaf, Tensor) for leaf in leaves):
        raise StructureError(
            f"inputs: expected a tensor (T, B, ...) or a pytree of them, got {describe(given)}."
        )
    first = leaves[0]
    for leaf in leaves:
        if leaf is first and leaf.dim() >= 2:
            continue
        if leaf.dim() < 2 or leaf.shape[:2] != first.shape[:2]:
            raise ArgumentError(
                f"inputs: expected time and batch first, (T, B, ...), alike in every leaf, got "
                f"{describe(given)}. A single sequence (T, ...) becomes a batch by unsqueeze(1)."
            )
        if leaf.device != first.device:
            raise ArgumentError(
                f"inputs: expected all leaves on one device, got {first.device} and {leaf.device}."
            )
    if isinstance(given, Tensor) and first.dim() != 3 and _takes_features(cell, first):
        raise ArgumentError(
            f"inputs: expected (T, B, {_size(cell)}), as the cell's input_size says, got "
            f"{tuple(first.shape)}. A single sequence (T, {_size(cell)}) becomes a batch by "
            "unsqueeze(1)."
        )
    return leaves, first.shape[0], first.shape[1], first.device


def _takes_features(cell: Any, leaf: Tensor) -> bool:
    return leaf.is_floating_point() and isinstance(_size(cell), int)


def _size(cell: Any) -> Any:
    """What torch.nn and the field call the number of features of x_t, where a cell says it."""
    return getattr(cell, "input_size", None)


def lengths(given: Any, steps: int, batch: int, device: torch.device) -> Tensor | None:
    """(B,) int64 on the inputs' device; None where every sequence has all T steps."""
    if given is None:
        return None
    try:
        counts = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise StructureError(f"lengths: expected integers, got {given!r}.") from error
    if not counts.numel():
        counts = counts.long()
    if counts.is_floating_point() or counts.is_complex() or counts.dtype == torch.bool:
        raise StructureError(f"lengths: expected integers, got {_dtype(counts)}.")
    if counts.shape != (batch,):
        raise ArgumentError(
            f"lengths: expected one for each of the {batch} sequences, shape ({batch},), got shape "
            f"{tuple(counts.shape)}."
        )
    least, most = counts.aminmax()
    if not 0 <= int(least) <= int(most) <= steps:
        row = int(((counts < 0) | (counts > steps)).nonzero()[0])
        raise ArgumentError(
            f"lengths: expected 0 to T = {steps}, got {int(counts[row])} for sequence {row}."
        )
    return None if int(least) == steps else counts.to(device, torch.int64)


def reset(given: Any, steps: int, batch: int, device: torch.device) -> Tensor | None:
    """(T, B) bool on the inputs' device."""
    if given is None:
        return None
    if not isinstance(given, Tensor) or given.dtype != torch.bool:
        kind = _dtype(given) if isinstance(given, Tensor) else type(given).__name__
        raise StructureError(
            f"reset: expected a bool tensor of shape (T, B) = ({steps}, {batch}), got {kind}."
        )
    if given.shape != (steps, batch):
        raise ArgumentError(
            f"reset: expected shape (T, B) = ({steps}, {batch}), got {tuple(given.shape)}."
        )
    return given.to(device).contiguous()


def state(given: Any, batch: int, device: torch.device, name: str = "state") -> Leaves:
    """The leaves of a state, each with a row for every sequence."""
    leaves = leaves_of(given)
    if not leaves or not all(isinstance(leaf, Tensor) for leaf in leaves):
        raise StructureError(
            f"{name}: expected a tensor (B, ...) or a pytree of them, got {describe(given)}."
        )
    for leaf in leaves:
        if leaf.dim() == 0 or leaf.shape[0] != batch:
            raise ArgumentError(
                f"{name}: expected a row for each of the {batch} sequences, ({batch}, ...), got "
                f"{describe(given)}."
            )
        if leaf.device != device:
            raise ArgumentError(
                f"{name}: expected it on the inputs' device, {device}, got {leaf.device}. Move it "
                f"with .to({str(device)!r})."
            )
    return leaves


def reset_state(given: Any, like: Any, batch: int) -> Leaves:
    """The leaves of a reset state, broadcast to the state's shapes."""
    leaves = structure(like).flatten(given)
    if leaves is None:
        raise StructureError(
            f"reset_state: expected the structure of the state, {describe(like)}, got "
            f"{describe(given)}."
        )
    expanded = []
    for leaf, target in zip(leaves, leaves_of(like), strict=True):
        try:
            expanded.append(leaf.expand(target.shape))
        except RuntimeError as error:
            raise ArgumentError(
                f"reset_state: expected leaves that broadcast to the state's, {describe(like)}, "
                f"got {describe(given)}."
            ) from error
        if leaf.dtype != target.dtype or leaf.device != target.device:
            raise ArgumentError(
                f"reset_state: expected {_dtype(target)} on {target.device} like the state, got "
                f"{_dtype(leaf)} on {leaf.device}."
            )
    return expanded


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
        StructureError: the state's structure is not that of the cell's own initial state.
        ArgumentError: sizes, dtype or device of inputs or state are not those of the cell.
    """
    ours = isinstance(error, (ArgumentError, BackendError, CellError, StructureError))
    if ours:
        return
    _not_a_list(given_inputs, error)
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
            if leaf.is_floating_point() or isinstance(_size(cell), int):
                _same_place("inputs", leaf, parameter, error)
        for leaf in arguments.initial:
            if leaf.is_floating_point():
                _same_place("state", leaf, parameter, error)


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
            f"{argument}: expected {_dtype(parameter)} like the cell's parameters, got "
            f"{_dtype(leaf)}. Convert it with .to({parameter.dtype}), or the cell."
        ) from error


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _listed(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names)
