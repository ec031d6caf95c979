"""Forward: columns beside the loop by torch, for all steps at once; the loop by a kernel."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bptt.compiler.compiled import Direction
from bptt.compiler.parallel import Parallel
from bptt.course import Course
from bptt.fused import states
from bptt.fused.job import Given, Job, Values
from bptt.fused.loop import Fixed, Rows, flat_leaf, loop, memories, repeats, rows_of
from bptt.fused.rooms import Room, Rooms, room_of
from bptt.step import Leaves

PART = 1 << 20  # numbers that a column makes on the way, at most: they fit in a cache
BLOCK = 64  # steps; parts are whole numbers of them


def run(
    job: Job,
    given: Given,
    fixed: Fixed,
    direction: Direction,
    *,
    outputs: bool = True,
    rooms: Rooms | None = None,
) -> tuple[Leaves, Leaves, Values]:
    """Outputs, the final state, and every value on the way.

    Args:
        job: what to run.
        given: its tensors.
        fixed: what the direction computes once.
        direction: forward, with or without what the way back needs.
        outputs: whether those are wanted.
        rooms: used by one segment after another: what it returns holds until the next one runs.
    """
    course = job.course
    values = given_values(job, given.inputs)
    values.update(computed(direction.before, direction.columns.before, values, fixed, course))
    begin = _carries(direction, given.initial, job.compiled.dtype)
    room = room_of(job, direction, begin, given.initial, rooms)
    reset = _reset(job, direction, given.fresh)
    begun = states.Begun(course, room.begin, None if reset is None else reset[1], {})
    if rooms is not None and repeats(course, direction):
        room.run(job, direction, values, fixed, back=False)
    elif job.stored is None:
        _loop(job, direction, given.fresh, memories(job, direction, values, fixed), room)
    else:
        begun = _apart(job, direction, given.fresh, memories(job, direction, values, fixed), room)
    add_kept(direction, room.kept, values)
    if direction.reads_states:
        states.add(job, direction, values, begun, room.states if job.stored is None else {})
    found = shown(job, direction, values, fixed) if outputs else []
    carried = zip(direction.names.carried, given.initial, strict=True)
    return found, [_leaf(room.end[name], leaf) for name, leaf in carried], values


def _loop(job: Job, direction: Direction, fresh: Leaves, reads: Rows, room: Room) -> None:
    course = job.course
    shape, rows = (course.steps, course.batch), rows_of(course)
    reset = _reset(job, direction, fresh)
    loop(job, direction, {**reads, **room.kept}, shape, rows, room.begin, room.end, reset)


def _reset(job: Job, direction: Direction, fresh: Leaves) -> tuple[Tensor, Rows, str] | None:
    mask = job.course.reset
    return None if mask is None else (mask, _carries(direction, fresh, job.compiled.dtype), "enter")


def computed(
    run: Parallel, nodes: Sequence[int], values: Values, fixed: Fixed, course: Course
) -> Values:
    """What a column computes for all steps at once, or for so many that what it makes on the way
    stays in the cache.
    """
    given = [values[node] for node in run.given]
    steps, rows = course.steps, course.steps * course.batch
    size = PART // max(run.between * course.batch, 1) // BLOCK * BLOCK
    if steps < 2 * max(size, BLOCK):
        found = run.run(given, fixed, steps, rows)
    else:
        found = _by_parts(run, given, fixed, course, max(size, BLOCK))
    return dict(zip(nodes, found, strict=True))


def _by_parts(
    run: Parallel, given: Sequence[Tensor], fixed: Fixed, course: Course, size: int
) -> list[Tensor]:
    """So many steps at a time."""
    batch, whole = course.batch, list[Tensor]()
    for begin in range(0, course.steps, size):
        steps = min(size, course.steps - begin)
        part = slice(begin * batch, (begin + steps) * batch)
        found = run.run([leaf[part] for leaf in given], fixed, steps, steps * batch)
        if not whole:
            rows = course.steps * batch
            whole = [leaf.new_empty(rows, *leaf.shape[1:]) for leaf in found]
        for leaf, own in zip(whole, found, strict=True):
            leaf[part] = own
    return whole


def _apart(job: Job, direction: Direction, fresh: Leaves, reads: Rows, room: Room) -> states.Begun:
    """The first steps each from its stored state, as the rows of one step; the rest as ever."""
    assert job.stored is not None
    course, names, kept, reset = (
        job.course,
        direction.names,
        room.kept,
        _reset(job, direction, fresh),
    )
    alone, batch = len(job.stored[0]) - 1, course.batch
    cut = alone * batch
    starts = [flat_leaf(leaf.flatten(0, 1), job.compiled.dtype) for leaf in job.stored]
    carried = dict(zip(names.carried, starts, strict=True))
    begin = {name: leaf[cut:] for name, leaf in carried.items()}
    rest = None if reset is None else (reset[0][alone:], *reset[1:])
    steps = {**{name: reads[name] for name in names.step}, **kept}
    after = {name: leaf[cut:] for name, leaf in steps.items()}
    shape = course.steps - alone, batch
    loop(job, direction, {**reads, **after}, shape, None, begin, room.end, rest)
    found = {name: leaf[:cut] for name, leaf in carried.items()}
    if reset is not None:
        mask, anew, _ = reset
        rows = mask[:alone].reshape(-1, 1)
        found = {n: torch.where(rows, anew[n].repeat(alone, 1), s) for n, s in found.items()}
    if alone:
        at_once = {n: leaf[:cut] for n, leaf in steps.items()}
        tiled = {name: reads[name].repeat(alone, 1) for name in names.sequence}
        dropped = {name: torch.empty_like(leaf) for name, leaf in found.items()}
        given = {**reads, **at_once, **tiled}
        loop(job, direction, given, (1, cut), None, found, dropped, None)
    mask, anew = (None, None) if rest is None else rest[:2]
    return states.Begun(Course(shape[0], batch, None, mask, False), begin, anew, found)


def given_values(job: Job, inputs: Leaves) -> Values:
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


def _carries(direction: Direction, leaves: Leaves, dtype: torch.dtype) -> Rows:
    pairs = zip(direction.names.carried, leaves, strict=True)
    return {name: flat_leaf(leaf, dtype) for name, leaf in pairs}


def _leaf(row: Tensor, like: Tensor) -> Tensor:
    """(B, width) in the shape and dtype of a state's leaf."""
    row = row if like.dtype is row.dtype else row != 0
    return row if row.shape == like.shape else row.reshape(like.shape)


