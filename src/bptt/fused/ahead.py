"""The way forward of ordinary unrolls."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bptt import starts
from bptt.compiler.compiled import Compiled, Direction, Kept
from bptt.course import Course
from bptt.fused import ordinary
from bptt.fused.forward import computed, given_values
from bptt.fused.forward import like as beside
from bptt.fused.job import Given, Job, Values
from bptt.fused.loop import flat_leaf, shifted
from bptt.fused.ordinary import Carries, Loop, like
from bptt.step import Leaves


def goes(job: Job, direction: Direction) -> bool:
    """Whether a job goes this way."""
    return ordinary.is_ordinary(job, direction) and direction.keeps_states


def ahead(job: Job, direction: Direction) -> "Ahead":
    """The way forward of all jobs of this one's step."""
    found = direction.made.get("ordinary")
    if found is None:
        found = direction.made["ordinary"] = Ahead(job, direction)
    return found


class Ahead:
    """The way forward.

    Args:
        job: the first of a step's.
        direction: with or without what the way back needs.
    """

    def __init__(self, job: Job, direction: Direction) -> None:
        self._direction, self._loop = direction, Loop(job, direction, backward=False)
        self._dtype = job.compiled.dtype
        self._before = {slot.index: slot.node for slot in job.compiled.states}
        self._shown = list(_shown(job.compiled, direction))

    def run(self, job: Job, given: Given) -> tuple[Leaves, Leaves, Values]:
        """Outputs, the final state, and every value on the way."""
        course, direction, columns = job.course, self._direction, self._direction.columns
        fixed, values = direction.once.run(given.own), given_values(job, given.inputs)
        if direction.prepares:
            values.update(computed(direction.before, columns.before, values, fixed, course))
        begin = [flat_leaf(leaf, self._dtype) for leaf in given.initial]
        fresh = [flat_leaf(leaf, self._dtype) for leaf in given.fresh]
        carries = Carries(
            begin, [torch.empty_like(leaf) for leaf in begin], [0] * len(begin), fresh
        )
        kept = [self._memory(course, part, carries, values) for part in direction.kept]
        self._loop.run(course, values, fixed, kept, carries)
        if direction.reads_states and not shifted(course):
            self._add_states(course, carries, values)
        after: Values = {}
        if columns.after:
            after = computed(direction.after, columns.after, values, fixed, course)
            values = {**after, **values}
        outputs = [self._output(course, values, after, *shown) for shown in self._shown]
        return outputs, list(map(like, carries.end, given.initial)), values

    def _memory(self, course: Course, part: Kept, carries: Carries, values: Values) -> Tensor:
        """What the loop is to keep; of a state, beside the first, so that both ends can be read."""
        batch, leaf = course.batch, part.leaf
        rows = course.steps * batch
        if leaf is None or not (self._direction.reads_states and shifted(course)):
            memory = torch.empty(rows, *part.shape, dtype=self._dtype)
        else:
            whole = torch.empty(rows + batch, *part.shape, dtype=self._dtype)
            early, late = whole[:-batch], whole[batch:]
            memory, before = (early, late) if course.reverse else (late, early)
            carries.heads[leaf] = (whole[rows:] if course.reverse else whole).data_ptr()
            if leaf in self._before:
                values[self._before[leaf]] = before
        if course.dead is not None:  # no loop stores anything there, but sums read it
            memory.index_fill_(0, course.dead, 0.0)
        values[part.node] = memory
        return memory

    def _add_states(self, course: Course, carries: Carries, values: Values) -> None:
        """The states before each step, where that is not the one stored a step earlier."""
        for part in self._direction.kept:
            node = None if part.leaf is None else self._before.get(part.leaf)
            if node is not None:
                first, fresh = carries.begin[part.leaf], carries.fresh
                after = values[part.node].view(course.steps, *first.shape)
                found = starts.before(course, after, first, fresh[part.leaf] if fresh else None)
                values[node] = found.view(-1, *part.shape)

    def _output(
        self,
        course: Course,
        values: Values,
        after: Values,
        node: int,
        copied: bool,
        shape: tuple[int, ...],
    ) -> Tensor:
        whole, live = values[node], course.live
        if live is not None and node in after:
            whole = torch.where(beside(live, whole), whole, 0.0)
        elif copied:
            whole = whole.clone()
        return whole.reshape(course.steps, course.batch, *shape).detach()


def _shown(compiled: Compiled, direction: Direction) -> Iterator[tuple[int, bool, tuple[int, ...]]]:
    """Outputs: their nodes, whether the caller gets copies, the shapes of rows."""
    seen = set(direction.columns.given)  # memory of the caller's, or shown twice
    for node in compiled.step.outputs:
        yield node, node in seen, compiled.step.graph[node].shape
        seen.add(node)
