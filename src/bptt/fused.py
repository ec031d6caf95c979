"""One unroll on a backend with kernels: columns beside the loop by torch, the loop by a kernel.

Forward: what depends on weights alone, then on inputs alone for all steps at once, then the loop's
kernel, then what no next state needs. Backward the same with adjoints. Between them lies what was
stored: the states, and the few values that cost more to compute again than to keep.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptt import again
from bptt.backends.cpu import kernel
from bptt.compiler.compiled import Compiled, Direction
from bptt.compiler.graph import Node
from bptt.compiler.record import Ref
from bptt.draws import Draws
from bptt.step import Leaves

Values = dict[int, Tensor]  # by node: (rows, *shape), the rows of all steps and sequences


class Course(NamedTuple):
    """Who steps when.

    Attributes:
        steps, batch: T and B.
        lengths: (B,) steps that count, or None.
        reset: (T, B) bool, or None.
        reverse: whether the last live step comes first.
    """

    steps: int
    batch: int
    lengths: Tensor | None
    reset: Tensor | None
    reverse: bool

    def rows(self, backward: bool = False) -> kernel.Rows | None:
        """The rows of a loop that goes forward, or back again, through each sequence."""
        direction = -1 if self.reverse != backward else 1
        if self.lengths is None:
            return kernel.Rows(direction=direction) if direction < 0 else None
        start = self.lengths - 1 if direction < 0 else torch.zeros_like(self.lengths)
        return kernel.Rows(None, start, self.lengths, direction)

    def live(self) -> Tensor | None:
        """(T * B,) which rows count; None if all do."""
        if self.lengths is None:
            return None
        return (torch.arange(self.steps)[:, None] < self.lengths).flatten()

    def to_time(self, numbers: Tensor) -> Tensor:
        """(T, B, ...) in the order of processing, in the order of time."""
        if not self.reverse:
            return numbers
        if self.lengths is None:
            return numbers.flip(0)
        time = torch.arange(self.steps)[:, None]
        return numbers[(self.lengths - 1 - time).clamp(min=0), torch.arange(self.batch)]


class Job(NamedTuple):
    """One unroll: the compiled step, who steps when, and what is needed to run it once more."""

    compiled: Compiled
    course: Course
    counts: tuple[int, int, int]  # of the leaves of inputs, state and fresh state
    draws: Draws
    again: again.Again

    def split(self, values: Sequence[Any]) -> list[list[Any]]:
        """Values in the order of the tensors, parted: inputs, initial, fresh, fixed."""
        parts, start = [], 0
        for count in self.counts:
            parts.append(list(values[start : start + count]))
            start += count
        return [*parts, list(values[start:])]


def run(job: Job, tensors: Sequence[Tensor]) -> tuple[Leaves, Leaves]:
    """Outputs (T, B, ...) and the final state (B, ...), in autograd's graph."""
    compiled = job.compiled
    if compiled.differentiable and torch.is_grad_enabled():
        results = list(_Fused.apply(job, *tensors))
    else:
        with torch.no_grad():
            outputs, final, _ = _forward(job, tensors, compiled.plain)
        results = [*outputs, *final]
    count = len(results) - job.counts[1]
    return results[:count], results[count:]


class _Fused(torch.autograd.Function):
    """Inputs, state, fresh state and fixed tensors in; outputs and final state out."""

    @staticmethod
    def forward(ctx: Any, job: Job, *tensors: Tensor) -> tuple[Tensor, ...]:
        outputs, final, values = _forward(job, tensors, job.compiled.forward)
        back = job.compiled.backward(frozenset())
        nodes = [node for node in back.taken if node in values]
        ctx.nodes, ctx.job = nodes, job
        ctx.save_for_backward(*tensors, *(values[node] for node in nodes))
        ctx.set_materialize_grads(False)
        results = (*outputs, *final)
        ctx.mark_non_differentiable(*(r for r in results if not r.is_floating_point()))
        return results

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor | None) -> tuple[Tensor | None, ...]:
        job, saved = ctx.job, ctx.saved_tensors
        tensors = list(saved[: len(saved) - len(ctx.nodes)])
        if torch.is_grad_enabled():
            wanted = ctx.needs_input_grad[1:]
            return None, *job.again.differentiate(job.split(tensors), job.draws, adjoints, wanted)
        values = dict(zip(ctx.nodes, saved[len(tensors) :], strict=True))
        return None, *_backward(job, tensors, values, adjoints, ctx.needs_input_grad[1:])


