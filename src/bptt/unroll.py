"""The front door: checks what it is given, makes the step and the schedule, calls the engine."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bptt import check, engine, finite, fused, numerics, plans
from bptt.again import Again
from bptt.compiler.fingerprint import Fingerprint
from bptt.course import Course
from bptt.draws import Draws
from bptt.errors import BackendError, CellError
from bptt.listeners import LISTENERS
from bptt.methods import Full, Method
from bptt.methods.spans import Way
from bptt.plans import Entry
from bptt.replica import Replica
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
        ArgumentError: (a ValueError) a shape, dtype, device or value that does not fit.
        StructureError: (a TypeError) a state or result of another structure than needed.
        CellError: (a TypeError) a cell that does not keep the protocol of a step.
        BackendError: (a RuntimeError) a backend that is not here.

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
    for tell in LISTENERS:
        tell(*given)
    ready = _ready(*given)
    return _watched(ready, given) if finite.detecting() else _finish(ready, *given[:2])


def _watched(ready: "_Ready", given: Sequence[Any]) -> tuple[Any, Any]:
    """The same, which stops where a number is not finite."""
    cell, inputs, course = given[0], given[1], ready.course
    added = finite.zeros(inputs, ready.state, cell)
    step = Step(finite.Watched(cell), structure((inputs, added)), structure(ready.state))
    arguments = ready.arguments._replace(inputs=[*ready.arguments.inputs, *added])
    watched = ready._replace(step=step, arguments=arguments)
    (outputs, states), final = _finish(watched, cell, inputs)
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
    ready = _ready(*given)._replace(method=method, seed=seed, first=first, stored=stored)
    return _watched(ready, given) if finite.detecting() else _finish(ready, *given[:2])


def _finish(ready: "_Ready", cell: Any, inputs: Any) -> tuple[Any, Any]:
    device = ready.arguments.inputs[0].device
    with numerics.autocast_off(device.type):
        try:
            outputs, final = _run(ready)
        except (RuntimeError, TypeError, AttributeError, LookupError) as error:
            check.explain(error, cell, inputs, ready.state, ready.arguments, _own_start)
            raise
    return ready.step.unflatten(outputs, final)


class _Ready(NamedTuple):
    """An unroll's arguments, checked.

    Attributes:
        step: the cell as a step.
        course: who steps when.
        arguments: the leaves of inputs, state and fresh state.
        state: the state as given, or what the cell starts from.
        backend: as given.
        seed: of the random numbers; None: taken from torch's generator when first needed.
        first: the number of the first step, where it is a part of a longer unroll.
        stored: states that steps start from, in place of what the steps before them give.
    """

    step: Step
    course: Course
    arguments: Arguments
    state: Any
    method: Way
    backend: str
    seed: int | None = None
    first: int = 0
    stored: Leaves | None = None


def _ready(
    cell: Any,
    inputs: Any,
    state: Any,
    lengths: Tensor | Sequence[int] | None,
    reset: Tensor | None,
    reset_state: Any,
    reverse: bool,
    method: Method,
    backend: str,
) -> _Ready:
    check.not_transformed()
    check.choices(cell, method, backend)
    check.reverse(reverse)
    xs, steps, batch, device = check.inputs(inputs, cell)
    if hasattr(cell, "begin"):
        cell.begin(batch)
    lengths = check.lengths(lengths, steps, batch, device) if batch else None
    reset = check.reset(reset, steps, batch, device)
    dtype = _autocast_dtype(cell, device)
    with numerics.autocast_off(device.type):
        needs_fresh = state is None or (reset is not None and reset_state is None)
        fresh = initial_state(cell, batch) if needs_fresh else None
        state = fresh if state is None else state
        initial = check.state(state, batch, device)
        restart: Leaves = []
        if reset is not None:
            restart = check.reset_state(fresh if reset_state is None else reset_state, state, batch)
        arguments = _cast(Arguments(xs, initial, restart), dtype)
    step = Step(cell, structure(inputs), structure(state))
    course = Course(steps, batch, lengths, reset, reverse)
    return _Ready(step, course, arguments, state, method, backend)


def find_plan(*given: Any) -> tuple[Entry | None, Leaves]:
    """The plan of an unroll with these arguments, and the tensors of its cell; None for none."""
    ready = _ready(*given)
    if ready.backend == "reference" or not _is_for_kernels(ready):
        return None, []
    entry, found = _find(ready)
    return entry, found.tensors


def initial_state(cell: Any, batch_size: int) -> Any:
    """What `state=None` stands for.

    Raises:
        CellError: the cell has no `initial_state` and is none of torch.nn's.

    >>> initial_state(torch.nn.RNNCell(3, 2), 1)
    tensor([[0., 0.]])
    """
    if hasattr(cell, "initial_state"):
        return cell.initial_state(batch_size)
    if isinstance(cell, nn.RNNCellBase):
        zeros = cell.weight_hh.new_zeros(batch_size, cell.hidden_size)
        return (zeros, zeros.clone()) if isinstance(cell, nn.LSTMCell) else zeros
    name = type(cell).__name__ if isinstance(cell, nn.Module) else getattr(cell, "__name__", cell)
    raise CellError(
        f"state=None: {name} does not say what it starts from. Pass `state`, or give the cell a "
        "method\n\n    def initial_state(self, batch_size):\n        return "
        "torch.zeros(batch_size, self.hidden_size)\n"
    )


def _run(ready: _Ready) -> tuple[Leaves, Leaves]:
    step, course, arguments, _, method, backend, seed, first, stored = ready
    if not course.steps or (course.lengths is not None and not bool(course.lengths.any())):
        return _no_steps(step, course, arguments), [leaf.clone() for leaf in arguments.initial]
    if backend != "reference" and _is_for_kernels(ready):
        entry, found = _find(ready)
        if entry.compiled is not None:
            return _run_fused(ready, entry, found)
        plans.warn(entry)
    return engine.run(step, course, arguments, method, seed, first, stored)


def _is_for_kernels(ready: _Ready) -> bool:
    device = ready.arguments.initial[0].device
    if device.type != "cpu" and ready.backend == "cpu":
        raise BackendError(
            f"backend='cpu' runs tensors of the CPU; these are on {device}. Move the inputs, the "
            "state and the cell with .cpu(), or leave `backend` out."
        )
    return device.type == "cpu" and ready.course.batch > 0


def _find(ready: _Ready) -> tuple[Entry, Fingerprint]:
    entry, found = plans.find(ready.step, ready.arguments)
    if entry.compiled is None and ready.backend == "cpu":
        raise BackendError(f"backend='cpu': {entry.refusal}.")
    return entry, found


def _run_fused(ready: _Ready, entry: Entry, found: Fingerprint) -> tuple[Leaves, Leaves]:
    step, course, arguments, _, method, _, seed, first, stored = ready
    compiled = entry.compiled
    assert compiled is not None
    step.protocol = entry.protocol
    draws = compiled.draws.for_batch(course.batch, seed)
    counts = len(arguments.inputs), len(arguments.initial), len(arguments.fresh)
    repeat = Again(step, found.key, course, first)
    job = fused.Job(compiled, course, counts, draws, repeat, method, first, stored)
    return fused.run(job, [*arguments.inputs, *arguments.initial, *arguments.fresh, *found.tensors])


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


def _autocast_dtype(cell: Any, device: torch.device) -> torch.dtype | None:
    """What autocast's tensors are cast to: the dtype of the cell's weights."""
    known = torch.amp.autocast_mode.is_autocast_available(device.type)
    if not known or not torch.is_autocast_enabled(device.type):
        return None
    floating = (weight.dtype for weight in Replica(cell).weights if weight.is_floating_point())
    return next(floating, None)


def _cast(arguments: Arguments, dtype: torch.dtype | None) -> Arguments:
    if dtype is None:
        return arguments
    return Arguments(
        *(
            [leaf.to(dtype) if leaf.is_floating_point() else leaf for leaf in leaves]
            for leaves in arguments
        )
    )
