"""Ordinary unrolls: every step follows the one before it, and is one that nothing is odd about.

They do what `forward` and `backward` do, by the same operations and to the same bits. But what
those ask at every call is asked at a step's first one: with few and short sequences, asking takes
longer than computing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.backends.cpu.kernel import Rows
from bptt.compiler.arrange import Part
from bptt.compiler.compiled import Direction
from bptt.compiler.record import Ref
from bptt.course import Course
from bptt.fused.job import Job, Values
from bptt.fused.loop import compiled as kernel_of
from bptt.fused.loop import real
from bptt.step import Leaves

Fixed = dict[Ref, Tensor]
ENDS = ("begin", "end", "head", "before", "fresh")
UP, DOWN = Rows(), Rows(direction=-1)


def is_ordinary(job: Job, direction: Direction) -> bool:
    """Whether every step of a job follows the one before, and nothing about it is unusual."""
    return job.stored is None and direction.is_plain


class Carries(NamedTuple):
    """What the loop hands from step to step, per leaf of the state: (B, width).

    Attributes:
        begin: what it begins with.
        end: filled with what it ends with.
        fresh: what resets start from, or, going back, add to; none where there are no resets.
        heads: addresses where what it begins with is stored too; 0 for nowhere.
        before: addresses where each step's beginning is stored; 0 for nowhere.
    """

    begin: Leaves
    end: Leaves
    fresh: Leaves
    heads: list[int]
    before: list[int]

    @classmethod
    def of(cls, begin: Leaves, fresh: Leaves) -> "Carries":
        """What begins and starts afresh with these, and is stored nowhere else so far."""
        count, end = len(begin), [torch.empty_like(leaf) for leaf in begin]
        return cls(begin, end, fresh, [0] * count, [0] * count)

    def addresses(self) -> list[int]:
        """In the order of ENDS, leaf by leaf."""
        fresh = [leaf.data_ptr() for leaf in self.fresh] or [0] * len(self.begin)
        found: list[int] = []
        for first, last, *rest in zip(
            self.begin, self.end, self.heads, self.before, fresh, strict=True
        ):
            found += (first.data_ptr(), last.data_ptr(), *rest)
        return found


class Loop:
    """A direction's loop, which knows where its kernel expects what."""

    def __init__(self, job: Job, direction: Direction, backward: bool) -> None:
        names, graph = direction.names, direction.columns.graph
        self._kernel, self._dtype = kernel_of(job, direction), job.compiled.dtype
        self._backward, self._nodes = backward, list(names.step.values())
        self._outers = list(names.outers.values())
        self._weights: list[Ref] = []
        self._matrices: list[tuple[Ref, Part]] = []
        weights, matrices = list[str](), list[str]()
        for name, part in names.fixed.items():
            ref = graph[part.node].attributes[0]
            if part.stop is None:
                self._weights.append(ref)
                weights.append(name)
            else:
                self._matrices.append((ref, part))
                matrices += [name, f"{name}.down", f"{name}.across"]
        carries = [f"{name}.{end}" for name in names.carried for end in ENDS]
        slots = self._kernel.slots
        places = [
            "mask",
            "leave",
            *names.step,
            *weights,
            *matrices,
            *names.kept,
            *(f"{name}.end" for name in names.totals),
            *(c for c in carries if c in slots),
        ]
        self._places = [slots[name] for name in places]

    def run(
        self,
        course: Course,
        values: Values,
        fixed: Fixed,
        kept: Sequence[Tensor],
        carries: Carries,
    ) -> Values:
        """Fill what is kept, and the carries' ends; the sums of products that the loop adds up."""
        dtype, back, mask = self._dtype, self._backward, course.reset
        if mask is None and any(carries.before):  # with a mask alone each step's beginning is told
            mask = torch.zeros(course.steps, course.batch, dtype=torch.bool)
        read = [real(values[node], dtype) for node in self._nodes]
        read += [real(fixed[ref], dtype) for ref in self._weights]
        addresses = [0 if mask is None else mask.data_ptr(), int(back)]
        addresses += [tensor.data_ptr() for tensor in read]
        for ref, part in self._matrices:
            matrix = part.rows_of(fixed[ref], dtype)
            read.append(matrix)
            addresses += (matrix.data_ptr(), *matrix.stride())
        addresses += [tensor.data_ptr() for tensor in kept]
        addresses += carries.addresses()
        rows = DOWN if course.reverse != back else UP
        if course.lengths is not None:
            rows = rows._replace(steps=course.lengths, name=course.numbers)
        found = self._kernel.run_at(self._places, addresses, (course.steps, course.batch), rows)
        return dict(zip(self._outers, found, strict=True))


def cleared(course: Course, memory: Tensor) -> Tensor:
    """Memory for all steps, zero wherever a loop may store nothing: sums read that too."""
    if course.lengths is not None:
        memory[course.least * course.batch :].zero_()
    return memory


def like(row: Tensor, leaf: Tensor) -> Tensor:
    """(B, width) in the shape of a state's leaf."""
    return row if row.shape == leaf.shape else row.view(leaf.shape)
