"""Ordinary unrolls written out: all that a call of one plan does, as lines of Python.

With few and short sequences a call takes as long to find out what to do as to do it, and a view
takes as long as many steps of a kernel. So where every step follows the one before it and is one
that nothing is odd about, a plan's first call writes down what all of its calls do: which memory
the kernel reads and fills, by address, and what torch computes beside it. Calls with lengths are
another function than those without, and so are those with resets, and those that run in reverse.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from bptt.compiler.compiled import Direction
from bptt.fused import alone, backward, windows, write_ahead, write_back
from bptt.fused.job import Job
from bptt.fused.lines import Lines
from bptt.methods import Checkpointed, Full

Found = list[Tensor | None]
LAYOUTS = 32  # of runs, that are remembered of a plan


def written(job: Job, tensors: Sequence[Tensor], direction: Direction) -> "Written | None":
    """What all calls of a plan do, where it can be written down and this one is like them."""
    if job.stored is not None or isinstance(job.method, Checkpointed):
        return None
    if not all(map(Tensor.is_contiguous, tensors[sum(job.counts) :])):
        return None
    course = job.course
    key = f"written {course.reverse} {course.lengths is None} {course.reset is None}"
    if key not in direction.made:
        direction.made[key] = _made(job, tensors, direction)
    return direction.made[key]


def _made(job: Job, tensors: Sequence[Tensor], direction: Direction) -> "Written | None":
    given = tensors[: sum(job.counts)]
    alike = all(tensor.dtype is job.compiled.dtype for tensor in given)
    goes = alike and direction.is_plain and direction.keeps_states
    return Written(job, tensors, direction) if goes else None


class Written:
    """Both ways of a plan.

    Args:
        job: a call of the plan.
        tensors: its tensors.
        direction: forward, with or without what the way back needs.

    Attributes:
        ahead: `ahead(job, tensors) -> outputs, final state, what the way back needs`.
    """

    def __init__(self, job: Job, tensors: Sequence[Tensor], direction: Direction) -> None:
        own = tensors[sum(job.counts) :]
        self._own = [tensor.new_empty(tensor.shape, device="meta") for tensor in own]
        self._direction = direction
        lines = Lines(job, self._own, direction, backward=False)
        self._kept = self._needed(lines)
        kept = list(dict.fromkeys(self._kept.values()))
        self.ahead = write_ahead.write(lines, kept)
        self._backs: dict[frozenset[int], _Back] = {}

    def _needed(self, lines: Lines) -> dict[int, str]:
        """The memory of each value that the way back needs."""
        compiled, direction, memories = lines.compiled, self._direction, lines.memories
        if direction is not compiled.forward or not compiled.differentiable:
            return {}
        states = {slot.node for slot in compiled.states}
        known = {*direction.columns.before, *direction.columns.after, *memories.stored, *states}
        inputs = {slot.node for slot in compiled.inputs}
        taken = compiled.backward(frozenset()).taken
        return {node: memories.name(node) for node in taken if node in known - inputs}

    def back(
        self,
        job: Job,
        tensors: Sequence[Tensor],
        kept: Sequence[Tensor],
        adjoints: Sequence[Tensor | None],
        wanted: Sequence[bool],
    ) -> Found:
        """The gradients of a call's tensors, in their order."""
        outputs = adjoints[: len(adjoints) - job.counts[1]]
        absent = frozenset([i for i, adjoint in enumerate(outputs) if adjoint is None])
        way = self._backs.get(absent)
        if way is None:
            direction = job.compiled.backward(absent)
            way = self._backs[absent] = _Back(job, self._own, self._kept, direction)
        return way(job, tensors, kept, adjoints, wanted)


class _Back:
    """The way back.

    Args:
        job: a call of the plan.
        own: the cell's tensors, without numbers.
        kept: the memory of each value that there is, by node.
        direction: the way back, where some outputs may not have been used.
    """

    def __init__(
        self, job: Job, own: Sequence[Tensor], kept: dict[int, str], direction: Direction
    ) -> None:
        self._direction, self._dtype = direction, job.compiled.dtype
        self._whole = whole = job.compiled.gathered(direction) or direction
        self._width = 0 if whole.is_summed else windows.width(whole)
        self._own, self._kept = own, kept
        self._apart: dict[tuple, Callable[..., Found] | None] = {}
        self._values = write_back.values(Lines(job, own, direction, backward=True), kept)
        self._run = None
        if whole.is_plain:
            self._run = write_back.write(Lines(job, own, whole, backward=True), kept)

    def __call__(
        self,
        job: Job,
        tensors: Sequence[Tensor],
        kept: Sequence[Tensor],
        adjoints: Sequence[Tensor | None],
        wanted: Sequence[bool],
    ) -> Found:
        run = self._at_once(job)
        if run is not None:
            return run(job, tensors, kept, adjoints, wanted)
        given, values = job.split(tensors), self._values(job, tensors, kept)
        fixed = self._direction.once.run(given.own)
        found = windows.run(job, given, fixed, self._direction, values, adjoints)
        return backward.gradients(job, given, found, wanted)

    def _at_once(self, job: Job) -> Callable[..., Found] | None:
        """What goes all the way back by one call of the kernel, if one does."""
        if type(job.method) is Full or self._run is None:
            size = windows.size_of(self._width, job.course, self._dtype)
            return self._run if size >= job.course.steps else None
        if job.course.lengths is not None or job.course.reset is not None:
            return None
        key = job.method.alike, job.course.steps, job.course.batch
        if key not in self._apart:
            if len(self._apart) == LAYOUTS:
                self._apart.clear()
            self._apart[key] = self._side_by_side(job)
        return self._apart[key]

    def _side_by_side(self, job: Job) -> Callable[..., Found] | None:
        """What takes runs back that do not wait for each other."""
        size = windows.size_of(self._width, job.course, self._dtype)
        rows = alone.rows(job, size)
        lines = Lines(job, self._own, self._whole, backward=True)
        return None if rows is None else write_back.write(lines, self._kept, rows)
