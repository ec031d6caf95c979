"""The way forward of an ordinary unroll, written out."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bptt.course import Course
from bptt.fused.lines import Lines, carry
from bptt.fused.memories import listed


def write(lines: Lines, kept: Sequence[str]) -> Callable[..., tuple]:
    """`ahead(job, tensors) -> outputs, final state, kept`.

    Args:
        lines: nothing so far.
        kept: the memories that the way back needs.
    """
    direction, columns = lines.direction, lines.direction.columns
    lines.begin()
    lines.fixed((columns.before, direction.before), (columns.after, direction.after))
    if direction.prepares:
        lines.column("before", columns.before, direction.before)
    lines.clear(lines.new(), None if kept else {node for node, _ in lines.memories.shown})
    others = dict[str, str]()
    for leaf, (name, own) in enumerate(zip(lines.state, direction.names.carried, strict=True)):
        lines.write(f"e{leaf} = empty_like({name})")
        others |= carry(own, f"{name}.data_ptr()", f"e{leaf}.data_ptr()", **_others(lines, leaf))
    lines.kernel(others)
    if columns.after:
        lines.column("after", columns.after, direction.after)
    outputs = listed(_output(lines, node, copied) for node, copied in lines.memories.shown)
    ends = listed(f"e{leaf}" for leaf in range(len(lines.state)))
    lines.write(f"return [{outputs}], [{ends}], [{listed(kept)}]")
    return lines.function("job, tensors")


def _others(lines: Lines, leaf: int) -> dict[str, str]:
    """Where else a leaf of the state is stored, and what it is at resets."""
    found = {"head": lines.memories.head(leaf)}
    if lines.resets:
        found["fresh"] = f"f{leaf}.data_ptr()"
    if leaf in lines.memories.begun:
        found["before"] = f"b{leaf}.data_ptr()"
    return found


def _output(lines: Lines, node: int, copied: bool) -> str:
    whole = lines.memories.output(node)
    if lines.lengths and node in lines.direction.columns.after:
        lines.namespace["live"] = _live
        return f"live(course, {whole})"
    if copied:
        return f"{whole}.clone()"
    return whole if node in lines.memories.bare else f"{whole}.detach()"


def _live(course: Course, whole: Tensor) -> Tensor:
    """A copy of an output, zero in steps that do not count."""
    assert course.live is not None
    return torch.where(course.live.view(*whole.shape[:2], *[1] * (whole.dim() - 2)), whole, 0.0)
