"""Backward: the same columns with adjoints, and what is summed over all steps behind them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.compiler.compiled import Direction
from bptt.fused import runs
from bptt.fused.forward import Fixed, as_value, flat_leaf, loop, memories, room, rows_of
from bptt.fused.job import Given, Job, Values
from bptt.step import Leaves

Found = list[Tensor | None]
FEW = 4  # one row in so many that does not count: leaving those out takes longer than they do


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
) -> Adjoints:
    """Take dE/d(outputs) and dE/d(final state) back.

    Args:
        job: what was run.
        given: its tensors.
        fixed: what the direction computes once.
        direction: the way back.
        values: what was kept on the way forward.
        adjoints: of outputs and final state; None where nothing was used.
    """
    course = job.course
    count = len(adjoints) - len(given.initial)
    spans = job.method.spans(course.counts)
    losses = runs.entering(course, spans, adjoints[:count])
    values = {**values, **_losses(job, losses)}
    before = direction.before
    rows = course.steps * course.batch
    found = before.run([values[n] for n in before.given], fixed, course.steps, rows)
    values.update(zip(direction.columns.before, found, strict=True))
    seeds = _seeds(job, direction, given.initial, adjoints[count:])
    reads = memories(job, direction, values, fixed)
    if spans is None:
        kept, end, anew = _whole(job, direction, reads, seeds)
    else:
        kept, end, anew = runs.run(job, direction, spans, reads, seeds)
    for name, node in direction.names.kept.items():
        values[node] = as_value(kept[name], job.compiled.step.graph[node])
    return _adjoints(job, direction, given, _after(job, direction, values, fixed), end, anew)


def _whole(
    job: Job, direction: Direction, reads: dict[str, Tensor], seeds: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Every sequence from its last step to its first: adjoints kept, at the end, at resets."""
    course = job.course
    end = {name: torch.empty_like(tensor) for name, tensor in seeds.items()}
    anew = {name: torch.zeros_like(tensor) for name, tensor in seeds.items()}
    kept = _kept(job, direction)
    reset = None if course.reset is None else (course.reset, anew, "leave")
    loop(job, direction, {**reads, **kept}, rows_of(course, backward=True), seeds, end, reset)
    return kept, end, anew


def _losses(job: Job, adjoints: Sequence[Tensor | None]) -> Values:
    """dE/d(outputs) as values of the graph."""
    found: Values = {}
    for node, index, shape in job.compiled.losses:
        adjoint = adjoints[index]
        if adjoint is not None:
            found[node] = adjoint.reshape(-1, *shape).contiguous()
    return found


def _seeds(
    job: Job, direction: Direction, initial: Leaves, adjoints: Sequence[Tensor | None]
) -> dict[str, Tensor]:
    dtype, names = job.compiled.dtype, {m.name for m in direction.loop.memories}
    seeds = {}
    for name, leaf, adjoint in zip(direction.names.carried, initial, adjoints, strict=True):
        if name in names:
            seed = torch.zeros(leaf.shape, dtype=dtype) if adjoint is None else adjoint
            seeds[name] = flat_leaf(seed, dtype)
    return seeds


def _kept(job: Job, direction: Direction) -> dict[str, Tensor]:
    course, graph = job.course, job.compiled.step.graph
    dtype, dead = job.compiled.dtype, course.dead()
    return {
        name: room(course, math.prod(graph[node].shape), dtype, dead)
        for name, node in direction.names.kept.items()
    }


def _after(job: Job, direction: Direction, values: Values, fixed: Fixed) -> dict[int, Tensor]:
    """Gradients of inputs and weights, from live rows alone: padding may hold anything."""
    course, run = job.course, direction.after
    given = [values[n] for n in run.given]
    rows, live = course.steps * course.batch, course.live()
    if live is None or bool(live.all()):
        found = run.run(given, fixed, course.steps, rows)
        return dict(zip(direction.columns.after, found, strict=True))
    stored = {  # which have zeros there already
        *direction.names.kept.values(), *job.compiled.forward.names.kept.values(),
    }  # fmt: skip
    graph, dead = direction.columns.graph, (~live).nonzero().flatten()
    by_rows = any(graph[n].op == "sequence" or graph[n].op == "steps" for n in range(len(graph)))
    if by_rows or len(dead) * FEW < rows:
        given = [
            value if node in stored else value.clone().index_fill_(0, dead, 0.0)
            for node, value in zip(run.given, given, strict=True)
        ]
        found = run.run(given, fixed, course.steps, rows)
        return dict(zip(direction.columns.after, found, strict=True))
    index = live.nonzero().flatten()
    given = [g.index_select(0, index) for g in given]
    found = run.run(given, fixed, course.steps, len(index))
    return {
        node: tensor if graph[node].op in ("outer", "total", "linear") else
        tensor.new_zeros(rows, *tensor.shape[1:]).index_copy_(0, index, tensor)
        for node, tensor in zip(direction.columns.after, found, strict=True)
    }  # fmt: skip


def _adjoints(
    job: Job,
    direction: Direction,
    given: Given,
    found: dict[int, Tensor],
    end: dict[str, Tensor],
    anew: dict[str, Tensor],
) -> Adjoints:
    step, names = job.compiled.step, direction.names.carried
    inputs: Found = [
        None if node is None else found[node].reshape(leaf.shape)
        for node, leaf in zip(step.d_inputs, given.inputs, strict=True)
    ]
    initial, fresh = (
        [
            rows[name].reshape(leaf.shape) if name in rows else None
            for name, leaf in zip(names, leaves, strict=bool(leaves))
        ]
        for rows, leaves in ((end, given.initial), (anew, given.fresh))
    )
    reached = {
        name: found[node]
        for name, node in zip(step.frontier, step.d_fixed, strict=True)
        if node is not None
    }
    return Adjoints(inputs, initial, fresh, reached)


def gradients(job: Job, given: Given, found: Adjoints, wanted: Sequence[bool]) -> Found:
    """In the order of the tensors; weights' by autograd, from where rows meet them."""
    gradients = [*found.inputs, *found.initial, *found.fresh]
    pulled = job.compiled.weights.pull(given.own, wanted[len(gradients) :], found.reached)
    gradients += pulled
    return [g if want else None for g, want in zip(gradients, wanted, strict=True)]