# Forward


def _forward(
    job: Job, tensors: Sequence[Tensor], direction: Direction
) -> tuple[Leaves, Leaves, Values]:
    inputs, initial, fresh, own = job.split(tensors)
    compiled, course = job.compiled, job.course
    fixed = direction.once.run(own)
    values = _given(job, inputs)
    rows = course.steps * course.batch
    before = direction.before
    found = before.run([values[n] for n in before.given], fixed, course.steps, rows)
    values.update(zip(direction.columns.before, found, strict=True))
    begin = _carries(direction, initial, compiled.dtype)
    kept, states = _kept(job, direction, begin)
    end = {name: torch.empty_like(tensor) for name, tensor in begin.items()}
    memories = {**_memories(job, direction, values, fixed), **kept}
    reset = None
    if course.reset is not None:
        reset = course.reset, _carries(direction, fresh, compiled.dtype), "enter"
    _loop(job, direction, memories, course.rows(), begin, end, reset)
    for name, node in direction.names.kept.items():
        values[node] = _value(kept[name], compiled.step.graph[node])
    if direction.reads_states:
        _add_states(job, direction, values, begin, fresh, states)
    outputs = _outputs(job, direction, values, fixed)
    final = [_leaf(end[n], leaf) for n, leaf in zip(direction.names.carried, initial, strict=True)]
    return outputs, final, values


def _loop(
    job: Job,
    direction: Direction,
    memories: dict[str, Tensor],
    rows: kernel.Rows | None,
    begin: dict[str, Tensor],
    end: dict[str, Tensor],
    reset: tuple | None,
) -> None:
    if direction.loop.stages:
        made = direction.made.get("cpu")
        if made is None:
            made = direction.made["cpu"] = kernel.make(direction.loop, job.compiled.dtype)
        made.run(memories, rows, begin, end, reset)
        return
    for name, first in begin.items():  # a state that no step changes
        end[name].copy_(_unchanged(job.course, first, name, reset))


def _unchanged(course: Course, first: Tensor, name: str, reset: tuple | None) -> Tensor:
    if reset is None:
        return first
    mask, fresh, mode = reset
    live = course.live()
    mask = mask if live is None else mask & live.view(mask.shape)
    some = mask.any(0)[:, None]
    if mode == "leave":
        fresh[name] += torch.where(some, first, 0.0)
        return torch.where(some, 0.0, first)
    return torch.where(some, fresh[name], first)


def _given(job: Job, inputs: Leaves) -> Values:
    """The inputs and random numbers that the graph names."""
    compiled, course = job.compiled, job.course
    values: Values = {}
    for node, index, shape in compiled.inputs:
        leaf = inputs[index]
        leaf = leaf if leaf.dtype == compiled.dtype else leaf.to(compiled.dtype)
        values[node] = leaf.reshape(-1, *shape).contiguous()
    for node, index, shape in compiled.random:
        numbers = course.to_time(job.draws.steps(index, course.steps))
        values[node] = numbers.reshape(-1, *shape).to(compiled.dtype).contiguous()
    return values


def _carries(direction: Direction, leaves: Leaves, dtype: torch.dtype) -> dict[str, Tensor]:
    pairs = zip(direction.names.carried, leaves, strict=True)
    return {name: _flat_leaf(leaf, dtype) for name, leaf in pairs}


def _flat_leaf(leaf: Tensor, dtype: torch.dtype) -> Tensor:
    """A leaf of the state as (B, width) numbers."""
    leaf = leaf if leaf.dtype == dtype else leaf.to(dtype)
    leaf = leaf if leaf.dim() == 2 else leaf.reshape(leaf.shape[0], math.prod(leaf.shape[1:]))
    return leaf.contiguous()


def _leaf(row: Tensor, like: Tensor) -> Tensor:
    """(B, width) in the shape and dtype of a state's leaf."""
    return (row if like.dtype == row.dtype else row != 0).reshape(like.shape)