def add_kept(direction: Direction, kept: Rows, values: Values) -> None:
    """Add what a loop has kept."""
    for name, node, _, _, mask in direction.kept:
        values[node] = kept[name] != 0 if mask else kept[name]


def shown(job: Job, direction: Direction, values: Values, fixed: Fixed) -> Leaves:
    """Outputs; what they are made of is added to the values."""
    compiled, course = job.compiled, job.course
    graph, columns = compiled.step.graph, direction.columns
    after: Values = {}
    if columns.after:
        after = computed(direction.after, columns.after, values, fixed, course)
        values.update((n, t) for n, t in after.items() if n not in values)
    live, seen, outputs = course.live, set[int](), []
    for node in compiled.step.outputs:
        whole = after[node] if node in after else values[node]
        if node in columns.given or node in seen:  # memory of the caller's, or shown twice
            whole = whole.clone()
        seen.add(node)
        if live is not None and node in after:
            whole = torch.where(like(live, whole), whole, whole.new_zeros(()))
        if graph[node].mask and whole.dtype != torch.bool:
            whole = whole != 0
        shape = course.steps, course.batch, *graph[node].shape
        outputs.append(whole.reshape(shape).detach())
    return outputs


def like(mask: Tensor, leaf: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (leaf.dim() - 1))
