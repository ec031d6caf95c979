"""One unroll in autograd's graph: forward by the backend, backward by the adjoint recursion."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from bptt import edges
from bptt.again import Restart, differentiate
from bptt.backends import reference
from bptt.backends.product import is_real
from bptt.backends.reference import Problem, Steps, Taken, Trajectory
from bptt.backends.repeat import Opening, Repeat, repeat
from bptt.backends.segments import States, go_back, go_out, put_all, segment_of
from bptt.backends.sweeps import add
from bptt.compiler.record import Recording, Watch
from bptt.course import Course, Window
from bptt.draws import Draws
from bptt.errors import NOT_TWICE, BackendError
from bptt.methods import Checkpointed
from bptt.methods.checkpointed import Costs, Layout
from bptt.methods.spans import Spans, Way
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

T = TypeVar("T")


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
    with plain_numerics(arguments.initial[0].device.type):
        if not torch.is_grad_enabled():
            problem = Problem(step, schedule, Draws(seed), offset=offset)
            first = _first_step(problem, arguments)
            trajectory = _forward(problem, arguments, first, None, stored)
            return trajectory.outputs, trajectory.final
        replica = Replica(step.cell)
        problem = Problem(step.bind(replica.cell), schedule, Draws(seed), offset=offset)
        first, problem, again = _first_step_watched(problem, arguments, replica)
        step.protocol = problem.step.protocol
        inputs, initial, fresh = arguments
        counts = len(inputs), len(initial), len(fresh)
        job = _Job(problem, replica, first, again, counts, course, method, stored)
        in_segments = isinstance(method, Checkpointed) and course.batch > 0
        function = _Segmented if in_segments else _Unroll
        results = function.apply(job, *inputs, *initial, *fresh, *replica.sources)
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
    course: Course
    method: Way
    stored: Leaves | None

    @property
    def spans(self) -> Spans | None:
        """How far each loss goes back; None: to the first step."""
        return self.method.spans(self.problem.schedule.counts)

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
    problem.draws.begin(problem.offset)
    with problem.draws:
        outputs, state = problem.step(x, before)
    check_leaves(outputs, state, before, problem.schedule.batch)
    return outputs, state


def _forward(
    problem: Problem,
    arguments: Arguments,
    first: tuple[Leaves, Leaves],
    again: Repeat | None = None,
    stored: Leaves | None = None,
) -> Trajectory:
    """Every step; with the draws substituted, should a later step draw though the first did not."""
    return _drawn(
        problem.draws,
        arguments.initial[0].device,
        lambda: reference.forward(problem, *arguments, first, again, _restart(stored)),
        lambda: reference.forward(problem, *arguments, first, None, _restart(stored)),
    )


def _restart(stored: Leaves | None) -> Restart | None:
    """The first steps start from stored states."""
    if stored is None:
        return None
    count = len(stored[0])
    return lambda p, state: [leaf[p] for leaf in stored] if p < count else state


def _drawn(
    draws: Draws, device: torch.device, run: Callable[[], T], with_draws: Callable[[], T]
) -> T:
    """A way forward; once more with the draws substituted, should a step draw unexpectedly."""
    before = None if draws.used else _generator_state(device)
    found = run()
    if before is not None and not torch.equal(before, _generator_state(device)):
        draws.used, draws.repeatable = True, False
        found = with_draws()
    draws.release()
    return found


def _generator_state(device: torch.device) -> Tensor:
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.get_rng_state()


class _Unroll(torch.autograd.Function):
    """Inputs, state, fresh state and weights in; outputs and final state out."""

    @staticmethod
    def forward(ctx: Any, job: _Job, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs, initial, fresh, _ = job.split(tensors)
        arguments = Arguments(inputs, initial, fresh)
        trajectory = _forward(job.problem, arguments, job.first, job.again, job.stored)
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


class _Segmented(torch.autograd.Function):
    """The same, in segments: few states are kept, and steps are run again on the way back."""

    @staticmethod
    def forward(ctx: Any, job: _Job, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs, initial, fresh, _ = job.split(tensors)
        given, layout = Arguments(inputs, initial, fresh), _layout(job, list(tensors))

        def out(again: Repeat | None) -> tuple[Leaves, Leaves, States]:
            def segment(number: int, state: Leaves) -> tuple[Window, Leaves, Leaves]:
                window, trajectory = _run_segment(job, layout, given, number, state, again)
                return window, trajectory.outputs, trajectory.final

            return go_out(layout, job.course, initial, segment)

        device = initial[0].device
        draws = job.problem.draws
        outputs, final, held = _drawn(draws, device, lambda: out(job.again), lambda: out(None))
        final = [leaf.clone() if _is_one_of(leaf, tensors) else leaf for leaf in final]
        results = (*outputs, *final)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(leaf for leaf in results if not is_real(leaf)))
        ctx.job, ctx.layout = job._replace(first=([], []), again=None), layout
        ctx.count, ctx.segments = len(tensors), [segment for segment, _ in held]
        ctx.save_for_backward(*tensors, *(leaf for _, state in held for leaf in state))
        return results

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor | None) -> tuple[Tensor | None, ...]:
        job, saved = ctx.job, list(ctx.saved_tensors)
        tensors, states = saved[: ctx.count], iter(saved[ctx.count :])
        with plain_numerics(tensors[0].device.type):
            if torch.is_grad_enabled():
                return (None, *_differentiable_adjoint(ctx, tensors, adjoints))
            if not job.replica.steady:
                job = job._replace(problem=job.problem._replace(opening=()))
            back = _Back(job, ctx.layout, tensors, adjoints, ctx.needs_input_grad[1:])
            held = [(s, [next(states) for _ in range(job.counts[1])]) for s in ctx.segments]
            go_back(ctx.layout, held, back.advance, back.visit)
        job.problem.draws.release()
        return None, *back.inputs, *back.final, *back.fresh, *back.weights


class _Back:
    """The way back through segments, and what it has left so far."""

    def __init__(
        self,
        job: _Job,
        layout: Layout,
        tensors: Leaves,
        adjoints: Sequence[Tensor | None],
        wanted: Sequence[bool],
    ) -> None:
        inputs, initial, fresh, _ = job.split(tensors)
        self.job, self.layout, self.given = job, layout, Arguments(inputs, initial, fresh)
        self.wanted = wanted[: len(inputs)]
        count = len(adjoints) - len(initial)
        self.losses, self.final = adjoints[:count], list(adjoints[count:])
        self.inputs: list[Tensor | None] = [None] * len(inputs)
        self.fresh: list[Tensor | None] = [None] * len(fresh)
        self.weights: list[Tensor | None] = [None] * len(job.replica.weights)

    def advance(self, segment: int, state: Leaves) -> Leaves:
        """The state after a segment."""
        return _run_segment(self.job, self.layout, self.given, segment, state, None)[1].final

    def visit(self, segment: int, state: Leaves) -> None:
        """Run a segment from its state, and go back through it."""
        job, replica = self.job, self.job.replica
        window, trajectory = _run_segment(job, self.layout, self.given, segment, state, None)
        problem = _windowed(job.problem, window)
        outputs = [problem.schedule.adjoints(leaf) for leaf in trajectory.outputs]
        states = [
            outputs[leaf] if isinstance(leaf, int) else leaf.unbind(0) for leaf in trajectory.states
        ]
        inputs = [window.take(leaf) for leaf in self.given.inputs]
        taken = Taken(
            inputs, state, self.given.fresh, replica.weights, replica.constants, states,
            trajectory.resting, [*outputs, *states],
        )  # fmt: skip
        losses = [None if leaf is None else window.take(leaf) for leaf in self.losses]
        found = reference.adjoint(problem, taken, losses, self.final, self.wanted)
        put_all(window, self.inputs, found.inputs, self.given.inputs, self.wanted)
        self.final = list(found.initial)
        self.fresh = [add(a, b) for a, b in zip(self.fresh, found.fresh, strict=True)]
        self.weights = [add(a, b) for a, b in zip(self.weights, found.weights, strict=True)]


def _layout(job: _Job, tensors: Leaves) -> Layout:
    """Segments as the method says, by what a step's tensors take."""
    assert isinstance(job.method, Checkpointed)
    _, initial, _, weights = job.split(tensors)
    outputs = job.first[0]
    sizes = [sum(leaf.nbytes for leaf in leaves) for leaves in (weights, initial, outputs)]
    costs = Costs(2 * sizes[0], sizes[1], 4 * sizes[1] + 2 * sizes[2])
    return job.method.layout(job.problem.schedule.steps, costs)


def _windowed(problem: Problem, window: Window) -> Problem:
    return problem._replace(schedule=Schedule.of(window.course), offset=window.first)


def _run_segment(
    job: _Job,
    layout: Layout,
    given: Arguments,
    segment: int,
    state: Leaves,
    again: Repeat | None,
) -> tuple[Window, Trajectory]:
    """A segment from the state that it begins with."""
    window = segment_of(job.course, layout, segment)
    inputs = [window.take(leaf) for leaf in given.inputs]
    first = job.first if segment == 0 and job.first[1] else None
    problem = _windowed(job.problem, window)
    return window, reference.forward(problem, inputs, state, given.fresh, first, again)


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


def _differentiable_adjoint(
    ctx: Any, tensors: Leaves, adjoints: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The same gradients in autograd's graph, for gradients of gradients: the loop, by autograd."""
    job, replica, problem = ctx.job, ctx.job.replica, ctx.job.problem
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
