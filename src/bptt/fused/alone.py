"""The way back of runs that do not meet and go back side by side, by one call of a kernel.

So do those of a short `Truncated` unroll, or of a stream's window, in which no run reaches beyond
the end of the one before. Where they lie is asked once for all unrolls alike.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bptt.backends.cpu.kernel import Rows
from bptt.compiler.compiled import Direction
from bptt.course import Course
from bptt.fused import back, ordinary, runs, windows
from bptt.fused.back import Back, Found
from bptt.fused.job import Given, Job, Values
from bptt.fused.ordinary import Carries, Fixed
from bptt.fused.passes import Layout, Pass
from bptt.methods import Full
from bptt.step import Leaves

LAYOUTS = 32  # that are remembered of a step


def way(job: Job, direction: Direction) -> Back | None:
    """The way back of an ordinary job, if one call of a kernel goes all of it."""
    if not ordinary.is_ordinary(job, direction):
        return None
    if type(job.method) is Full:
        whole = back.back(job, direction)
        return whole if whole.is_one_window(job.course) else None
    course, alike = job.course, job.method.alike
    if alike is None or course.lengths is not None or course.reset is not None:
        return None
    known = direction.made.setdefault("alone", {})
    key = alike, course.steps, course.batch, course.reverse
    if key not in known:
        if len(known) == LAYOUTS:
            known.clear()
        known[key] = _made(job, direction)
    return known[key]


def _made(job: Job, direction: Direction) -> "Alone | None":
    size = windows.size_of(windows.width(direction), job.course, job.compiled.dtype)
    laid = runs.layout(job.course, job.method, size)
    if laid is None or not _is_one_call(laid):
        return None
    return Alone(job, direction, laid.parts[0].groups[0].passes[0])


def _is_one_call(laid: Layout) -> bool:
    """Whether every loss enters a run, every step is in one, and all begin with nothing."""
    if laid.entering is not None or len(laid.resting) or len(laid.parts) > 1:
        return False
    (part,) = laid.parts
    if len(part.untouched) or [len(group.passes) for group in part.groups] != [1]:
        return False
    return part.groups[0].passes[0].source is None


class Alone(Back):
    """The way back of runs that begin with nothing but their losses.

    Args:
        job: the first of those alike.
        direction: the way back, where some outputs may not have been used.
        rows: where the runs go.
    """

    def __init__(self, job: Job, direction: Direction, rows: Pass) -> None:
        super().__init__(job, direction)
        self._pass = rows
        assert rows.rows.sequence is not None
        widths = {m.name: m.width for m in self._direction.loop.memories if m.kind == "carry"}
        self._begin = [
            torch.zeros(len(rows.rows.sequence), widths[name], dtype=self._dtype)
            for name in self._direction.names.carried
            if name in widths
        ]

    def _carries(
        self, course: Course, initial: Leaves, adjoints: Sequence[Tensor | None]
    ) -> Carries:
        return Carries.of(self._begin, [])

    def _run_loop(
        self,
        course: Course,
        values: Values,
        fixed: Fixed,
        carries: Carries,
        rows: Rows | None = None,
    ) -> None:
        super()._run_loop(course, values, fixed, carries, self._pass.rows)

    def _gradients(
        self,
        job: Job,
        given: Given,
        found: dict[int, Tensor],
        carries: Carries,
        wanted: Sequence[bool],
    ) -> Found:
        first = len(given.inputs)
        end = given.initial  # as good as any, where nobody asks for what arrives there
        if any(wanted[first : first + len(end)]):
            end = [self._arrived(job.course, leaf) for leaf in carries.end]
        elif len(carries.end) < len(end):
            end = [leaf for leaf, carried in zip(end, self._carried, strict=True) if carried]
        return super()._gradients(job, given, found, carries._replace(end=end), wanted)

    def _arrived(self, course: Course, end: Tensor) -> Tensor:
        """(B, width) what runs have left at the initial state."""
        reached, total = self._pass.reached, end.new_zeros(course.batch, end.shape[1])
        if len(reached):
            total.index_add_(0, self._pass.owners, end.index_select(0, reached))
        return total
