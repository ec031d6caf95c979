"""Runs that do not meet and go back side by side, by one call of a kernel.

So do those of a short `Truncated` unroll, or of a stream's window, in which no run reaches beyond
the end of the one before.
"""

from typing import NamedTuple

from torch import Tensor

from bptt.backends.cpu import kernel
from bptt.fused import runs
from bptt.fused.job import Job
from bptt.fused.passes import Layout


class Alone(NamedTuple):
    """Runs that do not meet.

    Attributes:
        rows: where they go.
        reached, owners: those that arrive at the initial state, and whose it is.
    """

    rows: kernel.Rows
    reached: Tensor
    owners: Tensor


def rows(job: Job, size: int) -> Alone | None:
    """The runs of a job without lengths and resets, where they are such.

    Args:
        job: what was run.
        size: how many steps' sums are made together.
    """
    if job.method.alike is None:
        return None
    laid = runs.layout(job.course, job.method, size)
    if laid is None or not _is_one_call(laid):
        return None
    (found,) = laid.parts[0].groups[0].passes
    return Alone(found.legs[0].rows, found.reached, found.owners)


def _is_one_call(laid: Layout) -> bool:
    """Whether every loss enters a run, every step is in one, and all begin with nothing."""
    if laid.entering is not None or len(laid.resting) or len(laid.parts) > 1:
        return False
    (part,) = laid.parts
    if len(part.untouched) or [len(group.passes) for group in part.groups] != [1]:
        return False
    (leg,) = part.groups[0].passes[0].legs
    return leg.source is None
