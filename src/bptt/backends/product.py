"""The vector-Jacobian product of one step, and the sum over steps of each weight's share of it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bptt import edges
from bptt.errors import CellError
from bptt.step import Leaves, Step


class VectorJacobian:
    """`product(x, s, dy, ds) -> (dx, ds_before)`; what falls to the weights adds up inside.

    Args:
        step: the step, whose weights are leaves.
        weights: every tensor that the step reaches otherwise than by argument.
        wanted: per leaf of the inputs, whether its gradient is needed.
    """

    def __init__(self, step: Step, weights: Leaves, wanted: Sequence[bool]) -> None:
        self._step, self._weights, self._wanted = step, weights, wanted
        self._known = {id(weight) for weight in weights}
        self._totals: list[Tensor | None] = [None] * len(weights)
        self._last = self._nodes = 0

    def __call__(
        self,
        inputs: Leaves,
        state: Leaves,
        d_outputs: Sequence[Tensor | None],
        d_state: Sequence[Tensor | None],
    ) -> tuple[list[Tensor | None], list[Tensor | None]]:
        inputs = [_leaf(leaf, wanted) for leaf, wanted in zip(inputs, self._wanted, strict=True)]
        state = [_leaf(leaf, leaf.is_floating_point() or leaf.is_complex()) for leaf in state]
        with torch.enable_grad():
            outputs, new = self._step(inputs, state)
        roots, seeds = [], []
        for root, seed in zip(outputs + new, [*d_outputs, *d_state], strict=True):
            if seed is not None and root.requires_grad:
                roots.append(root)
                seeds.append(seed)
        targets = [leaf for leaf in inputs + state if leaf.requires_grad]
        if not roots or not targets + self._weights:
            return [None] * len(inputs), [None] * len(state)
        self._check(roots, targets)
        found = torch.autograd.grad(roots, targets + self._weights, seeds, allow_unused=True)
        self._accumulate(found[len(targets) :])
        gradients = iter(found[: len(targets)])
        back = [next(gradients) if leaf.requires_grad else None for leaf in inputs + state]
        return back[: len(inputs)], back[len(inputs) :]

    def _accumulate(self, shares: Sequence[Tensor | None]) -> None:
        totals, added = [], []
        for index, share in enumerate(shares):
            total = self._totals[index]
            if share is None:
                continue
            if total is None:
                self._totals[index] = share.clone()  # it may be the very seed of another step
            else:
                totals.append(total)
                added.append(share)
        if totals:
            torch._foreach_add_(totals, added)

    def _check(self, roots: Leaves, targets: Leaves) -> None:
        """No step reaches a weight that the first one did not: its gradient would be lost.

        Walking the graph costs as much as an operation or two, so it is done for the first step and
        whenever a step makes another number of nodes than the step before it did.
        """
        last = max((root.grad_fn._sequence_nr() for root in roots if root.grad_fn), default=0)
        nodes, self._last = last - self._last, last
        if nodes == self._nodes:
            return
        self._nodes = nodes
        known = self._known | {id(leaf) for leaf in targets}
        for leaf in edges.leaves_of(roots, since=0):
            if id(leaf) not in known:
                raise CellError(
                    f"A step reaches a tensor of shape {tuple(leaf.shape)} that the first step did "
                    "not, and that bptt cannot find in the cell, so its gradient would be lost. "
                    "Make it an attribute of the cell's module, or close over it."
                )

    def weights_gradient(self) -> list[Tensor | None]:
        """The sum over all steps so far, per weight; None where no step uses it."""
        return self._totals


def _leaf(tensor: Tensor, wanted: bool) -> Tensor:
    return tensor.detach().requires_grad_() if wanted else tensor