def _memories(
    job: Job, direction: Direction, values: Values, fixed: dict[Ref, Tensor]
) -> dict[str, Tensor]:
    """What a loop reads."""
    graph, course, names = direction.columns.graph, job.course, direction.names
    dtype = job.compiled.dtype
    memories = {}
    for name, node in names.step.items():
        value = values[node]
        value = value if value.dtype == dtype else value.to(dtype)
        memories[name] = value.contiguous().view(course.steps, course.batch, -1)
    for name, node in names.sequence.items():
        rows = fixed[graph[node].attributes[0]].to(dtype)
        memories[name] = rows.reshape(course.batch, -1).contiguous()
    for name, part in names.fixed.items():
        tensor = fixed[graph[part.node].attributes[0]]
        tensor = tensor if tensor.dtype == dtype else tensor.to(dtype)
        if part.stop is None:
            memories[name] = tensor.reshape(-1).contiguous()
        else:
            matrix = tensor if part.head is None else tensor[part.head]
            memories[name] = matrix[part.start : part.stop]
    return memories


def _kept(
    job: Job, direction: Direction, begin: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[int, Tensor]]:
    """Where a loop puts what it keeps, and where states come behind the one they started from.

    A state's memory has one step more than the sequence, with the first state in it, so that the
    states before and after each step are two views of it.
    """
    course, compiled = job.course, job.compiled
    make = torch.empty if course.lengths is None else torch.zeros
    kept: dict[str, Tensor] = {}
    states: dict[int, Tensor] = {}
    following = {node: leaf for leaf, node in reversed(list(enumerate(compiled.step.state)))}
    for name, node in direction.names.kept.items():
        width = math.prod(compiled.step.graph[node].shape)
        leaf = following.get(node)
        if leaf is None or not direction.reads_states or not _shifted(course):
            kept[name] = make(course.steps, course.batch, width, dtype=compiled.dtype)
            continue
        whole = make(course.steps + 1, course.batch, width, dtype=compiled.dtype)
        whole[-1 if course.reverse else 0] = begin[direction.names.carried[leaf]]
        kept[name] = whole[:-1] if course.reverse else whole[1:]
        states[leaf] = whole[1:] if course.reverse else whole[:-1]
    return kept, states


def _shifted(course: Course) -> bool:
    """Whether the state before each step is the one that was stored a step earlier."""
    return course.reset is None and not (course.reverse and course.lengths is not None)


def _add_states(
    job: Job,
    direction: Direction,
    values: Values,
    begin: dict[str, Tensor],
    fresh: Leaves,
    states: dict[int, Tensor],
) -> None:
    """The states before each step, as values of the graph."""
    compiled, course = job.compiled, job.course
    for node, leaf, shape in compiled.states:
        before, after = states.get(leaf), values.get(compiled.step.state[leaf])
        if before is None and after is not None:
            first = begin[direction.names.carried[leaf]]
            anew = _flat_leaf(fresh[leaf], compiled.dtype) if fresh else None
            before = _before(course, after.reshape(course.steps, *first.shape), first, anew)
        if before is not None:
            values[node] = _flat(before, shape)


def _before(course: Course, after: Tensor, first: Tensor, fresh: Tensor | None) -> Tensor:
    """(T, B, width) the state that each step starts from."""
    if course.reverse:
        before = torch.cat([after[1:], first[None]])
        if course.lengths is not None:
            live = course.lengths > 0
            rows = torch.arange(course.batch)[live]
            before[course.lengths[live] - 1, rows] = first[live]
    else:
        before = torch.cat([first[None], after[:-1]])
    if course.reset is not None and fresh is not None:
        before = torch.where(course.reset[..., None], fresh, before)
    return before


def _value(memory: Tensor, node: Node) -> Tensor:
    """What a loop has kept, as a value of the graph."""
    flat = _flat(memory, node.shape)
    return flat != 0 if node.mask else flat


def _flat(memory: Tensor, shape: Sequence[int]) -> Tensor:
    """(T, B, width) as (T * B, *shape)."""
    return memory.view(-1, *shape)


