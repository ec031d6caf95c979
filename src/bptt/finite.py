"""Where NaN or infinity comes up: in which step, of which sequence, in which unit.

The cell is run by one that does the same, shows its state at every step, and adds to it an input of
zeros. The gradient of that input is what the error leaves at the state, dE/ds_t, whatever backend
and method find it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import register_multi_grad_hook

from bptt.compiler.fingerprint import fingerprint
from bptt.course import Course
from bptt.errors import NonFiniteError
from bptt.step import read_protocol
from bptt.structure import leaves_of, structure

LARGE = 1e15  # what a float32 overflows from in a few steps of a network that explodes
_DETECTING: ContextVar[bool] = ContextVar("detecting", default=False)


@contextmanager
def detect_nonfinite() -> Iterator[None]:
    """Within it, `unroll` stops at the first NaN or infinity, and says where that is.

    It holds for every cell, backend and method, for the modules of `bptt.nn` and for streams: for
    the way forward, and for the way back of what was run forward within it. It keeps the state and
    its adjoint at every step, so it is for finding a fault and not for every day.

    Raises, where it holds:
        NonFiniteError: (an ArithmeticError) with the `step`, `sequence` and `unit`.

    >>> import torch, bptt
    >>> def cell(x, h):
    ...     return h * x
    >>> with bptt.detect_nonfinite():
    ...     bptt.unroll(cell, torch.full((9, 1, 2), 1e10), torch.ones(1, 2))
    Traceback (most recent call last):
    bptt.errors.NonFiniteError: the state is infinite at step 3 of sequence 0, in unit 0...
    """
    before = _DETECTING.set(True)
    try:
        yield
    finally:
        _DETECTING.reset(before)


def detecting() -> bool:
    """Whether unrolls are watched."""
    return _DETECTING.get()


class Watched(nn.Module):
    """A cell that shows its state, and adds zeros to it: x_t is (the cell's x_t, the zeros)."""

    def __init__(self, cell: Any) -> None:
        super().__init__()
        self.cell = cell

    def initial_state(self, batch_size: int) -> Any:
        return self.cell.initial_state(batch_size)

    def forward(self, x: tuple[Any, tuple[Tensor, ...]], state: Any) -> tuple[Any, Any]:
        layout = structure(state)
        result = self.cell(x[0], state)
        bare = read_protocol(result, layout).bare
        own, after = (None, result) if bare else result
        zeros = iter(x[1])
        leaves = [
            s + next(zeros) if s.is_floating_point() else s for s in layout.flatten(after) or ()
        ]
        return (leaves[0] if bare else own, tuple(leaves)), layout.unflatten(leaves)


def zeros(inputs: Any, state: Any, cell: Any) -> tuple[Tensor, ...]:
    """What is added to a state at each step: (T, B, ...) per leaf that has a gradient."""
    steps = leaves_of(inputs)[0].shape[0]
    given = (*leaves_of(inputs), *leaves_of(state), *fingerprint(cell).tensors)
    needed = torch.is_grad_enabled() and any(leaf.requires_grad for leaf in given)
    real = (leaf for leaf in leaves_of(state) if leaf.is_floating_point())
    return tuple(leaf.new_zeros(steps, *leaf.shape).requires_grad_(needed) for leaf in real)


class Place(NamedTuple):
    """Where a number stands in a (T, B, ...) tensor."""

    step: int
    sequence: int
    unit: tuple[int, ...]


def check_forward(
    outputs: Any, states: Sequence[Tensor], inputs: Any, course: Course, start: int
) -> None:
    """All states and outputs are finite.

    Args:
        outputs: of all steps, as a pytree.
        states: per leaf of the state, after each step.
        inputs: of all steps, as a pytree.
        course: who steps when.
        start: the number of the first step.

    Raises:
        NonFiniteError: one is not; the first step at which that is so, as steps are processed.
    """
    for name, leaves in (("state", states), ("output", leaves_of(outputs))):
        found = _first(leaves, course, last=False)
        if found is not None:
            number, place = found
            there = [leaf[place.step, place.sequence] for leaf in leaves_of(inputs)]
            if not all(bool(leaf.isfinite().all()) for leaf in there):
                advice = "The input there is not finite: fill or drop what is missing in the data"
            else:
                advice = _forward_advice(_beside(leaves[number], place, course, -1))
            raise _error(name, number, leaves, place, advice, start)


def _forward_advice(before: float | None) -> str:
    if before is not None and before > LARGE:
        return (
            f"A step before it is up to {before:.2g}, so it grows from step to step: make the "
            "recurrent weights smaller, or bound the state (tanh, a gate, layer norm)"
        )
    return (
        "The input there is finite, and so is the state before, so it comes about in the step: "
        "look there for a division, a logarithm, a root or an exponential, and at the weights"
    )


def check_on_the_way_back(zeros: tuple[Tensor, ...], course: Course, start: int) -> None:
    """All of dE/ds_t is finite: told when it has been found.

    Raises, in the backward pass:
        NonFiniteError: one is not; the first step at which that is so, as the error goes back.
    """

    def check(gradients: Sequence[Tensor | None]) -> None:
        adjoints = [g for g in gradients if g is not None]
        found = _first(adjoints, course, last=True)
        if found is not None:
            number, place = found
            advice = _backward_advice(_beside(adjoints[number], place, course, 1))
            raise _error("error's gradient dE/ds_t", number, adjoints, place, advice, start)

    if any(leaf.requires_grad for leaf in zeros):
        register_multi_grad_hook(zeros, check)


def _backward_advice(after: float | None) -> str:
    if after is None:
        return "It comes so from the loss: look at how that is made of the outputs"
    if after > LARGE:
        return (
            f"A step later it is up to {after:.2g}, so it grows from step to step on its way back: "
            "go back fewer steps (bptt.Truncated), or make the recurrent weights smaller. Clipping "
            "the gradient of the weights comes too late for this"
        )
    return (
        f"A step later it is {after:.2g} at most, so a derivative of the step, or the loss's at "
        "that step, is not finite: look for a root or a norm at 0, or a division"
    )


def _beside(leaf: Tensor, place: Place, course: Course, way: int) -> float | None:
    """The largest number a step before, or after, as steps are processed; None for no such step."""
    step = place.step + (-way if course.reverse else way)
    if not 0 <= step < int(course.counts[place.sequence]):
        return None
    return float(leaf.detach()[step, place.sequence].abs().max())


def _first(leaves: Sequence[Tensor], course: Course, last: bool) -> tuple[int, Place] | None:
    """The leaf and place of the first number, or the last, that is not finite."""
    best: tuple[int, int, Place] | None = None
    for number, leaf in enumerate(leaves):
        wrong = (~leaf.detach().isfinite()).nonzero() if leaf.is_floating_point() else leaf[:0]
        if not len(wrong):
            continue
        order = _processed(wrong[:, 0], wrong[:, 1], course)
        order = -order if last else order
        row = int(order.argmin())
        step, sequence, *unit = wrong[row].tolist()
        if best is None or int(order[row]) < best[0]:
            best = int(order[row]), number, Place(step, sequence, tuple(unit))
    return None if best is None else best[1:]


def _processed(step: Tensor, sequence: Tensor, course: Course) -> Tensor:
    """The numbers of steps in the order in which a sequence goes through them."""
    return course.counts[sequence] - 1 - step if course.reverse else step


def _error(
    name: str, number: int, leaves: Sequence[Tensor], place: Place, advice: str, start: int
) -> NonFiniteError:
    value = leaves[number].detach()[(place.step, place.sequence, *place.unit)]
    kind = "NaN" if bool(value.isnan()) else "infinite"
    unit = place.unit[0] if len(place.unit) == 1 else place.unit
    of = f" of its leaf {number}" if len(leaves) > 1 else ""
    step = start + place.step
    return NonFiniteError(
        f"the {name} is {kind} at step {step} of sequence {place.sequence}, in unit {unit}{of}, "
        f"all counted from 0. {advice}.",
        step,
        place.sequence,
        place.unit,
    )
