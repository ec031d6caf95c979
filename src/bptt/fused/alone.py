"""Runs that do not meet and go back side by side, by one call of a kernel.

So do those of a short `Truncated` unroll, or of a stream's window, in which no run reaches beyond
the end of the one before.
"""

from typing import NamedTuple

from torch import Tensor

from bptt.backends.cpu import kernel
from bptt.fused import runs
from bptt.fused.job import Job
from bptt.fused.passes import Ends, Layout


class Alone(NamedTuple):
    """Runs that do not meet.

    Attributes:
        rows: where they go.
        final: those that begin with the final state's adjoint.
        reached, owners: those that arrive at the initial state, and whose it is.
    """

    rows: kernel.Rows
    final: Ends
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
    (leg,) = laid.parts[0].groups[0].legs
    return Alone(leg.rows, laid.final, *laid.reached)


def _is_one_call(laid: Layout) -> bool:
    """Whether every loss enters a run, every step is in one, and no run waits for another."""
    if laid.entering is not None or len(laid.resting) or len(laid.parts) > 1:
        return False
    (part,) = laid.parts
    legs = [len(group.legs) for group in part.groups]
    return legs == [1] and not len(part.untouched)
