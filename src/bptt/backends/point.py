"""A step that has been run so that it can be differentiated for many adjoints at once."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptt.backends.product import Found, is_real
from bptt.draws import Draws
from bptt.step import Leaves

Run = Callable[[Leaves, Leaves], tuple[Leaves, Leaves]]  # from inputs and state, as a Step does


class Shares(NamedTuple):
    """What n adjoints of one step become: (n, ...) per leaf."""

    inputs: Found
    state: Found
    weights: Found


class Point:
    """A step, run so that it can be differentiated.

    Args:
        step: the cell as a step.
        inputs, before: x_t and s_{t-1}, (B, ...) per leaf.
        gradient: whether the inputs' gradient is wanted.
        draws: the random numbers, told which step it is.
    """

    def __init__(
        self, step: Run, inputs: Leaves, before: Leaves, gradient: bool, draws: Draws
    ) -> None:
        self._x = [leaf.detach().requires_grad_(gradient and is_real(leaf)) for leaf in inputs]
        self._before = [leaf.detach().requires_grad_(is_real(leaf)) for leaf in before]
        with torch.enable_grad(), draws:
            self.outputs, self.after = step(self._x, self._before)

    @property
    def given(self) -> Leaves:
        """The inputs and the state that it starts from."""
        return [*self._x, *self._before]

    def pull(self, seeds: Found, weights: Leaves) -> Shares:
        """The vector-Jacobian product for n seeds, (n, B, ...) per output and leaf of the state."""
        pairs = _pairs([*self.outputs, *self.after], seeds)
        found = pulled(pairs, [*self.given, *weights])
        x, given = len(self._x), len(self.given)
        return Shares(found[:x], found[x:given], found[given:])

    def direct(self, losses: Found) -> Found:
        """What reaches the new state from the outputs of the same step, leaves held apart.

        The gradient is caught at each leaf and does not go on from there into another one.
        """
        caught: dict[int, Tensor] = {}

        def catch(leaf: Tensor) -> Any:
            def hook(gradient: Tensor) -> Tensor:
                caught[id(leaf)] = gradient
                return torch.zeros_like(gradient)

            return leaf.register_hook(hook)

        leaves = {id(leaf): leaf for leaf in self.after if leaf.requires_grad}
        pairs = _pairs(self.outputs, losses)
        if pairs and leaves:
            hooks = [catch(leaf) for leaf in leaves.values()]
            roots, seeds = zip(*pairs, strict=True)
            targets = list(leaves.values())
            torch.autograd.grad(roots, targets, seeds, retain_graph=True, allow_unused=True)
            for hook in hooks:
                hook.remove()
        return [caught.pop(id(leaf), None) for leaf in self.after]


def _pairs(roots: Sequence[Tensor], seeds: Found) -> list[tuple[Tensor, Tensor]]:
    """Roots that have a gradient, with what reaches them."""
    both = zip(roots, seeds, strict=True)
    return [(root, seed) for root, seed in both if seed is not None and root.requires_grad]


def pulled(pairs: Sequence[tuple[Tensor, Tensor]], targets: Sequence[Tensor]) -> Found:
    """The gradients to the targets, (n, ...) each, from n seeds of each root at once."""
    found: Found = [None] * len(targets)
    wanted = [index for index, target in enumerate(targets) if target.requires_grad]
    if not pairs or not wanted:
        return found
    roots, seeds = zip(*pairs, strict=True)
    gradients = _batched(roots, [targets[index] for index in wanted], seeds)
    for index, gradient in zip(wanted, gradients, strict=True):
        found[index] = gradient
    return found


def _batched(roots: Sequence[Tensor], targets: Leaves, seeds: Sequence[Tensor]) -> Found:
    """One batched backward pass, or n of them where torch cannot batch one of its operations."""
    given: dict[str, Any] = {"retain_graph": True, "allow_unused": True}
    try:
        return list(torch.autograd.grad(roots, targets, seeds, is_grads_batched=True, **given))
    except RuntimeError:  # vmap's; one of the operation's own comes again below
        rows = zip(*seeds, strict=True)
        found = [torch.autograd.grad(roots, targets, row, **given) for row in rows]
    return [None if some[0] is None else torch.stack(some) for some in zip(*found, strict=True)]
