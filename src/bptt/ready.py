"""An unroll that is ready to run: its arguments, checked, and what kernels there are for it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bptt import check, fused, numerics, plans
from bptt.again import Again
from bptt.compiler.fingerprint import Fingerprint
from bptt.course import Course
from bptt.errors import BackendError, CellError
from bptt.methods import Method
from bptt.methods.spans import Way
from bptt.plans import Entry
from bptt.replica import Replica
from bptt.step import Arguments, Leaves, Step
from bptt.structure import structure


class Ready(NamedTuple):
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

    @property
    def is_for_kernels(self) -> bool:
        """Whether kernels are to run it, if there are any for the cell.

        Raises:
            BackendError: backend="cpu", and tensors of another device.
        """
        device = self.arguments.initial[0].device
        if device.type != "cpu" and self.backend == "cpu":
            raise BackendError(
                f"backend='cpu' runs tensors of the CPU; these are on {device}. Move the inputs, "
                "the state and the cell with .cpu(), or leave `backend` out."
            )
        return self.backend != "reference" and device.type == "cpu" and self.course.batch > 0

    def find(self) -> tuple[Entry, Fingerprint]:
        """The plan of the cell's step.

        Raises:
            BackendError: backend="cpu", and no kernel can be made.
        """
        entry, found = plans.find(self.step, self.arguments)
        if entry.compiled is None and self.backend == "cpu":
            raise BackendError(f"backend='cpu': {entry.refusal}.")
        return entry, found

    def job(self, entry: Entry, found: Fingerprint) -> tuple[fused.Job, Leaves]:
        """What kernels are told to run, and its tensors, by a plan that has kernels."""
        step, course, arguments, _, method, _, seed, first, stored = self
        compiled = entry.compiled
        assert compiled is not None
        step.protocol = entry.protocol
        draws = compiled.draws.for_batch(course.batch, seed)
        counts = len(arguments.inputs), len(arguments.initial), len(arguments.fresh)
        repeat = Again(step, found.key, course, first)
        job = fused.Job(compiled, course, counts, draws, repeat, method, first, stored)
        return job, [*arguments.inputs, *arguments.initial, *arguments.fresh, *found.tensors]


def prepare(
    cell: Any,
    inputs: Any,
    state: Any,
    lengths: Tensor | Sequence[int] | None,
    reset: Tensor | None,
    reset_state: Any,
    reverse: bool,
    method: Method,
    backend: str,
) -> Ready:
    """Check the arguments of `unroll`, in their order; the cell is told that an unroll begins.

    Raises:
        What `unroll` raises before it runs.
    """
    check.not_transformed()
    check.choices(cell, method, backend)
    check.reverse(reverse)
    xs, steps, batch, device = check.inputs(inputs, cell)
    if check.has(cell, "begin"):
        cell.begin(batch)
    lengths = check.lengths(lengths, steps, batch, device) if batch else None
    reset = check.reset(reset, steps, batch, device)
    check.needs_reset(reset_state, reset)
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
    return Ready(step, course, arguments, state, method, backend)


def initial_state(cell: Any, batch_size: int) -> Any:
    """What `state=None` stands for.

    Raises:
        CellError: the cell has no `initial_state` and is none of torch.nn's.

    >>> initial_state(torch.nn.RNNCell(3, 2), 1)
    tensor([[0., 0.]])
    """
    if check.has(cell, "initial_state"):
        return cell.initial_state(batch_size)
    if isinstance(cell, nn.RNNCellBase):
        zeros = cell.weight_hh.new_zeros(batch_size, cell.hidden_size)
        return (zeros, zeros.clone()) if isinstance(cell, nn.LSTMCell) else zeros
    check.one_step(cell)
    name = type(cell).__name__ if isinstance(cell, nn.Module) else getattr(cell, "__name__", cell)
    raise CellError(
        f"state=None: {name} does not say what it starts from. Pass `state`, or give the cell a "
        "method\n\n    def initial_state(self, batch_size):\n        return "
        "torch.zeros(batch_size, self.hidden_size)\n"
    )


def _autocast_dtype(cell: Any, device: torch.device) -> torch.dtype | None:
    """What autocast's tensors are cast to: the dtype of the cell's weights."""
    if not numerics.knows_autocast(device.type) or not torch.is_autocast_enabled(device.type):
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
