"""Ordinary unrolls: every sequence runs through all steps, every loss goes back to the first.

They do what `forward` and `backward` do, by the same operations and to the same bits. But what
those ask at every call is asked at a step's first one: with few and short sequences, asking takes
longer than computing.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from bptt.backends.cpu.kernel import Rows
from bptt.compiler.arrange import Part
from bptt.compiler.compiled import Compiled, Direction, Kept
from bptt.compiler.parallel import total
from bptt.compiler.record import Ref
from bptt.course import Course
from bptt.fused import windows
from bptt.fused.forward import computed, given_values
from bptt.fused.job import Given, Job, Values
from bptt.fused.loop import compiled as kernel_of
from bptt.fused.loop import flat_leaf
from bptt.methods import Full
from bptt.step import Leaves

Fixed = dict[Ref, Tensor]
Found = list[Tensor | None]
ENDS = ("begin", "end", "head")
UP, DOWN = Rows(), Rows(direction=-1)


def is_ordinary(job: Job, direction: Direction) -> bool:
    """Whether a job is an ordinary unroll, of a step that nothing is unusual about."""
    course = job.course
    plain = type(job.method) is Full and course.lengths is course.reset is job.stored is None
    return plain and direction.is_plain


def ahead(job: Job, direction: Direction) -> "Ahead":
    """The way forward."""
    found = direction.made.get("ordinary")
    if found is None:
        found = direction.made["ordinary"] = Ahead(job, direction)
    return found


def back(job: Job, direction: Direction) -> "Back":
    """The way back."""
    found = direction.made.get("ordinary")
    if found is None:
        found = direction.made["ordinary"] = Back(job, direction)
    return found


class Loop:
    """A direction's loop, which knows where its kernel expects what."""

    def __init__(self, job: Job, direction: Direction, backward: bool) -> None:
        names, graph = direction.names, direction.columns.graph
        self._kernel, self._dtype = kernel_of(job, direction), job.compiled.dtype
        self._backward, self._nodes = backward, list(names.step.values())
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
        begin: Sequence[Tensor],
        end: Sequence[Tensor],
        heads: Sequence[int],
    ) -> None:
        """Fill what is kept, and the carries' ends; at `heads`, what they begin with."""
        dtype = self._dtype
        read = [_real(values[node], dtype) for node in self._nodes]
        read += [_real(fixed[ref], dtype) for ref in self._weights]
        addresses = [tensor.data_ptr() for tensor in read]
        for ref, part in self._matrices:
            matrix = part.rows_of(fixed[ref], dtype)
            read.append(matrix)
            addresses += (matrix.data_ptr(), *matrix.stride())
        addresses += [tensor.data_ptr() for tensor in kept]
        for first, last, head in zip(begin, end, heads, strict=True):
            addresses += (first.data_ptr(), last.data_ptr(), head)
        rows = DOWN if course.reverse != self._backward else UP
        self._kernel.run_at(self._places, addresses, (course.steps, course.batch), rows)


