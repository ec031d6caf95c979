"""Forward: columns beside the loop by torch, for all steps at once; the loop by a kernel."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bptt.backends.cpu import kernel
from bptt.compiler.compiled import Direction
from bptt.compiler.graph import Node
from bptt.compiler.record import Ref
from bptt.course import Course
from bptt.fused.job import Given, Job, Values
from bptt.step import Leaves

Fixed = dict[Ref, Tensor]


def run(
    job: Job, given: Given, fixed: Fixed, direction: Direction, outputs: bool = True
) -> tuple[Leaves, Leaves, Values]:
    """Outputs, the final state, and every value on the way.

    Args:
        job: what to run.
        given: its tensors.
        fixed: what the direction computes once.
        direction: forward, with or without what the way back needs.
        outputs: whether those are wanted.
    """
    compiled, course = job.compiled, job.course
    values = _given(job, given.inputs)
    rows = course.steps * course.batch
    before = direction.before
    found = before.run([values[n] for n in before.given], fixed, course.steps, rows)
    values.update(zip(direction.columns.before, found, strict=True))
    begin = _carries(direction, given.initial, compiled.dtype)
    kept, states = _kept(job, direction, begin)
    end = {name: torch.empty_like(tensor) for name, tensor in begin.items()}
    reads = memories(job, direction, values, fixed)
    reset = None
    if course.reset is not None:
        reset = course.reset, _carries(direction, given.fresh, compiled.dtype), "enter"
    if job.stored is None:
        loop(job, direction, {**reads, **kept}, rows_of(course), begin, end, reset)
    else:
        states = _apart(job, direction, reads, kept, end, reset)
    for name, node in direction.names.kept.items():
        values[node] = as_value(kept[name], compiled.step.graph[node])
    if direction.reads_states:
        _add_states(job, direction, values, begin, given.fresh, states)
    shown = _outputs(job, direction, values, fixed) if outputs else []
    carried = zip(direction.names.carried, given.initial, strict=True)
    return shown, [_leaf(end[name], leaf) for name, leaf in carried], values


def _apart(
    job: Job,
    direction: Direction,
    reads: dict[str, Tensor],
    kept: dict[str, Tensor],
    end: dict[str, Tensor],
    reset: tuple | None,
) -> dict[int, Tensor]:
    """The first steps each from its stored state, as the rows of one step; the rest as ever.

    Returns:
        (T, B, width) per leaf: the states before each step.
    """
    assert job.stored is not None
    course, names = job.course, direction.names
    alone, batch = len(job.stored[0]) - 1, course.batch
    starts = [flat_leaf(leaf.flatten(0, 1), job.compiled.dtype) for leaf in job.stored]
    carried = dict(zip(names.carried, starts, strict=True))
    begin = {name: leaf[alone * batch :] for name, leaf in carried.items()}
    rest = None if reset is None else (reset[0][alone:], *reset[1:])
    steps = {**{name: reads[name] for name in names.step}, **kept}
    after = {name: leaf[alone:] for name, leaf in steps.items()}
    loop(job, direction, {**reads, **after}, None, begin, end, rest)
    found = {name: leaf[: alone * batch] for name, leaf in carried.items()}
    if reset is not None:
        mask, fresh, _ = reset
        rows = mask[:alone].reshape(-1, 1)
        found = {n: torch.where(rows, fresh[n].repeat(alone, 1), s) for n, s in found.items()}
    if alone:
        at_once = {n: leaf[:alone].reshape(1, alone * batch, -1) for n, leaf in steps.items()}
        tiled = {name: reads[name].repeat(alone, 1) for name in names.sequence}
        dropped = {name: torch.empty_like(leaf) for name, leaf in found.items()}
        loop(job, direction, {**reads, **at_once, **tiled}, None, found, dropped, None)
    return _before_apart(job, direction, kept, found, begin, rest)


def _before_apart(
    job: Job,
    direction: Direction,
    kept: dict[str, Tensor],
    found: dict[str, Tensor],
    begin: dict[str, Tensor],
    reset: tuple | None,
) -> dict[int, Tensor]:
    batch, carried = job.course.batch, direction.names.carried
    memories = {node: name for name, node in direction.names.kept.items()}
    states = {}
    for leaf, (node, name) in enumerate(zip(job.compiled.step.state, carried, strict=True)):
        if node in memories:
            alone = found[name].view(-1, batch, found[name].shape[1])
            after = kept[memories[node]][len(alone) :]
            window = Course(len(after), batch, None, None if reset is None else reset[0], False)
            fresh = None if reset is None else reset[1][name]
            states[leaf] = torch.cat([alone, _before(window, after, begin[name], fresh)])
    return states


def rows_of(course: Course, backward: bool = False) -> kernel.Rows | None:
    """The rows of a loop that goes forward, or back again, through each sequence."""
    direction = -1 if course.reverse != backward else 1
    lengths = course.lengths
    if lengths is None:
        return kernel.Rows(direction=direction) if direction < 0 else None
    start = lengths - 1 if direction < 0 else torch.zeros_like(lengths)
    return kernel.Rows(None, start, lengths, direction)


def loop(
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
        end[name].copy_(_unchanged(rows, first, name, reset))


def _unchanged(rows: kernel.Rows | None, first: Tensor, name: str, reset: tuple | None) -> Tensor:
    if reset is None:
        return first
    mask, fresh, mode = reset
    if rows is not None and rows.steps is not None:
        mask = mask & (torch.arange(len(mask))[:, None] < rows.steps)
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
        numbers = course.to_time(job.draws.steps(index, course.steps, job.first))
        values[node] = numbers.reshape(-1, *shape).to(compiled.dtype).contiguous()
    return values


def _carries(direction: Direction, leaves: Leaves, dtype: torch.dtype) -> dict[str, Tensor]:
    pairs = zip(direction.names.carried, leaves, strict=True)
    return {name: flat_leaf(leaf, dtype) for name, leaf in pairs}


def flat_leaf(leaf: Tensor, dtype: torch.dtype) -> Tensor:
    """A leaf of the state as (B, width) numbers."""
    leaf = leaf if leaf.dtype == dtype else leaf.to(dtype)
    leaf = leaf if leaf.dim() == 2 else leaf.reshape(leaf.shape[0], math.prod(leaf.shape[1:]))
    return leaf.contiguous()


def _leaf(row: Tensor, like: Tensor) -> Tensor:
    """(B, width) in the shape and dtype of a state's leaf."""
    return (row if like.dtype == row.dtype else row != 0).reshape(like.shape)


