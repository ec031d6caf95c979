"""Gradients the slow and sure way, independent of the package: for the tests of its methods.

`truncated` differentiates every block of every sequence by itself, with the graph cut by hand.
`forward_mode` carries the sensitivity of the state forward in time and never goes back through it.
Both take a whole loss, `loss(outputs, final) -> scalar`, and give dE/d(target) for each target.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


class Row(NamedTuple):
    """One sequence of a batch by itself: its steps in the order in which they are taken.

    Attributes:
        times: the time of each step.
        inputs: x_t of each step, (1, ...) per leaf.
        resets: of each step, whether it starts afresh.
        start: s_0, (1, ...) per leaf.
        fresh: what a reset starts from.
    """

    times: list[int]
    inputs: list[Any]
    resets: list[bool]
    start: Any
    fresh: Any

    def before(self, p: int, state: Any) -> Any:
        """What step p starts from, where `state` is what the step before it left."""
        return self.fresh if self.resets[p] else state


def rows_of(
    inputs: Any,
    state: Any,
    *,
    lengths: Sequence[int] | None = None,
    reset: Tensor | None = None,
    reset_state: Any = None,
    reverse: bool = False,
) -> list[Row]:
    """Each sequence of a batch alone; arguments are `unroll`'s, `reset` with its `reset_state`."""
    steps, batch = pytree.tree_leaves(inputs)[0].shape[:2]
    fresh = state if reset is None else _as_wide_as(state, reset_state)
    rows = []
    for b in range(batch):
        times = list(range(steps if lengths is None else int(lengths[b])))
        if reverse:
            times.reverse()
        xs = [pytree.tree_map(lambda leaf, t=t, b=b: leaf[t, b : b + 1], inputs) for t in times]
        resets = [reset is not None and bool(reset[t, b]) for t in times]
        rows.append(Row(times, xs, resets, _one(state, b), _one(fresh, b)))
    return rows


def _one(tree: Any, b: int) -> Any:
    return pytree.tree_map(lambda leaf: leaf[b : b + 1], tree)


def _as_wide_as(state: Any, reset_state: Any) -> Any:
    leaves, structure = pytree.tree_flatten(state)
    pairs = zip(pytree.tree_leaves(reset_state), leaves, strict=True)
    return pytree.tree_unflatten([leaf.expand(like.shape) for leaf, like in pairs], structure)


def take_step(cell: Any, x: Any, state: Any) -> tuple[Any, Any]:
    """y_t and s_t; y_t is the state's first leaf where the cell returns its state alone."""
    leaves, structure = pytree.tree_flatten(state)
    result = cell(x, state)
    pair = isinstance(result, tuple) and len(result) == 2
    if pair and len(pytree.tree_leaves(result[1])) == len(leaves):
        y, new = result
    else:
        y, new = pytree.tree_leaves(result)[0], result
    return y, pytree.tree_unflatten(pytree.tree_leaves(new), structure)


class Course(NamedTuple):
    """One sequence, run: y_t by time, and the states s_0, s_1 ... in the order of the steps."""

    outputs: dict[int, Any]
    states: list[Any]


def run_alone(cell: Any, row: Row) -> Course:
    """Take all steps of a sequence."""
    outputs, states = {}, [row.start]
    for p, (t, x) in enumerate(zip(row.times, row.inputs, strict=True)):
        outputs[t], state = take_step(cell, x, row.before(p, states[-1]))
        states.append(state)
    return Course(outputs, states)


def together(courses: list[Course], steps: int) -> tuple[Any, Any]:
    """Outputs (T, B, ...), zero where a sequence takes no step, and final states (B, ...)."""
    some = next(y for course in courses for y in course.outputs.values())
    zero = pytree.tree_map(torch.zeros_like, some)
    table = [[course.outputs.get(t, zero) for course in courses] for t in range(steps)]
    lines = [pytree.tree_map(lambda *leaves: torch.cat(leaves), *line) for line in table]
    final = pytree.tree_map(lambda *s: torch.cat(s), *(course.states[-1] for course in courses))
    return pytree.tree_map(lambda *leaves: torch.stack(leaves), *lines), final


Loss = Callable[[Any, Any], Tensor]


class Seeds(NamedTuple):
    """dE/dy (T, B, ...) per leaf of the outputs and dE/ds_T (B, ...) per leaf, as constants."""

    outputs: list[Tensor]
    final: list[Tensor]

    def of_output(self, t: int, b: int, y: Any) -> Tensor:
        """What one output adds to the loss, as far as its gradient goes."""
        return _dot([seed[t, b : b + 1] for seed in self.outputs], y)

    def of_final(self, b: int, state: Any) -> Tensor:
        """What the final state adds to it."""
        return _dot([seed[b : b + 1] for seed in self.final], state)


def _dot(seeds: Sequence[Tensor], tree: Any) -> Tensor:
    pairs = zip(seeds, pytree.tree_leaves(tree), strict=True)
    return sum((s * leaf).sum() for s, leaf in pairs if leaf.is_floating_point())


def seeds_of(loss: Loss, courses: list[Course], steps: int) -> Seeds:
    """The loss's derivatives at the values of the whole run: truncation does not touch them."""
    outputs, final = pytree.tree_map(_leaf, together(courses, steps))
    ys, states = pytree.tree_leaves(outputs), pytree.tree_leaves(final)
    wanted = [leaf for leaf in ys + states if leaf.requires_grad]
    found = iter(_gradients(loss(outputs, final), wanted))
    given = [next(found) if leaf.requires_grad else leaf for leaf in ys + states]
    return Seeds(given[: len(ys)], given[len(ys) :])


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_(tensor.is_floating_point())