def _real(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return (tensor if tensor.dtype is dtype else tensor.to(dtype)).contiguous()


class Ahead:
    """The way forward of ordinary unrolls.

    Args:
        job: the first of them.
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
        end = [torch.empty_like(leaf) for leaf in begin]
        heads = [0] * len(begin)
        kept = [self._memory(course, part, heads, values) for part in direction.kept]
        self._loop.run(course, values, fixed, kept, begin, end, heads)
        if columns.after:
            after = computed(direction.after, columns.after, values, fixed, course)
            values = {**after, **values}
        outputs = [self._output(course, values, *shown) for shown in self._shown]
        return outputs, list(map(_like, end, given.initial)), values

    def _memory(self, course: Course, part: Kept, heads: list[int], values: Values) -> Tensor:
        """What the loop is to keep; of a state, beside the first, so that both ends can be read."""
        batch, leaf = course.batch, part.leaf
        rows = course.steps * batch
        if leaf is None or not self._direction.reads_states:
            memory = torch.empty(rows, *part.shape, dtype=self._dtype)
        else:
            whole = torch.empty(rows + batch, *part.shape, dtype=self._dtype)
            early, late = whole[:-batch], whole[batch:]
            memory, before = (early, late) if course.reverse else (late, early)
            heads[leaf] = whole.data_ptr()
            if course.reverse:
                heads[leaf] += rows * (whole.nbytes // len(whole))
            if leaf in self._before:
                values[self._before[leaf]] = before
        values[part.node] = memory
        return memory

    def _output(
        self, course: Course, values: Values, node: int, copied: bool, shape: tuple[int, ...]
    ) -> Tensor:
        whole = values[node].clone() if copied else values[node]
        return whole.reshape(course.steps, course.batch, *shape).detach()


def _shown(compiled: Compiled, direction: Direction) -> Iterator[tuple[int, bool, tuple[int, ...]]]:
    """Outputs: their nodes, whether the caller gets copies, the shapes of rows."""
    seen = set(direction.columns.given)  # memory of the caller's, or shown twice
    for node in compiled.step.outputs:
        yield node, node in seen, compiled.step.graph[node].shape
        seen.add(node)


def _like(row: Tensor, leaf: Tensor) -> Tensor:
    return row if row.shape == leaf.shape else row.view(leaf.shape)


class Back:
    """The way back of ordinary unrolls.

    Args:
        job: the first of them.
        direction: the way back, where some outputs may not have been used.
    """

    def __init__(self, job: Job, direction: Direction) -> None:
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
        columns, rows = direction.columns, course.steps * course.batch
        fixed = direction.once.run(given.own)
        for node, index, shape in compiled.losses:
            adjoint = adjoints[index]
            if adjoint is not None:
                values[node] = adjoint.reshape(-1, *shape).contiguous()
        if direction.prepares:
            values.update(computed(direction.before, columns.before, values, fixed, course))
        begin = self._seeds(given.initial, adjoints)
        end, kept = [torch.empty_like(seed) for seed in begin], []
        for part in direction.kept:
            memory = values[part.node] = torch.empty(rows, *part.shape, dtype=self._dtype)
            kept.append(memory)
        sums = [torch.empty(course.batch, *shape, dtype=self._dtype) for shape in self._totals]
        self._loop.run(course, values, fixed, [*kept, *sums], begin, end, [0] * len(begin))
        for node, memory in zip(direction.names.totals.values(), sums, strict=True):
            values[node] = total(memory, course.steps)
        rest = direction.rest
        after = rest.run([values[node] for node in rest.given], fixed, course.steps, rows)
        found = dict(zip(columns.after, after, strict=True))
        return self._gradients(job, given, found, end, wanted)

    def _seeds(self, initial: Leaves, adjoints: Sequence[Tensor | None]) -> Leaves:
        """dE/d(final state), zeros where nothing was used, of what the loop carries."""
        final, dtype = adjoints[len(adjoints) - len(initial) :], self._dtype
        return [
            flat_leaf(torch.zeros(leaf.shape, dtype=dtype) if seed is None else seed, dtype)
            for leaf, seed, carried in zip(initial, final, self._carried, strict=True)
            if carried
        ]

    def _gradients(
        self,
        job: Job,
        given: Given,
        found: dict[int, Tensor],
        end: Leaves,
        wanted: Sequence[bool],
    ) -> Found:
        compiled, ends = job.compiled, iter(end)
        gradients: Found = [
            None if node is None else found[node].view(leaf.shape)
            for node, leaf in zip(compiled.step.d_inputs, given.inputs, strict=True)
        ]
        gradients += [
            _like(next(ends), leaf) if carried else None
            for leaf, carried in zip(given.initial, self._carried, strict=True)
        ]
        reached = {name: found[node] for name, node in self._reached}
        gradients += compiled.weights.pull(given.own, wanted[len(gradients) :], reached)
        return [g if want else None for g, want in zip(gradients, wanted, strict=True)]