def memories(job: Job, direction: Direction, values: Values, fixed: Fixed) -> dict[str, Tensor]:
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
    dead = course.dead()
    kept: dict[str, Tensor] = {}
    states: dict[int, Tensor] = {}
    following = {node: leaf for leaf, node in reversed(list(enumerate(compiled.step.state)))}
    for name, node in direction.names.kept.items():
        width = math.prod(compiled.step.graph[node].shape)
        leaf = following.get(node)
        if leaf is None or not direction.reads_states or not _shifted(course):
            kept[name] = room(course, width, compiled.dtype, dead)
            continue
        whole = torch.empty(course.steps + 1, course.batch, width, dtype=compiled.dtype)
        whole[-1 if course.reverse else 0] = begin[direction.names.carried[leaf]]
        kept[name] = cleared(whole[:-1] if course.reverse else whole[1:], dead)
        states[leaf] = whole[1:] if course.reverse else whole[:-1]
    return kept, states


def room(course: Course, width: int, dtype: torch.dtype, dead: Tensor | None) -> Tensor:
    """(T, B, width) for what a loop stores: zero in rows that do not count."""
    return cleared(torch.empty(course.steps, course.batch, width, dtype=dtype), dead)


def cleared(memory: Tensor, dead: Tensor | None) -> Tensor:
    """A memory with zeros in the rows that no loop stores: nothing may be read there unwritten."""
    if dead is not None:
        memory.flatten(0, 1).index_fill_(0, dead, 0.0)
    return memory


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
            anew = flat_leaf(fresh[leaf], compiled.dtype) if fresh else None
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


def as_value(memory: Tensor, node: Node) -> Tensor:
    """What a loop has kept, as a value of the graph."""
    flat = _flat(memory, node.shape)
    return flat != 0 if node.mask else flat


def _flat(memory: Tensor, shape: Sequence[int]) -> Tensor:
    """(T, B, width) as (T * B, *shape)."""
    return memory.view(-1, *shape)


def _outputs(job: Job, direction: Direction, values: Values, fixed: Fixed) -> Leaves:
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
            whole = torch.where(like(live, whole), whole, whole.new_zeros(()))
        if graph[node].mask and whole.dtype != torch.bool:
            whole = whole != 0
        shape = course.steps, course.batch, *graph[node].shape
        outputs.append(whole.reshape(shape).detach())
    return outputs


def like(mask: Tensor, leaf: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (leaf.dim() - 1))
