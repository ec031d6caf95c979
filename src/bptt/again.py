"""An unroll once more, in autograd's graph, for gradients of gradients."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptt.backends import reference
from bptt.backends.reference import Problem
from bptt.compiler.fingerprint import fingerprint
from bptt.draws import Draws
from bptt.errors import CellError
from bptt.reach import CellCopy
from bptt.schedule import Schedule
from bptt.step import Leaves, Step


class Again(NamedTuple):
    """What it takes to run a step by step loop of what a kernel has run.

    Attributes:
        step: the cell as it is, with the structure of its arguments.
        key: the cell's fingerprint when it was unrolled.
        schedule: the arguments of the `Schedule`.
    """

    step: Step
    key: tuple
    schedule: tuple

    def differentiate(
        self,
        parts: list[Leaves],
        draws: Draws,
        adjoints: Sequence[Tensor | None],
        wanted: Sequence[bool],
    ) -> list[Tensor | None]:
        """The gradients of an unroll, in autograd's graph.

        Args:
            parts: inputs, state, fresh state and fixed tensors.
            draws: the random numbers of the call.
            adjoints: dE/d(outputs) and dE/d(final state).
            wanted: for each tensor of the parts, whether its gradient is.

        Raises:
            CellError: the cell is not what it was.
        """
        with torch.enable_grad():
            # Views, so that hooks on the caller's tensors run when the outer pass reaches them.
            views = [[leaf.view_as(leaf) for leaf in part] for part in parts]
            problem = Problem(self.step.bind(self._cell(views[3])), Schedule(*self.schedule), draws)
            trajectory = reference.forward(problem, views[0], views[1], views[2])
        results = [*trajectory.outputs, *trajectory.final]
        flat = [view for part in views for view in part]
        return differentiate(results, flat, adjoints, wanted)

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
    results: Leaves, leaves: Leaves, adjoints: Sequence[Tensor | None], wanted: Sequence[bool]
) -> list[Tensor | None]:
    """The gradient to those of the leaves that are wanted, in autograd's graph."""
    pairs = [
        (result, adjoint)
        for result, adjoint in zip(results, adjoints, strict=True)
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
