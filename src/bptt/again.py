"""An unroll once more, in autograd's graph, for gradients of gradients."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptt.backends import reference
from bptt.backends.reference import Problem, Trajectory
from bptt.backends.sweeps import Sweep, add, keep, sweeps
from bptt.compiler.fingerprint import fingerprint
from bptt.course import Course
from bptt.draws import Draws
from bptt.errors import CellError
from bptt.methods.spans import Spans
from bptt.reach import CellCopy
from bptt.schedule import Schedule, select
from bptt.step import Leaves, Step

Restart = Callable[[int, Leaves], Leaves]


class Again(NamedTuple):
    """What it takes to run a step by step loop of what a kernel has run.

    Attributes:
        step: the cell as it is, with the structure of its arguments.
        key: the cell's fingerprint when it was unrolled.
        course: who steps when.
        first: the number of its first step.
    """

    step: Step
    key: tuple
    course: Course
    first: int = 0

    def differentiate(
        self,
        parts: list[Leaves],
        draws: Draws,
        adjoints: Sequence[Tensor | None],
        wanted: Sequence[bool],
        spans: Spans | None,
    ) -> list[Tensor | None]:
        """The gradients of an unroll, in autograd's graph.

        Args:
            parts: inputs, state, fresh state and fixed tensors.
            draws: the random numbers of the call.
            adjoints: dE/d(outputs) and dE/d(final state).
            wanted: for each tensor of the parts, whether its gradient is.
            spans: how far each loss goes back; None: to the first step.

        Raises:
            CellError: the cell is not what it was.
        """
        ends = list(itertools.accumulate(len(part) for part in parts))
        schedule = Schedule.of(self.course)

        def views() -> Leaves:
            return [leaf.view_as(leaf) for part in parts for leaf in part]

        def run(taken: Leaves, restart: Restart | None) -> Trajectory:
            inputs, initial, fresh, own = (
                taken[end - len(part) : end] for end, part in zip(ends, parts, strict=True)
            )
            step = self.step.bind(self._cell(own))
            problem = Problem(step, schedule, draws, offset=self.first)
            return reference.forward(problem, inputs, initial, fresh, restart=restart)

        return differentiate(run, views, adjoints, wanted, schedule, spans)

    def _cell(self, tensors: Leaves) -> Any:
        """The cell with these tensors for its own."""
        found = fingerprint(self.step.cell)
        if found.key != self.key:
            raise CellError(
                "The cell has changed since bptt.unroll ran it, so a gradient of its gradient "
                "would be of another function. Differentiate before changing the cell."
            )
        given = {id(own): tensor for own, tensor in zip(found.tensors, tensors, strict=True)}
        return CellCopy(self.step.cell, lambda tensor: given.get(id(tensor), tensor)).cell


def differentiate(
    run: Callable[[Leaves, Restart | None], Trajectory],
    views: Callable[[], Leaves],
    adjoints: Sequence[Tensor | None],
    wanted: Sequence[bool],
    schedule: Schedule,
    spans: Spans | None,
) -> list[Tensor | None]:
    """The gradients of an unroll to those of its tensors that are wanted, in autograd's graph.

    Where a run back ends before the first step, the state that it ends at is a constant to the
    gradient, but not to the gradient's own: so it comes from an unroll on other views of the
    tensors than those that the gradient is taken to.

    Args:
        run: an unroll on views of its tensors.
        views: makes those, so that hooks on the caller's tensors run in the outer pass.
        adjoints: dE/d(outputs) and dE/d(final state).
        wanted: for each tensor, whether its gradient is.
        schedule: who steps when.
        spans: how far each loss goes back; None: to the first step.
    """
    with torch.enable_grad():
        taken = views()
        whole = run(taken, None)
        if spans is None:
            return _pull(whole, taken, adjoints, wanted)
        states = _by_step(whole, schedule)
        total: list[Tensor | None] = [None] * len(wanted)
        for sweep in sweeps(spans, schedule.steps, schedule.batch):
            taken = views()
            trajectory = run(taken, _restart(sweep, states))
            entering = _entering(sweep, schedule, adjoints, len(trajectory.outputs))
            found = _pull(trajectory, taken, entering, wanted)
            total = [add(a, b) for a, b in zip(total, found, strict=True)]
        return total


def _by_step(trajectory: Trajectory, schedule: Schedule) -> Callable[[int], Leaves]:
    """The states after a step."""
    columns = [
        schedule.adjoints(trajectory.outputs[leaf]) if isinstance(leaf, int) else leaf.unbind(0)
        for leaf in trajectory.states
    ]
    return lambda p: [column[p] for column in columns]


def _restart(sweep: Sweep, states: Callable[[int], Leaves]) -> Restart:
    """The state where a run back ends, for the step that it ends with."""

    def restart(p: int, state: Leaves) -> Leaves:
        cut = sweep.cuts[p]
        if cut is None:
            return state
        return [select(cut, new, old) for new, old in zip(states(p - 1), state, strict=True)]

    return restart


def _entering(
    sweep: Sweep, schedule: Schedule, adjoints: Sequence[Tensor | None], outputs: int
) -> list[Tensor | None]:
    """The adjoints that enter in one sweep."""
    masks = schedule.to_time(torch.stack([mask for mask in sweep.losses if mask is not None]))
    return [
        keep(masks if i < outputs else sweep.final, adjoint) for i, adjoint in enumerate(adjoints)
    ]


def _pull(
    trajectory: Trajectory,
    leaves: Leaves,
    adjoints: Sequence[Tensor | None],
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    pairs = [
        (result, adjoint)
        for result, adjoint in zip([*trajectory.outputs, *trajectory.final], adjoints, strict=True)
        if adjoint is not None and result.requires_grad
    ]
    indices = [index for index, needed in enumerate(wanted) if needed]
    gradients: list[Tensor | None] = [None] * len(leaves)
    if pairs and indices:
        roots, seeds = zip(*pairs, strict=True)
        targets = [leaves[index] for index in indices]
        found = torch.autograd.grad(roots, targets, seeds, create_graph=True, allow_unused=True)
        for index, gradient in zip(indices, found, strict=True):
            gradients[index] = gradient
    return gradients
