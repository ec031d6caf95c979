"""Backward: the same columns with adjoints, and what is summed over all steps behind them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.compiler.compiled import Direction
from bptt.compiler.parallel import total
from bptt.fused import sums
from bptt.fused.forward import add_kept, computed
from bptt.fused.job import Given, Job, Values
from bptt.fused.loop import Fixed, Rows, flat_leaf, loop, memories, repeats, rows_of
from bptt.fused.rooms import Room, Rooms, room_of
from bptt.step import Leaves

Found = list[Tensor | None]


class Adjoints(NamedTuple):
    """What an unroll's adjoint leaves: dE/d... per leaf, and by name of what weights are made into.

    Attributes:
        inputs: (T, B, ...) per leaf.
        initial, fresh: (B, ...) per leaf.
        reached: where rows meet weights.
    """

    inputs: Found
    initial: Found
    fresh: Found
    reached: dict


def direction(job: Job, adjoints: Sequence[Tensor | None]) -> Direction:
    """The way back, where some outputs may not have been used."""
    outputs = adjoints[: len(adjoints) - job.counts[1]]
    return job.compiled.backward(frozenset(i for i, a in enumerate(outputs) if a is None))


def run(
    job: Job,
    given: Given,
    fixed: Fixed,
    direction: Direction,
    values: Values,
    adjoints: Sequence[Tensor | None],
    rooms: Rooms | None = None,
    going: Callable[[Values], Values] | None = None,
) -> Adjoints:
    """Take dE/d(outputs) and dE/d(final state) back.

    Args:
        job: what was run.
        given: its tensors.
        fixed: what the direction computes once.
        direction: the way back.
        values: what was kept on the way forward.
        adjoints: of outputs and final state; None where nothing was used.
        rooms: used by one segment after another: what it returns holds until the next one runs.
        going: gives what a loop leaves that reads such; None: every loss goes to the first step.
    """
    course, anew = job.course, Rows()
    count = len(adjoints) - len(given.initial)
    values = {**values, **_losses(job, adjoints[:count])}
    values.update(computed(direction.before, direction.columns.before, values, fixed, course))
    if going is not None:
        values.update(going(values))
        end = Rows()
    else:
        begin = seeds(job, direction, given.initial, adjoints[count:])
        room = room_of(job, direction, begin, None, rooms)
        end = room.end
        if rooms is not None and repeats(course, direction):
            values.update(room.run(job, direction, values, fixed, back=True))
        else:
            anew = _loop(job, direction, memories(job, direction, values, fixed), room)
        add_kept(direction, room.kept, values)
        added = direction.names.totals.items()
        values.update((node, total(end[name], course.steps)) for name, node in added)
    found = sums.after(job, direction, direction.rest, values, fixed)
    return _adjoints(job, direction, given, found, end, anew)


def _loop(job: Job, direction: Direction, reads: Rows, room: Room) -> Rows:
    """Every sequence from its last step to its first; what arrives at resets."""
    course, anew, reset = job.course, {}, None
    if course.reset is not None:
        anew = {name: torch.zeros_like(tensor) for name, tensor in room.begin.items()}
        reset = course.reset, anew, "leave"
    shape, rows = (course.steps, course.batch), rows_of(course, backward=True)
    loop(job, direction, {**reads, **room.kept}, shape, rows, room.begin, room.end, reset)
    return anew


def _losses(job: Job, adjoints: Sequence[Tensor | None]) -> Values:
    """dE/d(outputs) as values of the graph."""
    found: Values = {}
    for node, index, shape in job.compiled.losses:
        adjoint = adjoints[index]
        if adjoint is not None:
            found[node] = adjoint.reshape(-1, *shape).contiguous()
    return found


def seeds(
    job: Job, direction: Direction, initial: Leaves, adjoints: Sequence[Tensor | None]
) -> Rows:
    """dE/d(final state) by carry, zeros where nothing was used."""
    dtype, names = job.compiled.dtype, {m.name for m in direction.loop.memories}
    found = {}
    for name, leaf, adjoint in zip(direction.names.carried, initial, adjoints, strict=True):
        if name in names:
            seed = torch.zeros(leaf.shape, dtype=dtype) if adjoint is None else adjoint
            found[name] = flat_leaf(seed, dtype)
    return found


def _adjoints(
    job: Job,
    direction: Direction,
    given: Given,
    found: dict[int, Tensor],
    end: Rows,
    anew: Rows,
) -> Adjoints:
    step = job.compiled.step
    inputs: Found = [
        None if node is None else found[node].reshape(leaf.shape)
        for node, leaf in zip(step.d_inputs, given.inputs, strict=True)
    ]
    initial, fresh = ends(direction, given, end, anew)
    reached = {
        name: found[node]
        for name, node in zip(step.frontier, step.d_fixed, strict=True)
        if node is not None
    }
    return Adjoints(inputs, initial, fresh, reached)


def ends(direction: Direction, given: Given, end: Rows, anew: Rows) -> tuple[Found, Found]:
    """dE/d(initial state) and dE/d(fresh state) from what has arrived there, by carry."""
    names = direction.names.carried
    initial, fresh = (
        [
            rows[name].reshape(leaf.shape) if name in rows else None
            for name, leaf in zip(names, leaves, strict=bool(leaves))
        ]
        for rows, leaves in ((end, given.initial), (anew, given.fresh))
    )
    return initial, fresh


def gradients(job: Job, given: Given, found: Adjoints, wanted: Sequence[bool]) -> Found:
    """In the order of the tensors; weights' by autograd, from where rows meet them."""
    gradients = [*found.inputs, *found.initial, *found.fresh]
    pulled = job.compiled.weights.pull(given.own, wanted[len(gradients) :], found.reached)
    gradients += pulled
    return [g if want else None for g, want in zip(gradients, wanted, strict=True)]
