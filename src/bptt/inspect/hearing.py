"""The recurrent parts that a model's forward runs: heard, and answered in their place."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from bptt.errors import ArgumentError
from bptt.inspect.modules import MODULES, of_module, runs_layers
from bptt.inspect.subject import Subject
from bptt.listeners import LISTENERS
from bptt.nn.layers import stack, unstack
from bptt.nn.layout import Packed, Padded
from bptt.unroll import unroll

Result = tuple[Any, Any]  # of a recurrent part: outputs and final state


class Call(NamedTuple):
    """One run of a recurrent part.

    Attributes:
        subject: the part, and what it was given.
        layout: how the module's sequences lie; None for a cell that `unroll` was given.
    """

    subject: Subject
    layout: Padded | None

    def enter(self, result: Result) -> Result:
        """Outputs (T, B, ...) and the final state as the part's cell has it."""
        outputs, final = result
        if self.layout is None:
            return outputs, final
        if runs_layers(self.subject.model):
            final = tuple(unstack(final, len(pytree.tree_leaves(final)[0])))
        return self.layout.enter(outputs), final

    def leave(self, result: Result) -> Result:
        """The opposite."""
        outputs, final = result
        if self.layout is None:
            return outputs, final
        return self.layout.leave(outputs), (
            stack(final) if runs_layers(self.subject.model) else final
        )


Answer = Callable[[Call, Result], Result]


@contextmanager
def answered(model: nn.Module, answer: Answer) -> Iterator[None]:
    """While a model's forward runs, it gets `answer(call, result)` for each recurrent part's."""
    inside: list[Any] = []

    def enter(module: nn.Module, _: tuple) -> None:
        inside.append(module)

    def leave(module: nn.Module, args: tuple, kwargs: dict[str, Any], result: Any) -> Any:
        inside.pop()
        if inside:
            return None
        call = _call_of(module, args, kwargs)
        return call.leave(answer(call, call.enter(result)))

    def heard(*given: Any) -> Any:
        if inside:
            return None
        cell, inputs, state, lengths, reset, reset_state, reverse, method, backend = given
        words = {"lengths": lengths, "reset": reset, "reset_state": reset_state, "reverse": reverse}
        inside.append(cell)
        result = unroll(cell, inputs, state, **words, method=method, backend=backend)
        inside.pop()
        return answer(Call(Subject(cell, cell, inputs, state, **words), None), result)

    parts = [part for part in model.modules() if isinstance(part, MODULES)]
    hooks = [part.register_forward_pre_hook(enter) for part in parts]
    hooks += [part.register_forward_hook(leave, with_kwargs=True) for part in parts]
    LISTENERS.append(heard)
    try:
        yield
    finally:
        LISTENERS.remove(heard)
        for hook in hooks:
            hook.remove()


def _call_of(module: Any, args: tuple, kwargs: dict[str, Any]) -> Call:
    """What a module of `bptt.nn` was called with."""
    forward = inspect.signature(module.forward)
    given = forward.bind(*args, **kwargs).arguments
    inputs, state = (given.get(name) for name in list(forward.parameters)[:2])
    if given.get("all_states"):
        raise ArgumentError(
            f"model: its {type(module).__name__} is called with all_states=True, whose states of "
            "all steps are no outputs to take a loss back from. Leave it out to inspect the model."
        )
    lengths, layout = given.get("lengths"), Padded(module.batch_first)
    if isinstance(inputs, PackedSequence):
        padded, layout = layout, Packed(inputs, module.batch_first)
        inputs, lengths = padded.leave(layout.enter(inputs)), layout.enter_lengths(lengths)
    found = of_module(module, inputs, state=state, lengths=lengths, reset=given.get("reset"))
    return Call(found, layout)
