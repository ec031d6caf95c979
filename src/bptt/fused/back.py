"""The way back of ordinary unrolls, where every loss goes back to the first step."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bptt.compiler.compiled import Direction
from bptt.compiler.parallel import total
from bptt.course import Course
from bptt.fused import ordinary, sums, windows
from bptt.fused.forward import computed
from bptt.fused.job import Given, Job, Values
from bptt.fused.loop import flat_leaf
from bptt.fused.ordinary import Carries, Fixed, Loop, cleared, like
from bptt.methods import Full
from bptt.step import Leaves

Found = list[Tensor | None]


def goes(job: Job, direction: Direction) -> bool:
    """Whether a job goes this way."""
    return type(job.method) is Full and ordinary.is_ordinary(job, direction)


def back(job: Job, direction: Direction) -> "Back":
    """The way back of all jobs of this one's step."""
    found = direction.made.get("ordinary")
    if found is None:
        found = direction.made["ordinary"] = Back(job, direction)
    return found


class Back:
    """The way back.

    Args:
        job: the first of a step's.
        direction: the way back, where some outputs may not have been used.
    """

    def __init__(self, job: Job, direction: Direction) -> None:
        direction = job.compiled.gathered(direction) or direction
        step, self._direction, self._dtype = job.compiled.step, direction, job.compiled.dtype
        self._loop, self._width = Loop(job, direction, backward=True), windows.width(direction)
        names = {memory.name for memory in direction.loop.memories}
        graph = direction.columns.graph
        self._totals = [graph[node].shape for node in direction.names.totals.values()]
        self._carried = [name in names for name in direction.names.carried]
        self._reached = [
            (name, node)
            for name, node in zip(step.frontier, step.d_fixed, strict=True)
            if node is not None
        ]

    def is_one_window(self, course: Course) -> bool:
        """Whether all steps go back at once."""
        if self._direction.is_summed:  # it makes nothing for each step that it does not leave
            return True
        return windows.size_of(self._width, course, self._dtype) >= course.steps

    def run(
        self,
        job: Job,
        given: Given,
        values: Values,
        adjoints: Sequence[Tensor | None],
        wanted: Sequence[bool],
    ) -> Found:
        """The gradients of an unroll's tensors, in their order."""
        course, direction, compiled = job.course, self._direction, job.compiled
        fixed = direction.once.run(given.own)
        for node, index, shape in compiled.losses:
            adjoint = adjoints[index]
            if adjoint is not None:
                values[node] = adjoint.reshape(-1, *shape).contiguous()
        if direction.prepares:
            before = direction.columns.before
            values.update(computed(direction.before, before, values, fixed, course))
        carries = self._carries(course, given.initial, adjoints)
        self._run_loop(course, values, fixed, carries)
        found = sums.after(job, direction, direction.rest, values, fixed)
        return self._gradients(job, given, found, carries, wanted)

    def _carries(
        self, course: Course, initial: Leaves, adjoints: Sequence[Tensor | None]
    ) -> Carries:
        """dE/d(final state), zeros where nothing was used, of what the loop carries."""
        final, dtype = adjoints[len(adjoints) - len(initial) :], self._dtype
        begin = [
            flat_leaf(torch.zeros(leaf.shape, dtype=dtype) if seed is None else seed, dtype)
            for leaf, seed, carried in zip(initial, final, self._carried, strict=True)
            if carried
        ]
        fresh = [] if course.reset is None else [torch.zeros_like(leaf) for leaf in begin]
        return Carries.of(begin, fresh)

    def _run_loop(self, course: Course, values: Values, fixed: Fixed, carries: Carries) -> None:
        """Adds to the values what the loop keeps, and the sums that it adds up."""
        direction, kept = self._direction, []
        for part in direction.kept:
            rows = course.steps * course.batch
            memory = torch.empty(rows, *part.shape, dtype=self._dtype)
            values[part.node] = cleared(course, memory)
            kept.append(memory)
        added = [torch.empty(course.batch, *shape, dtype=self._dtype) for shape in self._totals]
        values.update(self._loop.run(course, values, fixed, [*kept, *added], carries))
        for node, memory in zip(direction.names.totals.values(), added, strict=True):
            values[node] = total(memory, course.steps)

    def _gradients(
        self,
        job: Job,
        given: Given,
        found: dict[int, Tensor],
        carries: Carries,
        wanted: Sequence[bool],
    ) -> Found:
        compiled = job.compiled
        gradients: Found = [
            None if node is None else found[node].view(leaf.shape)
            for node, leaf in zip(compiled.step.d_inputs, given.inputs, strict=True)
        ]
        gradients += self._leaves(carries.end, given.initial)
        gradients += self._leaves(carries.fresh, given.fresh)
        reached = {name: found[node] for name, node in self._reached}
        gradients += compiled.weights.pull(given.own, wanted[len(gradients) :], reached)
        return [g if want else None for g, want in zip(gradients, wanted, strict=True)]

    def _leaves(self, found: Leaves, leaves: Leaves) -> Found:
        """What the loop has carried, in the shapes of the state's leaves; those may be absent."""
        rows = iter(found)
        return [
            like(next(rows), leaf) if carried else None
            for leaf, carried in zip(leaves, self._carried, strict=bool(leaves))
        ]