def _gradients(value: Tensor, targets: Sequence[Tensor]) -> list[Tensor]:
    """dvalue/dtarget, zeros where there is no way; graphs are kept, for they are shared."""
    if not value.requires_grad:
        return [torch.zeros_like(target) for target in targets]
    found = torch.autograd.grad(value, targets, retain_graph=True, allow_unused=True)
    pairs = zip(found, targets, strict=True)
    return [torch.zeros_like(target) if g is None else g for g, target in pairs]


def truncated(
    cell: Any,
    inputs: Any,
    state: Any,
    loss: Loss,
    targets: Sequence[Tensor],
    k1: int,
    k2: int,
    losses: str = "new",
    **keywords: Any,
) -> list[Tensor]:
    """The gradient of truncated back-propagation through time, block by block.

    Every k1 steps of a sequence, and at its end, the losses of the block (or the last of them) go
    back k2 steps; the state before these is a constant, unless it is the initial one. The final
    state's gradient enters with the last block.

    Source: Williams & Peng 1990, "An efficient gradient-based algorithm for on-line training of
    recurrent network trajectories".
    """
    rows = rows_of(inputs, state, **keywords)
    with torch.no_grad():
        courses = [run_alone(cell, row) for row in rows]
    seeds = seeds_of(loss, courses, pytree.tree_leaves(inputs)[0].shape[0])
    total = [torch.zeros_like(target) for target in targets]
    for b, (row, course) in enumerate(zip(rows, courses, strict=True)):
        steps = len(row.times)
        for begin in range(0, max(steps, 1), k1):  # one block, of no steps, where there are none
            end = min(begin + k1, steps)
            injected = range(begin, end) if losses == "new" else range(end - 1, end)
            part = block(cell, row, course, seeds, b, range(max(end - k2, 0), end), injected)
            total = [a + g for a, g in zip(total, _gradients(part, targets), strict=True)]
    return total


def block(
    cell: Any, row: Row, course: Course, seeds: Seeds, b: int, span: range, injected: range
) -> Tensor:
    """One block's losses as a function of the steps in `span` alone."""
    value = torch.zeros(())
    state = row.start
    if span.start > 0:
        state = pytree.tree_map(Tensor.detach, course.states[span.start])
    for p in span:
        y, state = take_step(cell, row.inputs[p], row.before(p, state))
        if p in injected:
            value = value + seeds.of_output(row.times[p], b, y)
    if span.stop == len(row.times):
        value = value + seeds.of_final(b, state)
    return value


def forward_mode(
    cell: Any, inputs: Any, state: Any, loss: Loss, targets: Sequence[Tensor], **keywords: Any
) -> list[Tensor]:
    """The full gradient by real-time recurrent learning: ds_t/d(targets) goes along with s_t.

        ds_t = (ds_t/ds_{t-1}) ds_{t-1} + (ds_t/dx_t) dx_t + direct

    Only single steps are differentiated, so a wrong turn on the way back through time cannot hide.

    Source: Williams & Zipser 1989, "A learning algorithm for continually running fully recurrent
    neural networks".
    """
    rows = rows_of(inputs, state, **keywords)
    with torch.no_grad():
        courses = [run_alone(cell, row) for row in rows]
    seeds = seeds_of(loss, courses, pytree.tree_leaves(inputs)[0].shape[0])
    total = torch.zeros(sum(target.numel() for target in targets))
    for b, row in enumerate(rows):
        total = total + _carried(cell, row, seeds, b, targets)
    parts = total.split([target.numel() for target in targets])
    return [part.view_as(target) for part, target in zip(parts, targets, strict=True)]


def _carried(cell: Any, row: Row, seeds: Seeds, b: int, targets: Sequence[Tensor]) -> Tensor:
    """One sequence's dE/d(targets), flat, gathered while going forward."""
    total = torch.zeros(sum(target.numel() for target in targets))
    state, moved = row.start, jacobian(row.start, targets)
    for p, (t, x) in enumerate(zip(row.times, row.inputs, strict=True)):
        if row.resets[p]:
            state, moved = row.fresh, jacobian(row.fresh, targets)
        s, x_alone = pytree.tree_map(_leaf, (state, x))
        into = _real((x_alone, s))
        moves = torch.cat([jacobian(x, targets), moved])
        y, state = take_step(cell, x_alone, s)
        gain = _gradients(seeds.of_output(t, b, y), [*into, *targets])
        total = total + _flat(gain[: len(into)]) @ moves + _flat(gain[len(into) :])
        moved = jacobian(state, into) @ moves + jacobian(state, targets)
        state = pytree.tree_map(Tensor.detach, state)
    end = pytree.tree_map(_leaf, state)
    return total + _flat(_gradients(seeds.of_final(b, end), _real(end))) @ moved


def jacobian(tree: Any, targets: Sequence[Tensor]) -> Tensor:
    """d(every number in the tree)/d(every number in the targets)."""
    numbers = [number for leaf in _real(tree) for number in leaf.flatten()]
    return torch.stack([_flat(_gradients(number, targets)) for number in numbers])


def _real(tree: Any) -> list[Tensor]:
    """The leaves that have a derivative: a state may count in integers."""
    return [leaf for leaf in pytree.tree_leaves(tree) if leaf.is_floating_point()]


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])
