"""A direction's loop: what it reads, and its run by a kernel."""

import math

import torch
from torch import Tensor

from bptt.backends.cpu import kernel
from bptt.compiler.compiled import Direction
from bptt.compiler.record import Ref
from bptt.course import Course
from bptt.fused.job import Job, Values

Fixed = dict[Ref, Tensor]
Rows = dict[str, Tensor]  # by memory or carry


def repeats(course: Course, direction: Direction) -> bool:
    """Whether segments may differ in nothing but what they read at each step."""
    return bool(direction.loop.stages) and course.lengths is None and course.reset is None


def shifted(course: Course) -> bool:
    """Whether the state before each step is the one that was stored a step earlier."""
    return course.reset is None and not (course.reverse and course.lengths is not None)


def rows_of(course: Course, backward: bool = False) -> kernel.Rows | None:
    """The rows of a loop that goes forward, or back again, through each sequence."""
    direction = -1 if course.reverse != backward else 1
    lengths = course.lengths
    if lengths is None and direction > 0:
        return None
    return kernel.Rows(steps=lengths, direction=direction)


def loop(
    job: Job,
    direction: Direction,
    memories: Rows,
    shape: tuple[int, int],
    rows: kernel.Rows | None,
    begin: Rows,
    end: Rows,
    reset: tuple | None,
) -> None:
    """Run a loop once.

    Args:
        job: what is run.
        direction: forward or backward.
        memories: what it reads and keeps.
        shape: T and B.
        rows: which sequences through which steps.
        begin, end: carries before the first and after the last step.
        reset: a kernel's `Reset`, or None.
    """
    if direction.loop.stages:
        compiled(job, direction).run(memories, rows, begin, end, reset, shape)
        return
    for name, first in begin.items():  # a state that no step changes
        end[name].copy_(_unchanged(rows, first, name, reset))


def compiled(job: Job, direction: Direction) -> kernel.Kernel:
    """The kernel of a loop."""
    made = direction.made.get("cpu")
    if made is None:
        made = direction.made["cpu"] = kernel.make(direction.loop, job.compiled.dtype)
    return made


def _unchanged(rows: kernel.Rows | None, first: Tensor, name: str, reset: tuple | None) -> Tensor:
    if reset is None:
        return first
    mask, fresh, mode = reset
    some = (mask if rows is None else _within(rows, mask)).any(0)[:, None]
    if mode == "leave":
        fresh[name] += torch.where(some, first, 0.0)
        return torch.where(some, 0.0, first)
    return torch.where(some, fresh[name], first)


def _within(rows: kernel.Rows, mask: Tensor) -> Tensor:
    """(T, R) the mask of resets at the steps that rows go through."""
    sequence, start, steps, direction, *_ = rows
    mask = mask if sequence is None else mask[:, sequence]
    if steps is None:
        return mask
    if start is None:
        start = torch.zeros_like(steps) if direction > 0 else steps - 1
    time, last = torch.arange(len(mask))[:, None], start + direction * (steps - 1)
    inside = (torch.minimum(start, last) <= time) & (time <= torch.maximum(start, last))
    return mask & inside & (steps > 0)


def flat_leaf(leaf: Tensor, dtype: torch.dtype) -> Tensor:
    """A leaf of the state as (B, width) numbers."""
    leaf = leaf if leaf.dtype == dtype else leaf.to(dtype)
    leaf = leaf if leaf.dim() == 2 else leaf.reshape(leaf.shape[0], math.prod(leaf.shape[1:]))
    return leaf.contiguous()


def memories(job: Job, direction: Direction, values: Values, fixed: Fixed) -> Rows:
    """What a loop reads."""
    return {**step_reads(job, direction, values), **fixed_reads(job, direction, fixed)}


def step_reads(job: Job, direction: Direction, values: Values) -> Rows:
    """What a loop reads at each step."""
    dtype = job.compiled.dtype
    return {name: real(values[node], dtype) for name, node in direction.names.step.items()}


def fixed_reads(job: Job, direction: Direction, fixed: Fixed) -> Rows:
    """What a loop reads that is the same at all steps."""
    graph, names, dtype = direction.columns.graph, direction.names, job.compiled.dtype
    reads = {
        name: real(fixed[graph[node].attributes[0]], dtype) for name, node in names.sequence.items()
    }
    for name, part in names.fixed.items():
        tensor = fixed[graph[part.node].attributes[0]]
        if part.stop is None:
            reads[name] = real(tensor, dtype)
        else:
            reads[name] = part.rows_of(tensor, dtype)
    return reads


def real(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return (tensor if tensor.dtype is dtype else tensor.to(dtype)).contiguous()
