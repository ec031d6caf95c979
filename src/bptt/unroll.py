"""The front door: prepares what it is given, and calls the kernels or the engine."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bptt import cause, engine, finite, fused, numerics, plans
from bptt.course import Course
from bptt.draws import Draws
from bptt.listeners import LISTENERS
from bptt.methods import Full, Method
from bptt.methods.spans import Way
from bptt.plans import Entry
from bptt.ready import Ready, initial_state, prepare
from bptt.step import Arguments, Leaves, Step, check_leaves
from bptt.structure import structure


def unroll(
    cell: Any,
    inputs: Any,
    state: Any = None,
    *,
    lengths: Tensor | Sequence[int] | None = None,
    reset: Tensor | None = None,
    reset_state: Any = None,
    reverse: bool = False,
    method: Method = Full(),  # noqa: B008  frozen: the same value for every call
    backend: str = "auto",
) -> tuple[Any, Any]:
    """Run a recurrent cell over a sequence, with back-propagation through time behind it.

    Args:
        cell: `cell(x_t, state) -> state` or `cell(x_t, state) -> (y_t, state)`: torch.nn's own
            cells, one of `bptt.cells`, or any module or function of yours. A cell with
            `begin(batch_size)` is told when an unroll begins.
        inputs: (T, B, ...) tensor, or a pytree of them. x_t is (B, ...).
        state: s_0, a tensor (B, ...) or a pytree of them. None: the cell's
            `initial_state(batch_size)`, or zeros for torch.nn's cells.
        lengths: (B,) integers from 0 to T: steps that count, per sequence. Beyond, the state stays
            as it was, outputs are zero, and what the padding holds (NaN too) is not looked at.
        reset: (T, B) bool: start afresh before this step; the gradient is cut exactly there.
        reset_state: what to start afresh from, leaves broadcastable to (B, ...), with gradient.
            None: what state=None would give.
        reverse: run from each sequence's last live step to its first.
        method: how the gradient goes back through time: exactly (`bptt.Full()`), exactly
            within a memory budget (`bptt.Checkpointed("64MB")`), or a number of steps
            (`bptt.Truncated(k1, k2)`).
        backend: "auto", "cpu" (kernels) or "reference" (step by step). "auto" runs kernels where it
            can, and says so once where it cannot.

    Returns:
        Outputs, (T, B, ...) per leaf (the state's first leaf where the cell returns its state
        alone), and the final state, (B, ...) per leaf.

    Raises:
        ArgumentError: (a ValueError) a shape, dtype, device or value that does not fit, or a
            `reset_state` without `reset`.
        StructureError: (a TypeError) a state or result of another structure than needed.
        CellError: (a TypeError) a cell that does not keep the protocol of a step.
        BackendError: (a RuntimeError) a backend that is not here; a transform of torch.func,
            forward-mode differentiation or, going back, several gradients at once.

    Random operations in a step are drawn anew at each step; one seed per call is taken from torch's
    generator, so `torch.manual_seed` makes a call repeatable. Autocast is off inside.

    Source: Werbos 1990, "Backpropagation through time: what it does and how to do it".

    >>> import torch, bptt
    >>> cell = torch.nn.GRUCell(3, 5)
    >>> outputs, state = bptt.unroll(cell, torch.randn(7, 2, 3), lengths=[7, 4])
    >>> outputs.shape, state.shape
    (torch.Size([7, 2, 5]), torch.Size([2, 5]))
    >>> outputs[-1].square().sum().backward()  # the loss at the last time alone
    >>> cell.weight_hh.grad.shape
    torch.Size([15, 5])
    """
    given = (cell, inputs, state, lengths, reset, reset_state, reverse, method, backend)
    if torch.compiler.is_compiling():
        return _uncompiled(*given)
    return _unroll(*given)


@torch._disable_dynamo
def _uncompiled(*given: Any) -> tuple[Any, Any]:
    """What torch.compile sees of an unroll: one call that it leaves alone."""
    return _unroll(*given)


def _unroll(*given: Any) -> tuple[Any, Any]:
    for tell in tuple(LISTENERS):
        answer = tell(*given)
        if answer is not None:
            return answer
    ready = prepare(*given)
    return _watched(ready, given) if finite.detecting() else finish(ready, *given[:2])


def _watched(ready: Ready, given: Sequence[Any]) -> tuple[Any, Any]:
    """The same, which stops where a number is not finite."""
    cell, inputs, course = given[0], given[1], ready.course
    added = finite.zeros(inputs, ready.state, cell)
    step = Step(finite.Watched(cell), structure((inputs, added)), structure(ready.state))
    arguments = ready.arguments._replace(inputs=[*ready.arguments.inputs, *added])
    watched = ready._replace(step=step, arguments=arguments)
    (outputs, states), final = finish(watched, cell, inputs)
    finite.check_forward(outputs, states, inputs, course, ready.first)
    finite.check_on_the_way_back(added, course, ready.first)
    return outputs, final


def unroll_window(
    given: Sequence[Any], method: Way, seed: int, first: int, stored: Leaves | None
) -> tuple[Any, Any]:
    """A part of a longer unroll.

    Args:
        given: the arguments of `unroll`, in their order.
        method: in place of that among them.
        seed: of the longer unroll's random numbers.
        first: the number of the part's first step.
        stored: (n, B, ...) per leaf: the states that the first n steps start from, whatever the
            steps before them give; None: the state alone.
    """
    ready = prepare(*given)._replace(method=method, seed=seed, first=first, stored=stored)
    return _watched(ready, given) if finite.detecting() else finish(ready, *given[:2])


def finish(ready: Ready, cell: Any, inputs: Any) -> tuple[Any, Any]:
    """Run what is ready: outputs and final state, as `unroll` returns them.

    `cell` and `inputs` are what errors speak of.
    """
    device = ready.arguments.inputs[0].device
    with numerics.autocast_off(device.type):
        try:
            outputs, final = _run(ready)
        except (RuntimeError, TypeError, AttributeError, LookupError) as error:
            cause.explain(error, cell, inputs, ready.state, ready.arguments, _own_start)
            raise
    return ready.step.unflatten(outputs, final)


def find_plan(*given: Any) -> tuple[Entry | None, Leaves]:
    """The plan of an unroll with these arguments, and the tensors of its cell; None for none."""
    ready = prepare(*given)
    if not ready.is_for_kernels:
        return None, []
    entry, found = ready.find()
    return entry, found.tensors


def _run(ready: Ready) -> tuple[Leaves, Leaves]:
    step, course, arguments, _, method, _, seed, first, stored = ready
    if not course.steps or (course.lengths is not None and not any(course.numbers)):
        return _no_steps(step, course, arguments), [leaf.clone() for leaf in arguments.initial]
    if ready.is_for_kernels:
        entry, found = ready.find()
        if entry.compiled is not None:
            return fused.run(*ready.job(entry, found))
        plans.warn(entry)
    return engine.run(step, course, arguments, method, seed, first, stored)


def _no_steps(step: Step, course: Course, arguments: Arguments) -> Leaves:
    """Zeros in the shape of the outputs, found by one step on inputs of zeros."""
    x = [leaf.new_zeros(course.batch, *leaf.shape[2:]) for leaf in arguments.inputs]
    with torch.no_grad(), Draws():
        outputs, state = step(x, arguments.initial)
    check_leaves(outputs, state, arguments.initial, course.batch)
    return [leaf.new_zeros(course.steps, *leaf.shape) for leaf in outputs]


def _own_start(cell: Any) -> Any:
    """What a cell starts from, for one sequence; None if it does not say."""
    says = hasattr(cell, "initial_state") or isinstance(cell, nn.RNNCellBase)
    return initial_state(cell, 1) if says else None
