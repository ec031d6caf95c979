"""One unroll in autograd's graph: forward by the backend, backward by the adjoint recursion."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from bptt import edges
from bptt.again import Restart, differentiate
from bptt.backends import reference
from bptt.backends.product import is_real
from bptt.backends.reference import Problem, Taken, Trajectory
from bptt.backends.repeat import Opening, Repeat, repeat
from bptt.compiler.record import Recording, Watch
from bptt.draws import Draws
from bptt.errors import BackendError
from bptt.methods import Method
from bptt.methods.spans import Spans
from bptt.replica import Replica
from bptt.schedule import Schedule
from bptt.step import (
    Arguments,
    Leaves,
    Step,
    check_drawn,
    check_leaves,
    check_untouched,
    other_generators,
)


def run(
    step: Step, schedule: Schedule, arguments: Arguments, method: Method
) -> tuple[Leaves, Leaves]:
    """Outputs (T, B, ...) in time order and the final state (B, ...), in autograd's graph.

    Args:
        step: the cell as a step; it knows the cell's protocol once this has run.
        schedule: who steps when, at least one step.
        arguments: inputs (T, B, ...), state and fresh state (B, ...).
        method: how the gradient goes back.
    """
    with plain_numerics(arguments.initial[0].device.type):
        if not torch.is_grad_enabled():
            problem = Problem(step, schedule, Draws())
            trajectory = _forward(problem, arguments, _first_step(problem, arguments))
            return trajectory.outputs, trajectory.final
        replica = Replica(step.cell)
        problem = Problem(step.bind(replica.cell), schedule, Draws())
        first, problem, again = _first_step_watched(problem, arguments, replica)
        step.protocol = problem.step.protocol
        inputs, initial, fresh = arguments
        counts = len(inputs), len(initial), len(fresh)
        job = _Job(problem, replica, first, again, counts, method.spans(schedule.counts))
        results = _Unroll.apply(job, *inputs, *initial, *fresh, *replica.sources)
    count = len(results) - len(initial)
    return list(results[:count]), list(results[count:])


# Writing down two steps costs as much as running a few.
WORTH_RECORDING = 4


class _Job(NamedTuple):
    problem: Problem
    replica: Replica
    first: tuple[Leaves, Leaves]
    again: Repeat | None
    counts: tuple[int, int, int]  # of the leaves of inputs, state and fresh state
    spans: Spans | None

    def split(self, values: Sequence[Any]) -> list[list[Any]]:
        """Values in the order of the tensors, parted: inputs, initial, fresh, weights."""
        parts, start = [], 0
        for count in self.counts:
            parts.append(list(values[start : start + count]))
            start += count
        return [*parts, list(values[start:])]


def _first_step(problem: Problem, arguments: Arguments) -> tuple[Leaves, Leaves]:
    """Run the first step with the draws watched: it tells whether a step draws at all."""
    return _run_first(problem, *_first_arguments(problem.schedule, arguments))


def _first_step_watched(
    problem: Problem, arguments: Arguments, replica: Replica
) -> tuple[tuple[Leaves, Leaves], Problem, Repeat | None]:
    """The first step as autograd sees it: what it reaches and does, and that it changes nothing.

    Returns:
        What it gave, the problem with what it did, and what repeats it where it draws.
    """
    x, before = _first_arguments(problem.schedule, arguments)
    before = [leaf.requires_grad_(is_real(leaf)) for leaf in before]  # as in the backward pass
    recording = Recording(x=x, s=before, w=replica.weights + replica.constants)
    versions = [leaf._version for leaf in x + before]
    since, drawn = edges.now(), other_generators()
    with recording, Watch(recording), problem.draws.told(recording):
        outputs, state = _run_first(problem, x, before)
    check_drawn(drawn, other_generators())
    check_untouched(x + before, versions)
    replica.check_unchanged()
    given = {id(leaf) for leaf in x + before}
    ends = edges.ends(outputs + state, since)
    replica.adopt([leaf for leaf in ends.leaves if id(leaf) not in given])
    first = _detached(outputs, state)
    long = problem.schedule.steps >= WORTH_RECORDING
    if not long or recording.reason is not None or ends.python or not replica.steady:
        return first, problem, None
    names = tuple(recording.name(leaf) for leaf in outputs + state)
    opening = Opening(tuple(recording.operations), names)
    problem = problem._replace(opening=opening.operations)
    if not problem.draws.used or not problem.draws.repeatable:
        return first, problem, None
    fixed, taken = replica.weights + replica.constants, (x, before)
    with torch.no_grad():
        return first, problem, repeat(opening, problem.draws, fixed, taken, first)


def _detached(outputs: Leaves, state: Leaves) -> tuple[Leaves, Leaves]:
    """Without their graph; a state that is also an output stays one and the same tensor."""
    detached = {id(leaf): leaf.detach() for leaf in outputs + state}
    return [detached[id(leaf)] for leaf in outputs], [detached[id(leaf)] for leaf in state]


def _first_arguments(schedule: Schedule, arguments: Arguments) -> tuple[Leaves, Leaves]:
    columns = [schedule.columns(leaf) for leaf in arguments.inputs]
    x, before, _ = reference.ready(schedule, columns, 0, arguments.initial, arguments.fresh, [])
    return _leaves(x), _leaves(before)


def _leaves(tensors: Leaves) -> Leaves:
    """Copies, for a recording tells tensors apart by their memory, and h and c may share theirs."""
    copies = [leaf.detach().clone(memory_format=torch.contiguous_format) for leaf in tensors]
    pairs = zip(copies, tensors, strict=True)
    return [copied.requires_grad_(leaf.requires_grad) for copied, leaf in pairs]


def _run_first(problem: Problem, x: Leaves, before: Leaves) -> tuple[Leaves, Leaves]:
    problem.draws.begin(0)
    with problem.draws:
        outputs, state = problem.step(x, before)
    check_leaves(outputs, state, before, problem.schedule.batch)
    return outputs, state


def _forward(
    problem: Problem,
    arguments: Arguments,
    first: tuple[Leaves, Leaves],
    again: Repeat | None = None,
) -> Trajectory:
    """Every step; with the draws substituted, should a later step draw though the first did not."""
    inputs, initial, fresh = arguments
    device = initial[0].device
    before = None if problem.draws.used else _generator_state(device)
    trajectory = reference.forward(problem, inputs, initial, fresh, first, again)
    if before is not None and not torch.equal(before, _generator_state(device)):
        problem.draws.used, problem.draws.repeatable = True, False
        trajectory = reference.forward(problem, inputs, initial, fresh, first)
    problem.draws.release()
    return trajectory


def _generator_state(device: torch.device) -> Tensor:
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.get_rng_state()


class _Unroll(torch.autograd.Function):
    """Inputs, state, fresh state and weights in; outputs and final state out."""

    @staticmethod
    def forward(ctx: Any, job: _Job, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs, initial, fresh, _ = job.split(tensors)
        trajectory = _forward(job.problem, Arguments(inputs, initial, fresh), job.first, job.again)
        outputs, states, final, resting = trajectory
        final = [leaf.clone() if _is_one_of(leaf, tensors) else leaf for leaf in final]
        results = (*outputs, *final)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(leaf for leaf in results if not is_real(leaf)))
        ctx.job = job._replace(first=([], []), again=None)
        ctx.twins = [state if isinstance(state, int) else None for state in states]
        own = [state for state in states if isinstance(state, Tensor)]
        ctx.sizes = len(tensors), len(outputs), len(own), len(resting)
        constants = job.replica.constants
        ctx.save_for_backward(*tensors, *outputs, *own, *resting, *constants)
        return results

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor | None) -> tuple[Tensor | None, ...]:
        job, saved = ctx.job, list(ctx.saved_tensors)
        tensors = saved[: ctx.sizes[0]]
        with plain_numerics(tensors[0].device.type):
            if torch.is_grad_enabled():
                return (None, *_differentiable_adjoint(ctx, tensors, adjoints))
            taken = _taken(ctx, job, saved)
            if not job.replica.steady:  # changed since: each step is run, and compared
                job = job._replace(problem=job.problem._replace(opening=()))
            count = ctx.sizes[1]
            wanted = ctx.needs_input_grad[1 : 1 + len(taken.inputs)]
            found = reference.adjoint(
                job.problem,
                taken,
                list(adjoints[:count]),
                list(adjoints[count:]),
                wanted,
                job.spans,
            )
        job.problem.draws.release()
        return None, *found.inputs, *found.initial, *found.fresh, *found.weights


def _taken(ctx: Any, job: _Job, saved: list[Tensor]) -> Taken:
    """What forward kept, parted; a state that is also an output is read from the output."""
    parts, start = [], 0
    for count in ctx.sizes:
        parts.append(saved[start : start + count])
        start += count
    tensors, outputs, own, resting = parts
    inputs, initial, fresh, _ = job.split(tensors)
    stored = iter(own)
    kept = [job.problem.schedule.adjoints(leaf) for leaf in outputs]
    states = [kept[twin] if twin is not None else next(stored).unbind(0) for twin in ctx.twins]
    results = [*kept, *states]
    replica = job.replica
    return Taken(
        inputs, initial, fresh, replica.weights, replica.constants, states, resting, results
    )


def _differentiable_adjoint(
    ctx: Any, tensors: Leaves, adjoints: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The same gradients in autograd's graph, for gradients of gradients: the loop, by autograd."""
    job, replica, problem = ctx.job, ctx.job.replica, ctx.job.problem
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

    wanted = ctx.needs_input_grad[1:]
    return differentiate(run, views, adjoints, wanted, problem.schedule, job.spans)


def _is_one_of(leaf: Tensor, tensors: Sequence[Tensor]) -> bool:
    return any(leaf is tensor for tensor in tensors)


def autocast_off(device_type: str) -> AbstractContextManager[object]:
    """Where autocast does nothing; on devices that know none, nothing needs to be done."""
    known = torch.amp.autocast_mode.is_autocast_available(device_type)
    if known and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


@contextmanager
def plain_numerics(device_type: str) -> Iterator[None]:
    """Autocast off, and parametrized weights computed anew at each step.

    `parametrize.cached()` would keep one step's weight, with its graph, for all that follow.
    """
    cached = parametrize._cache_enabled
    parametrize._cache_enabled = 0
    try:
        with autocast_off(device_type):
            yield
    finally:
        parametrize._cache_enabled = cached
