"""The way forward of ordinary unrolls."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bptt.compiler.compiled import Compiled, Direction, Kept
from bptt.course import Course
from bptt.fused import ordinary
from bptt.fused.forward import computed, given_values
from bptt.fused.forward import like as beside
from bptt.fused.job import Given, Job, Values
from bptt.fused.loop import flat_leaf, shifted
from bptt.fused.ordinary import Carries, Loop, cleared, like
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
        self._shown = list(shown(job.compiled, direction))

    def run(self, job: Job, given: Given) -> tuple[Leaves, Leaves, Values]:
        """Outputs, the final state, and every value on the way."""
        course, direction, columns = job.course, self._direction, self._direction.columns
        fixed, values = direction.once.run(given.own), given_values(job, given.inputs)
        if direction.prepares:
            values.update(computed(direction.before, columns.before, values, fixed, course))
        begin = [flat_leaf(leaf, self._dtype) for leaf in given.initial]
        fresh = [flat_leaf(leaf, self._dtype) for leaf in given.fresh]
        carries = Carries.of(begin, fresh)
        kept = [self._memory(course, part, carries, values) for part in direction.kept]
        self._loop.run(course, values, fixed, kept, carries)
        after: Values = {}
        if columns.after:
            after = computed(direction.after, columns.after, values, fixed, course)
            values = {**after, **values}
        outputs = [self._output(course, values, after, *shown) for shown in self._shown]
        return outputs, list(map(like, carries.end, given.initial)), values

    def _memory(self, course: Course, part: Kept, carries: Carries, values: Values) -> Tensor:
        """What the loop is to keep; of a state, what each step begins with too."""
        leaf, memory = part.leaf, None
        if leaf is not None and self._direction.reads_states:
            if shifted(course):
                memory, before = self._shifted(course, part, carries)
            else:
                before = self._empty(course, part)
                carries.before[leaf] = before.data_ptr()
            if leaf in self._before:
                values[self._before[leaf]] = before
        if memory is None:
            memory = self._empty(course, part)
        values[part.node] = memory
        return memory

    def _empty(self, course: Course, part: Kept) -> Tensor:
        memory = torch.empty(course.steps * course.batch, *part.shape, dtype=self._dtype)
        return cleared(course, memory)

    def _shifted(self, course: Course, part: Kept, carries: Carries) -> tuple[Tensor, Tensor]:
        """States, and those that steps begin with: the same a step later, beside the first."""
        batch, leaf = course.batch, part.leaf
        assert leaf is not None
        whole = torch.empty((course.steps + 1) * batch, *part.shape, dtype=self._dtype)
        early, late = whole[:-batch], whole[batch:]
        memory, before = (early, late) if course.reverse else (late, early)
        carries.heads[leaf] = (whole[-batch:] if course.reverse else whole).data_ptr()
        return cleared(course, memory), before

    def _output(
        self,
        course: Course,
        values: Values,
        after: Values,
        node: int,
        copied: bool,
        shape: tuple[int, ...],
    ) -> Tensor:
        whole = values[node]
        if node in after and course.live is not None:
            whole = torch.where(beside(course.live, whole), whole, 0.0)
        elif copied:
            whole = whole.clone()
        return whole.reshape(course.steps, course.batch, *shape).detach()


def shown(compiled: Compiled, direction: Direction) -> Iterator[tuple[int, bool, tuple[int, ...]]]:
    """Outputs: their nodes, whether the caller gets copies, the shapes of rows."""
    seen = set(direction.columns.given)  # memory of the caller's, or shown twice
    for node in compiled.step.outputs:
        yield node, node in seen, compiled.step.graph[node].shape
        seen.add(node)