def _outputs(job: Job, direction: Direction, values: Values, fixed: dict[Ref, Tensor]) -> Leaves:
    compiled, course = job.compiled, job.course
    graph, run = compiled.step.graph, direction.after
    rows = course.steps * course.batch
    found = run.run([values[n] for n in run.given], fixed, course.steps, rows)
    computed = dict(zip(direction.columns.after, found, strict=True))
    values.update((n, t) for n, t in computed.items() if n not in values)
    live, seen = course.live(), set[int]()
    outputs = []
    for node in compiled.step.outputs:
        whole = computed[node] if node in computed else values[node]
        if (
            node in direction.columns.given or node in seen
        ):  # memory of the caller's, or shown twice
            whole = whole.clone()
        seen.add(node)
        if live is not None and node in computed:
            whole = torch.where(_like(live, whole), whole, whole.new_zeros(()))
        if graph[node].mask and whole.dtype != torch.bool:
            whole = whole != 0
        shape = course.steps, course.batch, *graph[node].shape
        outputs.append(whole.reshape(shape).detach())
    return outputs


def _like(mask: Tensor, leaf: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (leaf.dim() - 1))


# Backward


def _backward(
    job: Job,
    tensors: Leaves,
    values: Values,
    adjoints: Sequence[Tensor | None],
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    compiled, course = job.compiled, job.course
    _, initial, _, own = job.split(tensors)
    count = len(adjoints) - len(initial)
    absent = frozenset(i for i, adjoint in enumerate(adjoints[:count]) if adjoint is None)
    direction = compiled.backward(absent)
    fixed = direction.once.run(own)
    values = {**values, **_losses(job, adjoints[:count])}
    rows = course.steps * course.batch
    before = direction.before
    found = before.run([values[n] for n in before.given], fixed, course.steps, rows)
    values.update(zip(direction.columns.before, found, strict=True))
    begin = _seeds(job, direction, initial, adjoints[count:])
    end = {name: torch.empty_like(tensor) for name, tensor in begin.items()}
    kept = _kept_adjoints(job, direction)
    memories = {**_memories(job, direction, values, fixed), **kept}
    anew = {name: torch.zeros_like(tensor) for name, tensor in begin.items()}
    reset = None if course.reset is None else (course.reset, anew, "leave")
    _loop(job, direction, memories, course.rows(backward=True), begin, end, reset)
    for name, node in direction.names.kept.items():
        values[node] = _value(kept[name], compiled.step.graph[node])
    found_after = _after(job, direction, values, fixed)
    return _gradients(job, direction, found_after, end, anew, tensors, wanted)


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
            seeds[name] = _flat_leaf(seed, dtype)
    return seeds


def _kept_adjoints(job: Job, direction: Direction) -> dict[str, Tensor]:
    course, graph = job.course, job.compiled.step.graph
    make = torch.empty if course.lengths is None else torch.zeros
    dtype = job.compiled.dtype
    return {
        name: make(course.steps, course.batch, math.prod(graph[node].shape), dtype=dtype)
        for name, node in direction.names.kept.items()
    }


def _after(
    job: Job, direction: Direction, values: Values, fixed: dict[Ref, Tensor]
) -> dict[int, Tensor]:
    """Gradients of inputs and weights, from live rows alone: padding may hold anything."""
    course, run = job.course, direction.after
    given = [values[n] for n in run.given]
    rows, live = course.steps * course.batch, course.live()
    if live is None or bool(live.all()):
        found = run.run(given, fixed, course.steps, rows)
        return dict(zip(direction.columns.after, found, strict=True))
    graph = direction.columns.graph
    if any(graph[n].op == "sequence" or graph[n].op == "steps" for n in range(len(graph))):
        given = [torch.where(_like(live, g), g, g.new_zeros(())) for g in given]
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


def _gradients(
    job: Job,
    direction: Direction,
    found: dict[int, Tensor],
    end: dict[str, Tensor],
    anew: dict[str, Tensor],
    tensors: Leaves,
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """In the order of the tensors."""
    step, names = job.compiled.step, direction.names.carried
    inputs, initial, fresh, own = job.split(tensors)
    gradients: list[Tensor | None] = [
        None if node is None else found[node].reshape(leaf.shape)
        for node, leaf in zip(step.d_inputs, inputs, strict=True)
    ]
    for rows, leaves in ((end, initial), (anew, fresh)):
        gradients += [
            rows[name].reshape(leaf.shape) if name in rows else None
            for name, leaf in zip(names, leaves, strict=bool(leaves))
        ]
    reached = {
        name: found[node]
        for name, node in zip(step.frontier, step.d_fixed, strict=True)
        if node is not None
    }
    gradients += job.compiled.weights.pull(own, wanted[len(gradients) :], reached)
    return [g if want else None for g, want in zip(gradients, wanted, strict=True)]
