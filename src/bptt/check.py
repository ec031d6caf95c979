"""What `unroll` is given, checked: an error names the argument, what it got and what it needs."""

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

from bptt.errors import ArgumentError, BackendError, CellError, StructureError
from bptt.methods import Method
from bptt.step import Leaves
from bptt.structure import describe, leaves_of, structure

BACKENDS = ("auto", "cpu", "reference")


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


def not_batched(adjoints: Sequence[Tensor | None]) -> None:
    """The way back goes for one gradient of the outputs at a time.

    Args:
        adjoints: what autograd gives for the outputs, None where they do not count.

    Raises:
        BackendError: it was called for many at once.
    """
    given = (adjoint for adjoint in adjoints if adjoint is not None)
    if torch._C._functorch.peek_interpreter_stack() is not None or any(map(_is_batched, given)):
        raise BackendError(
            "The backward pass of bptt.unroll expected one gradient of its outputs, got several "
            "at once (is_grads_batched=True, vectorize=True or a transform of torch.func). Take "
            "them in a loop with retain_graph=True, or repeat the sequences along the batch."
        )


def _is_batched(tensor: Tensor) -> bool:
    return torch._C._functorch.is_legacy_batchedtensor(tensor)


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
        given = f"the class {method.__name__}" if isinstance(method, type) else describe(method)
        raise StructureError(
            f"method: expected one of {names}, such as method=bptt.Truncated(20, 40), got {given}."
        )
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
    leaves = _tensors(given)
    if not leaves:
        raise StructureError(
            f"inputs: expected a tensor (T, B, ...) or a pytree of them, got {describe(given)}. "
            "torch.as_tensor makes tensors of arrays and lists."
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
            f"inputs: expected (T, B, {size(cell)}), as the cell's input_size says, got "
            f"{tuple(first.shape)}. A single sequence (T, {size(cell)}) becomes a batch by "
            "unsqueeze(1)."
        )
    return leaves, first.shape[0], first.shape[1], first.device


def _tensors(given: Any) -> Leaves:
    """The leaves of a pytree; none where one of them is no tensor."""
    if isinstance(given, Tensor):
        return [given]
    leaves = leaves_of(given)
    return leaves if all(isinstance(leaf, Tensor) for leaf in leaves) else []


def _takes_features(cell: Any, leaf: Tensor) -> bool:
    return leaf.is_floating_point() and isinstance(size(cell), int)


def size(cell: Any) -> Any:
    """What torch.nn and the field call the number of features of x_t, where a cell says it."""
    return getattr(cell, "input_size", None)


def lengths(given: Any, steps: int, batch: int, device: torch.device) -> Tensor | None:
    """(B,) int64 on the inputs' device; None where every sequence has all T steps."""
    if given is None:
        return None
    try:
        counts = given if isinstance(given, Tensor) else torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise StructureError(f"lengths: expected integers, got {given!r}.") from error
    if not counts.numel():
        counts = counts.long()
    if counts.is_floating_point() or counts.is_complex() or counts.dtype == torch.bool:
        raise StructureError(f"lengths: expected integers, got {dtype(counts)}.")
    if counts.shape != (batch,):
        raise ArgumentError(
            f"lengths: expected one for each of the {batch} sequences, shape ({batch},), got shape "
            f"{tuple(counts.shape)}."
        )
    numbers = counts.tolist()
    least = min(numbers)
    if not 0 <= least <= max(numbers) <= steps:
        row = int(((counts < 0) | (counts > steps)).nonzero()[0])
        raise ArgumentError(
            f"lengths: expected 0 to T = {steps}, got {int(counts[row])} for sequence {row}."
        )
    return None if least == steps else counts.to(device, torch.int64)


def reset(given: Any, steps: int, batch: int, device: torch.device) -> Tensor | None:
    """(T, B) bool on the inputs' device."""
    if given is None:
        return None
    if not isinstance(given, Tensor) or given.dtype != torch.bool:
        kind = dtype(given) if isinstance(given, Tensor) else type(given).__name__
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
    leaves = _tensors(given)
    if not leaves:
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


def needs_reset(reset_state: Any, reset: Any) -> None:
    """A state to start afresh from is of use where something starts afresh."""
    if reset is None and reset_state is not None:
        raise ArgumentError(
            "reset_state: it says what resets start from, and no `reset` was given. Pass "
            "reset=, a (T, B) bool tensor, with it; what the first step starts from is `state`."
        )


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
            same = leaf.shape == target.shape
            expanded.append(leaf if same else leaf.expand(target.shape))
        except RuntimeError as error:
            raise ArgumentError(
                f"reset_state: expected leaves that broadcast to the state's, {describe(like)}, "
                f"got {describe(given)}."
            ) from error
        if leaf.dtype != target.dtype or leaf.device != target.device:
            raise ArgumentError(
                f"reset_state: expected {dtype(target)} on {target.device} like the state, got "
                f"{dtype(leaf)} on {leaf.device}."
            )
    return expanded


def dtype(tensor: Tensor) -> str:
    """A tensor's dtype in a word."""
    return str(tensor.dtype).removeprefix("torch.")


def _listed(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names)
