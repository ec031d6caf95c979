"""One unroll in autograd's graph in segments, of whose states few are kept."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bptt import check
from bptt.backends import reference
from bptt.backends.product import is_real
from bptt.backends.reference import Problem, Rerun, Taken, Trajectory
from bptt.backends.repeat import Repeat
from bptt.backends.segments import go_back, go_out, put_all, segment_of
from bptt.backends.sweeps import add
from bptt.course import Window
from bptt.draws import settled
from bptt.engine.job import Job, differentiable_adjoint
from bptt.methods import Checkpointed
from bptt.methods.checkpointed import Costs, Layout
from bptt.numerics import plain_numerics
from bptt.schedule import Schedule
from bptt.step import Arguments, Leaves


class Segmented(torch.autograd.Function):
    """The same, in segments: few states are kept, and steps are run again on the way back."""

    @staticmethod
    def forward(ctx: Any, job: Job, nothing: None, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs, initial, fresh, _ = job.split(tensors)
        given, layout = Arguments(inputs, initial, fresh), _layout(job, list(tensors))

        def out(again: Repeat | None) -> tuple[Leaves, Leaves, Leaves]:
            def segment(number: int, state: Leaves) -> tuple[Window, Leaves, Leaves]:
                window, trajectory = _run_segment(job, layout, given, number, state, again)
                return window, trajectory.outputs, trajectory.final

            return go_out(layout, job.course, initial, segment)

        device = initial[0].device
        draws = job.problem.draws
        outputs, final, held = settled(draws, device, lambda: out(job.again), lambda: out(None))
        final = [leaf.clone() if is_one_of(leaf, tensors) else leaf for leaf in final]
        results = (*outputs, *final)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(leaf for leaf in results if not is_real(leaf)))
        ctx.job, ctx.layout = job._replace(first=None, again=None), layout
        ctx.count = len(tensors)
        ctx.save_for_backward(*tensors, *held)
        return results

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor | None) -> tuple[Tensor | None, ...]:
        check.not_batched(adjoints)
        job, saved = ctx.job, list(ctx.saved_tensors)
        tensors, held = saved[: ctx.count], saved[ctx.count :]
        with plain_numerics(tensors[0].device.type):
            if torch.is_grad_enabled():
                wanted = ctx.needs_input_grad[2:]
                return (None, None, *differentiable_adjoint(job, tensors, adjoints, wanted))
            if not job.replica.steady:
                job = job._replace(problem=job.problem._replace(opening=()))
            back = _Back(job, ctx.layout, tensors, adjoints, ctx.needs_input_grad[2:])
            go_back(ctx.layout, held, back.advance, back.visit)
        job.problem.draws.release()
        return None, None, *back.inputs, *back.final, *back.fresh, *back.weights


class _Back:
    """The way back through segments, and what it has left so far."""

    def __init__(
        self,
        job: Job,
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
        product = Rerun(problem, taken, self.wanted)
        found = reference.adjoint(problem.schedule, taken, product, losses, self.final)
        put_all(window, self.inputs, found.inputs, self.given.inputs, self.wanted)
        self.final = list(found.initial)
        self.fresh = [add(a, b) for a, b in zip(self.fresh, found.fresh, strict=True)]
        self.weights = [add(a, b) for a, b in zip(self.weights, found.weights, strict=True)]


def _layout(job: Job, tensors: Leaves) -> Layout:
    """Segments as the method says, by what a step's tensors take."""
    assert isinstance(job.method, Checkpointed)
    _, initial, _, weights = job.split(tensors)
    assert job.first is not None
    outputs = job.first[0]
    sizes = [sum(leaf.nbytes for leaf in leaves) for leaves in (weights, initial, outputs)]
    costs = Costs(2 * sizes[0], sizes[1], 4 * sizes[1] + 2 * sizes[2])
    return job.method.layout(job.problem.schedule.steps, costs)


def _windowed(problem: Problem, window: Window) -> Problem:
    return problem._replace(schedule=Schedule.of(window.course), offset=window.first)


def _run_segment(
    job: Job,
    layout: Layout,
    given: Arguments,
    segment: int,
    state: Leaves,
    again: Repeat | None,
) -> tuple[Window, Trajectory]:
    """A segment from the state that it begins with."""
    window = segment_of(job.course, layout, segment)
    inputs = [window.take(leaf) for leaf in given.inputs]
    first = job.first if segment == 0 else None
    problem = _windowed(job.problem, window)
    return window, reference.forward(problem, inputs, state, given.fresh, first, again)


def is_one_of(leaf: Tensor, tensors: Sequence[Tensor]) -> bool:
    """Whether a leaf is one of the very tensors given."""
    return id(leaf) in map(id, tensors)
