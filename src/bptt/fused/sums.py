"""What the way back leaves, from rows that count alone: padding may hold anything.

Adjoints are zero in rows that do not count, but zero times what stands there need not be: it may be
no number, or become one on the way, as the logarithm of zero does. So those rows are left out; or,
where they are few, they are filled with what is safe.
"""

import math

from torch import Tensor

from bptt.compiler.compiled import Direction
from bptt.compiler.graph import SUMS
from bptt.compiler.parallel import Parallel
from bptt.course import Course
from bptt.fused.job import Job, Values
from bptt.fused.loop import Fixed

FEW = 4  # one row in so many that does not count: leaving those out takes longer than they do


def after(
    job: Job, direction: Direction, run: Parallel, values: Values, fixed: Fixed
) -> dict[int, Tensor]:
    """Gradients of inputs and weights, by node.

    Args:
        job: what was run.
        direction: the way back.
        run: its `after`; or its `rest`, where values hold what the loop has summed.
        values: what there is after the loop.
        fixed: what the direction computes once.
    """
    course, nodes = job.course, direction.columns.after
    rows = course.steps * course.batch
    if not course.padding or direction.is_summed:
        given = [values[node] for node in run.given]
    elif direction.tells_rows_apart or (direction.bounded and course.padding * FEW < rows):
        given = _filled(job, direction, run, values)
    else:
        return _left_out(course, direction, run, values, fixed)
    return dict(zip(nodes, run.run(given, fixed, course.steps, rows), strict=True))


def _left_out(
    course: Course, direction: Direction, run: Parallel, values: Values, fixed: Fixed
) -> dict[int, Tensor]:
    """From the rows that count, brought together."""
    assert course.live is not None
    index, graph = course.live.nonzero().flatten(), direction.columns.graph
    given = [
        values[node] if graph[node].op in SUMS else values[node].index_select(0, index)
        for node in run.given
    ]
    found = run.run(given, fixed, course.steps, len(index))
    return {
        node: tensor if graph[node].op in SUMS else
        tensor.new_zeros(len(course.live), *tensor.shape[1:]).index_copy_(0, index, tensor)
        for node, tensor in zip(direction.columns.after, found, strict=True)
    }  # fmt: skip


def _filled(job: Job, direction: Direction, run: Parallel, values: Values) -> list[Tensor]:
    """What the column takes, safe in rows that do not count."""
    course = job.course
    kept, known = _safe(job, direction)
    given = []
    for node in run.given:
        value = values[node]
        if node in direction.adjoints:
            value = value if node in kept else _zeroed(course, value)
        elif not direction.bounded:
            value = _with_a_live_row(course, value)
        elif node not in known and not _is_safe(course, direction, node, value):
            value = _zeroed(course, value)
        given.append(value)
    return given


def _safe(job: Job, direction: Direction) -> tuple[frozenset[int], frozenset[int]]:
    """The adjoints, and the other values, that are safe as they are."""
    found = direction.made.get("safe")
    if found is None:
        names, forward = direction.names, job.compiled.forward.names
        found = direction.made["safe"] = (
            frozenset((  # zero there: the loop's own
                *names.kept.values(), *names.totals.values(), *names.outers.values()
            )),
            frozenset((
                *forward.kept.values(),  # as forward left them: zero
                *(slot.node for slot in job.compiled.states),  # or what a sequence ended with
            )),
        )  # fmt: skip
    return found


def _is_safe(course: Course, direction: Direction, node: int, value: Tensor) -> bool:
    """Whether zero times what stands in rows that do not count, or near them, is zero."""
    near = value[course.least * course.batch :]
    return node in direction.factors and math.isfinite(near.sum())


def _zeroed(course: Course, value: Tensor) -> Tensor:
    """A copy, zero in rows that do not count."""
    return value.clone().index_fill_(0, _dead(course), 0.0)


def _dead(course: Course) -> Tensor:
    assert course.dead is not None
    return course.dead


def _with_a_live_row(course: Course, value: Tensor) -> Tensor:
    """A copy that repeats a row that counts in those that do not."""
    assert course.lengths is not None
    dead = _dead(course)
    live = value[int(course.lengths.argmax())]  # of the longest sequence, at the first step
    return value.clone().index_copy_(0, dead, live.expand(len(dead), *live.shape))
