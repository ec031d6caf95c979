"""What the reference backend's way back needs to know of its way out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from bptt.again import Restart, differentiate
from bptt.backends import reference
from bptt.backends.graphs import Graphs
from bptt.backends.reference import Problem, Trajectory
from bptt.backends.repeat import Repeat
from bptt.course import Course
from bptt.errors import NOT_TWICE, BackendError
from bptt.methods import Full
from bptt.methods.spans import Spans, Way
from bptt.step import Leaves


class Job(NamedTuple):
    """One unroll.

    Attributes:
        problem: what is run.
        counts: of the leaves of inputs, state and fresh state.
        course: who steps when.
        method: how the gradient goes back.
        stored: states that the first steps start from, if not from what those before them give.
        replica: the cell as it was at the call, or the cell; a `Replica` or an `Original`.
        first: what the first step gave, where it is to be used for others.
        again: what repeats the first step where it draws.
        graphs: of the steps that were kept with theirs.
    """

    problem: Problem
    counts: tuple[int, int, int]
    course: Course
    method: Way
    stored: Leaves | None = None
    replica: Any = None
    first: tuple[Leaves, Leaves] | None = None
    again: Repeat | None = None
    graphs: Graphs | None = None

    @property
    def steps(self) -> int:
        """How many there are."""
        return self.problem.schedule.steps

    @property
    def spans(self) -> Spans | None:
        """How far each loss goes back; None: to the first step."""
        if isinstance(self.method, Full):
            return None
        return self.method.spans(self.problem.schedule.counts)

    def split(self, values: Sequence[Any]) -> list[list[Any]]:
        """Values in the order of the tensors, parted: inputs, initial, fresh, weights."""
        parts, start = [], 0
        for count in self.counts:
            parts.append(list(values[start : start + count]))
            start += count
        return [*parts, list(values[start:])]


def differentiable_adjoint(
    job: Job, tensors: Leaves, adjoints: Sequence[Tensor | None], wanted: Sequence[bool]
) -> list[Tensor | None]:
    """The same gradients in autograd's graph, for gradients of gradients: the loop, by autograd."""
    replica, problem = job.replica, job.problem
    if job.stored is not None:
        raise BackendError(NOT_TWICE)
    own = len(tensors) - len(replica.weights) + replica.found
    if job.spans is not None and replica.sources[replica.found :]:
        raise BackendError(
            "The gradient of a truncated gradient is not there for a step that reaches a tensor "
            "which bptt cannot find in the cell. Make it an attribute of the cell's module."
        )

    def views() -> Leaves:
        return [t.view_as(t) for t in tensors[:own]] + replica.sources[replica.found :]

    def run(taken: Leaves, restart: Restart | None) -> Trajectory:
        inputs, initial, fresh, weights = job.split(taken)
        step = problem.step.bind(replica.with_tensors(weights))
        bound = problem._replace(step=step)
        return reference.forward(bound, inputs, initial, fresh, restart=restart)

    return differentiate(run, views, adjoints, wanted, problem.schedule, job.spans)
