"""The adjoints of many loss times at once, each for itself, step by step.

A backward pass sums what all losses leave at a step. Here E_t's adjoint enters at step t, and at
step k the vector-Jacobian product of one step is taken for every t that has entered, in one batched
call. So each pair (t, k) has its own dE_t/ds_k, its own dE_t/dx_k, and its own term of dE_t/dW,
which step k's use of W contributes.

Steps are counted in time, in reverse too: so sequences of unlike lengths meet at the same step. The
state that a sequence or an episode starts from belongs to the step that starts from it.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptt.backends.product import Found, is_real
from bptt.backends.sweeps import add
from bptt.course import Course
from bptt.draws import Draws
from bptt.replica import Replica
from bptt.step import Leaves, Step


class Passage(NamedTuple):
    """An unroll that has been run once.

    Attributes:
        step: the cell as a step, of a replica.
        replica: the cell with its weights as leaves of their own.
        course: who steps when.
        draws: the random numbers of the run.
        inputs: (T, B, ...) per leaf.
        before: (T, B, ...) per leaf: the state that each step starts from.
        losses: (T, B, ...) per leaf of the outputs: dE_t/dy_t; None where the loss does not look.
        initial, fresh: what sequences and episodes start from, (B, ...) per leaf, with its history.
    """

    step: Step
    replica: Replica
    course: Course
    draws: Draws
    inputs: Leaves
    before: Leaves
    losses: Found
    initial: Leaves
    fresh: Leaves


class At(NamedTuple):
    """What n loss times leave at one step; None for a leaf that nothing reaches.

    Attributes:
        step: k.
        rows: which of the loss times have entered.
        state: (n, B, ...) per leaf: dE_t/ds_k.
        inputs: (n, B, ...) per leaf: dE_t/dx_k.
        weights: (n, ...) per weight: the term of dE_t/dW.
    """

    step: int
    rows: slice
    state: Found
    inputs: Found
    weights: Found


def walk(
    passage: Passage, times: Sequence[int], inputs: bool = True, weights: bool = True
) -> Iterator[At]:
    """Every step on the way back from the loss times.

    Args:
        passage: what was run.
        times: the loss times, ascending.
        inputs, weights: whether those are wanted besides the state's adjoints.
    """
    back = _Back(passage, torch.as_tensor(times), inputs, weights)
    longest = int(passage.course.counts.max())
    order = range(longest) if passage.course.reverse else range(longest - 1, -1, -1)
    for step in order:
        rows = back.entered(step)
        if rows.start < rows.stop:
            yield back.at(step, rows)


class _Back:
    """The adjoints on their way, (n, B, ...) per leaf of the state."""

    def __init__(self, passage: Passage, times: Tensor, inputs: bool, weights: bool) -> None:
        self.passage, self.times = passage, times
        self.inputs, self.weights = inputs, weights
        self.adjoint: Found = [
            leaf.new_zeros(len(times), *leaf.shape[1:]) if is_real(leaf) else None
            for leaf in passage.before
        ]

    def entered(self, step: int) -> slice:
        """Which loss times have entered at a step."""
        if self.passage.course.reverse:
            return slice(0, int(torch.searchsorted(self.times, step, right=True)))
        return slice(int(torch.searchsorted(self.times, step)), len(self.times))

    def at(self, step: int, rows: slice) -> At:
        """Take the adjoints of the loss times that have entered back through a step."""
        passage, lengths = self.passage, self.passage.course.lengths
        live = None if lengths is None else step < lengths
        point = Point(passage, step, live, self.inputs, self.weights)
        state = [None if leaf is None else leaf[rows].clone() for leaf in self.adjoint]
        losses: Found = [None] * len(passage.losses)
        now = int((self.times[rows] == step).nonzero()) if step in self.times else None
        if now is not None:
            losses = [
                None if leaf is None else masked(live, leaf[step], 0) for leaf in passage.losses
            ]
        entering = [_placed(leaf, now, rows.stop - rows.start) for leaf in losses]
        shares = point.pull([*entering, *state])
        if now is not None:
            for leaf, direct in zip(state, point.direct(losses), strict=True):
                if leaf is not None and direct is not None:
                    leaf[now] += direct
        starts = self._hand_on(step, rows, live, shares.state)
        weights = [add(a, b) for a, b in zip(shares.weights, starts, strict=True)]
        return At(step, rows, state, shares.inputs, weights)

    def _hand_on(self, step: int, rows: slice, live: Tensor | None, found: Found) -> Found:
        """Give the adjoints to the step before; what starts here leaves its part of the weights."""
        course = self.passage.course
        reset = None if course.reset is None else course.reset[step]
        found = [None if leaf is None else masked(live, leaf) for leaf in found]
        shares = self._starts(self.passage.fresh, found, reset)
        begins = _begins(course, step)
        goes = None if reset is None else ~reset
        found = [None if leaf is None else masked(goes, leaf) for leaf in found]
        more = self._starts(self.passage.initial, found, begins)
        goes = None if begins is None else ~begins
        found = [None if leaf is None else masked(goes, leaf) for leaf in found]
        for whole, leaf in zip(self.adjoint, found, strict=True):
            if whole is not None:
                whole[rows] = 0.0 if leaf is None else leaf
        return [add(a, b) for a, b in zip(shares, more, strict=True)]

    def _starts(self, leaves: Leaves, adjoints: Found, which: Tensor | None) -> Found:
        """What reaches the weights by way of the states that some rows start from."""
        replica = self.passage.replica
        nothing: Found = [None] * len(replica.sources)
        if which is None or not self.weights or not bool(which.any()):
            return nothing
        pairs = [
            (leaf, masked(which, adjoint))
            for leaf, adjoint in zip(leaves, adjoints, strict=True)
            if adjoint is not None and leaf.requires_grad
        ]
        return _pulled(pairs, replica.sources) if pairs else nothing


class Shares(NamedTuple):
    """What n adjoints of one step become: (n, ...) per leaf."""

    inputs: Found
    state: Found
    weights: Found


class Point:
    """One step, run so that it can be differentiated."""

    def __init__(
        self, passage: Passage, step: int, live: Tensor | None, inputs: bool, weights: bool
    ) -> None:
        self._x = [_sound(leaf[step], live, inputs) for leaf in passage.inputs]
        self._before = [_sound(leaf[step], live, True) for leaf in passage.before]
        self._weights, self._wanted = passage.replica.weights, weights
        course = passage.course
        passage.draws.begin(course.steps - 1 - step if course.reverse else step)
        with torch.enable_grad(), passage.draws:
            self.outputs, self.after = passage.step(self._x, self._before)

    @property
    def given(self) -> Leaves:
        """The inputs and the state that it starts from."""
        return [*self._x, *self._before]

    def pull(self, seeds: Found) -> Shares:
        """The vector-Jacobian product for n seeds, (n, B, ...) per output and leaf of the state."""
        weights = self._weights if self._wanted else []
        targets = [*self.given, *weights]
        pairs = _pairs([*self.outputs, *self.after], seeds)
        found = _pulled(pairs, targets)
        ends = len(self._x), len(self._x) + len(self._before)
        missing: Found = [None] * (len(self._weights) - len(weights))
        return Shares(found[: ends[0]], found[ends[0] : ends[1]], found[ends[1] :] + missing)

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
        hooks = [catch(leaf) for leaf in leaves.values()]
        if pairs and leaves:
            roots, seeds = zip(*pairs, strict=True)
            torch.autograd.grad(
                roots, list(leaves.values()), seeds, retain_graph=True, allow_unused=True
            )
        for hook in hooks:
            hook.remove()
        return [caught.pop(id(leaf), None) for leaf in self.after]


def _pairs(roots: Sequence[Tensor], seeds: Found) -> list[tuple[Tensor, Tensor]]:
    """Roots that have a gradient, with what reaches them."""
    both = zip(roots, seeds, strict=True)
    return [(root, seed) for root, seed in both if seed is not None and root.requires_grad]


def _pulled(pairs: Sequence[tuple[Tensor, Tensor]], targets: Sequence[Tensor]) -> Found:
    """The gradients to the targets for n seeds at once, (n, ...) each."""
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
    except RuntimeError:  # vmap's, or the operation's own, which then comes again here
        rows = [
            torch.autograd.grad(roots, targets, row, **given) for row in zip(*seeds, strict=True)
        ]
    return [None if some[0] is None else torch.stack(some) for some in zip(*rows, strict=True)]


def _sound(leaf: Tensor, live: Tensor | None, gradient: bool) -> Tensor:
    """A step's rows, a live one in place of each that does not count."""
    if live is not None:
        rows = torch.arange(len(live), device=leaf.device)
        leaf = leaf[torch.where(live, rows, live.nonzero()[0])]
    return leaf.detach().requires_grad_(gradient and is_real(leaf))


def _placed(leaf: Tensor | None, row: int | None, count: int) -> Tensor | None:
    """(n, B, ...) the losses (B, ...) of one row, zero in all others."""
    if leaf is None or row is None:
        return None
    whole = leaf.new_zeros(count, *leaf.shape)
    whole[row] = leaf
    return whole


def masked(mask: Tensor | None, leaf: Tensor, axis: int = 1) -> Tensor:
    """Zero in sequences, which lie along an axis, where the mask (B,) does not hold."""
    if mask is None:
        return leaf
    shape = [-1 if i == axis else 1 for i in range(leaf.dim())]
    return torch.where(mask.reshape(shape), leaf, leaf.new_zeros(()))


def _begins(course: Course, step: int) -> Tensor | None:
    """(B,) which sequences begin with a step."""
    if course.reverse:
        return course.counts - 1 == step
    return course.counts > 0 if step == 0 else None
