"""What the inspecting functions are given: a cell, a module of bptt.nn, or a model that runs one.

A model of the user's own is opened: its forward runs once, and what it gives to its recurrent part
is heard. Then that part is what is inspected, and the rest of the forward belongs to the loss.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from bptt.errors import ArgumentError
from bptt.inspect.hearing import Answer, Call, Result, answered
from bptt.inspect.modules import MODULES, of_module, says_start
from bptt.inspect.reading import Reading
from bptt.inspect.subject import Lengths, Subject
from bptt.nn.recording import Recording


def subject(
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
    """A model and a batch, as the inspecting functions take them.

    Args:
        model: a cell, a module of `bptt.nn`, or a module that runs one of these in its forward.
        inputs: (T, B, ...), or (B, T, ...) for a module with batch_first, as its forward takes it;
            for a model of one's own, whatever its forward takes.
        state: as `unroll` takes it for a cell, or as the module's forward does.
        lengths, reset, reset_state, reverse: as for `unroll`; reset laid out as inputs. Those that
            are given go to the forward of a model of one's own, by name.
        backend: as for `unroll`.

    Raises:
        ArgumentError: inputs of no steps or sequences, packed, or without a batch; a model that
            runs no recurrent part, or several.
        StructureError: inputs that are no tensors.
        CellError: a cell that does not say what it starts from.
    """
    given = {"state": state, "lengths": lengths, "reset": reset, "reset_state": reset_state}
    if not _is_own(model, state):
        return of_module(model, inputs, **given, reverse=reverse, backend=backend)
    named = {name: value for name, value in given.items() if value is not None}
    if reverse:
        named["reverse"] = True
    return _Opened(model, inputs, named).subject(backend)


def _is_own(model: Any, state: Any) -> bool:
    """Whether a module is no step, but runs one over sequences in its forward."""
    if not isinstance(model, nn.Module) or isinstance(model, (*MODULES, nn.RNNBase)):
        return False
    if says_start(model):
        return False
    return any(isinstance(part, MODULES) for part in model.modules()) or (
        state is None and _takes_one(model.forward)
    )


def _takes_one(forward: Callable[..., Any]) -> bool:
    """Whether a function can be called with one argument, unlike a step."""
    try:
        inspect.signature(forward).bind(None)
    except TypeError:
        return False
    return True


class _Opened:
    """A model whose forward has been run once.

    Args:
        model: of the user's own.
        inputs: what its forward takes.
        given: what else it takes, by name.
    """

    def __init__(self, model: nn.Module, inputs: Any, given: dict[str, Any]) -> None:
        self._model, self._arguments, self._given = model, (inputs,), given
        self._generator = torch.get_rng_state()
        calls: list[tuple[Call, Result]] = []

        def ask(call: Call, result: Result) -> Result:
            leaves = pytree.tree_map_only(Tensor, _leaf, result)
            calls.append((call, leaves))
            return leaves

        found = self._run(ask)
        self._call, (self._outputs, self._final) = _one(model, calls)
        self._reads_final = _reaches(found, pytree.tree_leaves(self._final))

    def subject(self, backend: str) -> Subject:
        """The recurrent part, and what the model makes of its outputs."""
        part = self._call.subject
        counts = part.counts()
        ends = torch.zeros_like(counts) if part.reverse else (counts - 1).clamp(min=0)
        outputs, final = (_detached(tree) for tree in (self._outputs, self._final))
        reading = Reading(
            self._rest, outputs, final, ends.to(torch.int64), self._reads_final, part.batch_first
        )
        cell = Recording(part.cell) if self._reads_final else part.cell
        return Subject(
            self._model, cell, _detached(part.inputs), _detached(part.state), part.lengths,
            part.reset, _detached(part.reset_state), part.reverse, backend, reading=reading,
        )  # fmt: skip

    def _rest(self, outputs: Any, final: Any) -> Any:
        """What the model returns where its recurrent part gives these."""
        return self._run(lambda _call, _result: (outputs, final))

    def _run(self, answer: Answer) -> Any:
        """The model's forward: the same draws each time, buffers and attributes left alone."""
        model = self._model
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        attributes = [(module, dict(vars(module))) for module in model.modules()]
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), answered(model, answer):
            torch.set_rng_state(self._generator)
            try:
                return functional_call(model, buffers, self._arguments, self._given)
            finally:
                for module, before in attributes:
                    vars(module).clear()
                    vars(module).update(before)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(tensor.is_floating_point())


def _detached(tree: Any) -> Any:
    return pytree.tree_map_only(Tensor, torch.Tensor.detach, tree)


@torch.enable_grad()
def _reaches(found: Any, leaves: Sequence[Tensor]) -> bool:
    """Whether any of the leaves is part of what was found."""
    tensors = [leaf for leaf in pytree.tree_leaves(found) if isinstance(leaf, Tensor)]
    ends = [tensor.sum() for tensor in tensors if tensor.requires_grad]
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    if not ends or not wanted:
        return False
    found = torch.autograd.grad(ends, wanted, allow_unused=True)
    return any(gradient is not None for gradient in found)


def _one(model: nn.Module, calls: list[tuple[Call, Result]]) -> tuple[Call, Result]:
    """The one run of a recurrent part that can be inspected."""
    if len(calls) == 1:
        return calls[0]
    kind = type(model).__name__
    if calls:
        names = ", ".join(_called(call.subject.model, model) for call, _ in calls)
        raise ArgumentError(
            f"model: expected one recurrent part, but the forward of {kind} runs {len(calls)} "
            f"({names}), between which an error in time has no one way back. Put layers into one "
            "module (num_layers, bptt.nn.Recurrent), or inspect one of them on its own inputs, "
            "with a loss of its outputs that does what comes after."
        )
    others = [name for name, part in model.named_modules() if isinstance(part, nn.RNNBase)]
    hint = (
        "Take the module of bptt.nn with the same name, arguments and state_dict for torch.nn's, "
        f"whose steps cannot be seen: {', '.join(others)}."
        if others
        else "Run a module of bptt.nn in it, or bptt.unroll; or pass the cell and its `state`."
    )
    raise ArgumentError(
        f"model: expected a cell or a model with a recurrent part, but the forward of {kind} runs "
        f"none of bptt's. {hint}"
    )


def _called(part: Any, model: nn.Module) -> str:
    names = [name for name, module in model.named_modules() if module is part]
    return names[0] if names else getattr(part, "__name__", type(part).__name__)
