"""One unroll in autograd's graph: forward by the backend, backward by the adjoint recursion."""

import itertools
from typing import Any

import torch
from torch import Tensor

from bptt import check, edges
from bptt.backends import reference, replayed
from bptt.backends.product import Found, is_real
from bptt.backends.reference import (
    Gradients,
    Kept,
    Problem,
    Product,
    Rerun,
    Steps,
    Taken,
    Trajectory,
)
from bptt.course import Course
from bptt.draws import Draws
from bptt.engine import outward, single
from bptt.engine.job import Job, differentiable_adjoint
from bptt.engine.segmented import Segmented, is_one_of
from bptt.methods import Checkpointed, Full, Truncated
from bptt.methods.spans import Spans, Way
from bptt.numerics import plain_numerics, plain_weights
from bptt.replica import Original, unhooked
from bptt.schedule import Schedule
from bptt.step import Arguments, Leaves, Step

# Ways back that are all the same where there is one step to go back.
EXACT_FOR_ONE = (Full, Truncated)


def run(
    step: Step,
    course: Course,
    arguments: Arguments,
    method: Way,
    seed: int | None = None,
    offset: int = 0,
    stored: Leaves | None = None,
) -> tuple[Leaves, Leaves]:
    """Outputs (T, B, ...) in time order and the final state (B, ...), in autograd's graph.

    It is called where autocast is off.

    Args:
        step: the cell as a step; it knows the cell's protocol once this has run.
        course: who steps when, at least one step.
        arguments: inputs (T, B, ...), state and fresh state (B, ...).
        method: how the gradient goes back.
        seed: of the random numbers; None: taken from torch's generator when first needed.
        offset: the number of the first step, where the unroll is a part of a longer one.
        stored: (n, B, ...) per leaf of the state: what the first n steps start from.
    """
    schedule = Schedule.of(course)
    with plain_weights():
        problem = Problem(step, schedule, Draws(seed, offset + schedule.steps), offset=offset)
        if not torch.is_grad_enabled():
            trajectory = outward.bare(problem, arguments, stored)
            return trajectory.outputs, trajectory.final
        few = schedule.steps <= single.STEPS
        if few and stored is None and isinstance(method, EXACT_FOR_ONE):
            return single.run(problem, arguments)
        counts = len(arguments.inputs), len(arguments.initial), len(arguments.fresh)
        job = Job(problem, counts, course, method, stored)
        in_segments = isinstance(method, Checkpointed) and course.batch > 0
        function = Segmented if in_segments else _Unroll
        job, trajectory = (outward.begin if in_segments else outward.go)(job, arguments)
        step.protocol = job.problem.step.protocol
        inputs, initial, fresh = arguments
        results = function.apply(job, trajectory, *inputs, *initial, *fresh, *job.replica.sources)
    count = len(results) - len(arguments.initial)
    return list(results[:count]), list(results[count:])


class _Unroll(torch.autograd.Function):
    """Inputs, state, fresh state and weights in; outputs and final state out."""

    @staticmethod
    def forward(ctx: Any, job: Job, trajectory: Trajectory, *tensors: Tensor) -> tuple[Tensor, ...]:
        outputs, states, final, resting = trajectory
        final = [leaf.clone() if is_one_of(leaf, tensors) else leaf for leaf in final]
        results = (*outputs, *final)
        ctx.set_materialize_grads(False)
        whole = [leaf for leaf in results if not is_real(leaf)]
        if whole:
            ctx.mark_non_differentiable(*whole)
        ctx.job = job
        ctx.twins = [state if isinstance(state, int) else None for state in states]
        own = [state for state in states if isinstance(state, Tensor)]
        ctx.sizes = len(tensors), len(outputs), len(own), len(resting)
        constants = job.replica.constants
        ctx.save_for_backward(*tensors, *outputs, *own, *resting, *constants)
        return results

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor | None) -> tuple[Tensor | None, ...]:
        check.not_batched(adjoints)
        job, saved = ctx.job, list(ctx.saved_tensors)
        tensors = saved[: ctx.sizes[0]]
        with plain_numerics(tensors[0].device.type):
            if torch.is_grad_enabled():
                wanted = ctx.needs_input_grad[2:]
                return (None, None, *differentiable_adjoint(job, tensors, adjoints, wanted))
            count, taken = ctx.sizes[1], _taken(ctx, job, saved)
            found = _adjoint(ctx, job, taken, list(adjoints[:count]), list(adjoints[count:]))
        job.problem.draws.release()
        if job.graphs is not None and not edges.retained():
            job.graphs.clear()
        return None, None, *found.inputs, *found.initial, *found.fresh, *found.weights


def _adjoint(ctx: Any, job: Job, taken: Taken, d_outputs: Found, d_final: Found) -> Gradients:
    problem = job.problem
    if problem.sure and problem.schedule.plain:
        wanted = ctx.needs_input_grad[2 : 2 + len(taken.inputs)]
        found = replayed.adjoint(problem, taken, wanted, d_outputs, d_final)
        if found is not None:
            return found
    spans = job.spans
    with unhooked(job.replica):
        product = _product(ctx, job, taken, spans)
        return reference.adjoint(problem.schedule, taken, product, d_outputs, d_final, spans)


def _product(ctx: Any, job: Job, taken: Taken, spans: Spans | None) -> Product:
    graphs, problem, replica = job.graphs, job.problem, job.replica
    retain = edges.retained() or spans is not None
    if graphs is not None and graphs.whole:
        return Kept(graphs, taken.weights, retain)
    if isinstance(replica, Original):
        problem = problem._replace(step=problem.step.bind(replica.again))
    elif not replica.steady:  # changed since: each step is run, and compared
        problem = problem._replace(opening=())
    wanted = ctx.needs_input_grad[2 : 2 + len(taken.inputs)]
    return Rerun(problem, taken, wanted, graphs, retain)


def _taken(ctx: Any, job: Job, saved: list[Tensor]) -> Taken:
    """What forward kept, parted; a state that is also an output is read from the output."""
    if job.graphs is not None and job.graphs.whole:
        inputs, initial, fresh, _ = job.split(saved[: ctx.sizes[0]])
        return Taken(inputs, initial, fresh, job.replica.weights, [], [], [], [])
    split = itertools.accumulate(ctx.sizes, initial=0)
    tensors, outputs, own, resting = (saved[a:b] for a, b in itertools.pairwise(split))
    inputs, initial, fresh, _ = job.split(tensors)
    stored = iter(own)
    kept = [job.problem.schedule.adjoints(leaf) for leaf in outputs]
    states: list[Steps] = [
        kept[twin] if twin is not None else next(stored).unbind(0) for twin in ctx.twins
    ]
    results = [*kept, *states]
    if job.stored is not None:
        states = [_Stored(a, b) for a, b in zip(job.stored, states, strict=True)]
    replica = job.replica
    return Taken(
        inputs, initial, fresh, replica.weights, replica.constants, states, resting, results
    )


class _Stored:
    """The states after each step, of which the first ones were not what the next step started from.

    Args:
        stored: (n, B, ...) what the first n steps started from.
        found: by step, the state after it.
    """

    def __init__(self, stored: Tensor, found: Any) -> None:
        self._stored, self._found = stored, found

    def __getitem__(self, p: int) -> Tensor:
        return self._stored[p + 1] if p + 1 < len(self._stored) else self._found[p]
