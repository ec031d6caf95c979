"""The reference: the recursion of back-propagation through time, one step after another.

Forward, the states s_0 ... s_T are stored and nothing else. Backward, the adjoint ds_t = dE/ds_t
goes from the last step to the first: step t is run once more from its stored state and its
vector-Jacobian product takes (dE/dy_t, ds_t) to ds_{t-1}, dE/dx_t and step t's share of every
weight's gradient. Any cell runs here, and every other backend is measured against it.

Source: Werbos 1990, "Backpropagation through time: what it does and how to do it".
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from bptt.backends.product import (
    Found,
    Point,
    Replay,
    Seeds,
    Totals,
    VectorJacobian,
    is_real,
)
from bptt.backends.sweeps import Sweep, add, keep, sweeps, whole
from bptt.compiler.record import Operation
from bptt.draws import Draws
from bptt.methods.spans import Spans
from bptt.schedule import Columns, Schedule, select
from bptt.step import Leaves, Step, check_alike, check_repeats


class Trajectory(NamedTuple):
    """What a forward pass leaves behind.

    Attributes:
        outputs: one (T, B, ...) per leaf, in time order.
        states: per leaf (P, B, ...), the states after each processing step, or, where a state is
            also an output, that output's number: one copy serves both.
        final: the states at the end, (B, ...) per leaf.
        resting: the state that rows which have ended repeat, per leaf; empty without lengths.
    """

    outputs: Leaves
    states: list[Tensor | int]
    final: Leaves
    resting: Leaves


class Problem(NamedTuple):
    """One unroll: the step, who steps when, the random draws, and what the first step did."""

    step: Step
    schedule: Schedule
    draws: Draws
    opening: tuple[Operation, ...] = ()  # empty where it cannot be, or need not be, replayed
    offset: int = 0  # the number of its first step, where it is a part of an unroll

    @property
    def replayed(self) -> bool:
        """Whether steps may be replayed from what the first one did."""
        return bool(self.opening) and self.draws.repeatable


def forward(
    problem: Problem,
    inputs: Sequence[Tensor],
    initial: Leaves,
    fresh: Leaves,
    first: tuple[Leaves, Leaves] | None = None,
    again: Callable[[Leaves, Leaves], tuple[Leaves, Leaves]] | None = None,
    restart: Callable[[int, Leaves], Leaves] | None = None,
) -> Trajectory:
    """Run every step. Differentiable by autograd where gradients are enabled.

    Args:
        problem: what to run.
        inputs: (T, B, ...) per leaf.
        initial: (B, ...) per leaf.
        fresh: what a reset starts from, (B, ...) per leaf; empty where there are no resets.
        first: outputs and state of the first step, if it has been run already.
        again: what repeats the first step on the inputs and state of the others, if anything does.
        restart: what step p starts from in place of the state before it, if anything else.
    """
    step, schedule, draws = problem[:3]
    columns = [schedule.columns(leaf) for leaf in inputs]
    state: Leaves = initial
    resting: Leaves = []
    outputs: list[Leaves] = []
    states: list[Leaves] = []
    for p in range(schedule.steps):
        state = state if restart is None else restart(p, state)
        x, before, resting = ready(schedule, columns, p, state, fresh, resting)
        draws.begin(problem.offset + p)
        if p == 0 and first is not None:
            y, new = first
        elif again is not None:
            y, new = again(x, before)
        else:
            with draws.inside():
                y, new = step(x, before)
        live = schedule.live(p)
        if live is not None:
            y = [select(live, leaf, None) for leaf in y]
            new = [select(live, leaf, old) for leaf, old in zip(new, state, strict=True)]
        outputs.append(y)
        states.append(new)
        state = new
    check_alike(outputs)
    check_alike([initial, *states])
    stacked, kept = _store(schedule, outputs, states)
    return Trajectory(stacked, kept, state, [] if schedule.lengths is None else resting)


def ready(
    schedule: Schedule,
    columns: Sequence[Columns],
    p: int,
    state: Leaves,
    fresh: Leaves,
    resting: Leaves,
) -> tuple[Leaves, Leaves, Leaves]:
    """What goes into the cell at step p: its inputs, the state before, and the latter once more.

    The third is the state that each row started its last live step from, for rows that rest.
    """
    before = _enter(schedule, p, state, fresh)
    live = schedule.live(p)
    if live is not None:
        resting = resting or [schedule.borrow(leaf) for leaf in before]
        pairs = zip(before, resting, strict=True)
        before = [select(live, leaf, old.detach()) for leaf, old in pairs]
    return [column[p] for column in columns], before, before


def _enter(schedule: Schedule, p: int, state: Leaves, fresh: Leaves) -> Leaves:
    """The state that step p starts from: the last one, or the fresh one where p is a reset."""
    reset = schedule.reset(p)
    if reset is None:
        return state
    return [select(reset, new, old) for new, old in zip(fresh, state, strict=True)]


def _store(
    schedule: Schedule, outputs: list[Leaves], states: list[Leaves]
) -> tuple[Leaves, list[Tensor | int]]:
    """Outputs and states as one tensor per leaf; a state that is an output needs no second copy."""
    kept: list[Tensor | int] = []
    for leaf in range(len(states[0])):
        own = [state[leaf] for state in states]
        twin = _twin(own, outputs)
        kept.append(torch.stack(own) if twin is None else twin)
    return [schedule.stack(steps) for steps in zip(*outputs, strict=True)], kept


def _twin(states: Leaves, outputs: list[Leaves]) -> int | None:
    """The number of the output that is this state at every step, if there is one."""
    for leaf in range(len(outputs[0])):
        if all(y[leaf] is state for y, state in zip(outputs, states, strict=True)):
            return leaf
    return None


class Gradients(NamedTuple):
    """dE/d... per leaf; None where nothing arrives or nothing was asked for."""

    inputs: Found
    initial: Found
    fresh: Found
    weights: Found


class Steps(Protocol):
    """A tensor for each processing step."""

    def __getitem__(self, p: int, /) -> Tensor: ...


class Taken(NamedTuple):
    """What a forward pass took in and kept, as its backward pass needs it, by processing step."""

    inputs: Leaves
    initial: Leaves
    fresh: Leaves
    weights: Leaves
    constants: Leaves
    states: Sequence[Steps]
    resting: Leaves
    results: Sequence[Steps]  # outputs and states


def adjoint(
    problem: Problem,
    taken: Taken,
    d_outputs: Found,
    d_final: Found,
    wanted: Sequence[bool],
    spans: Spans | None = None,
) -> Gradients:
    """Take dE/d(outputs) and dE/d(final state) back through every step.

    Args:
        problem: what was run.
        taken: its inputs and stored states.
        d_outputs: (T, B, ...) per leaf, or None where an output was not used.
        d_final: (B, ...) per leaf, or None.
        wanted: per leaf of the inputs, whether its gradient is needed.
        spans: how far each loss goes; None: to the first step.
    """
    schedule = problem.schedule
    back = _Back(problem, taken, d_outputs, wanted)
    final = [_zero_for(leaf, s) for leaf, s in zip(d_final, taken.initial, strict=True)]
    found = whole(schedule.steps)
    if spans is not None:
        found = sweeps(spans, schedule.steps, schedule.batch)
        if not found:  # no run back: zeros, for other processes may have found more
            back.totals.sums = [torch.zeros_like(weight) for weight in taken.weights]
    d_initial: Found = [None] * len(final)
    for sweep in found:
        reached = back.run(sweep, [keep(sweep.final, leaf) for leaf in final])
        d_initial = [add(a, b) for a, b in zip(d_initial, reached, strict=True)]
    return back.gradients(d_initial)


class _Back:
    """The adjoint recursion, and the sums of what it leaves along the way."""

    def __init__(
        self, problem: Problem, taken: Taken, d_outputs: Found, wanted: Sequence[bool]
    ) -> None:
        schedule = problem.schedule
        self.problem, self.taken, self.schedule = problem, taken, schedule
        self.columns = [schedule.columns(leaf) for leaf in taken.inputs]
        self.losses = [None if leaf is None else schedule.adjoints(leaf) for leaf in d_outputs]
        self.product = _product(problem, taken, wanted)
        self.totals = Totals(len(taken.weights))
        self.d_inputs: list[Found] = [[None] * schedule.steps for _ in taken.inputs]
        self.d_fresh: Found = [None] * len(taken.fresh)

    def run(self, sweep: Sweep, d_state: Found) -> Found:
        """From the adjoint of the final state to that of the initial one."""
        for p in range(self.schedule.steps - 1, -1, -1):
            if not sweep.idle[p]:
                d_state = self._step(sweep, p, d_state)
        return d_state

    def _step(self, sweep: Sweep, p: int, d_state: Found) -> Found:
        self.problem.draws.begin(self.problem.offset + p)
        schedule, product = self.schedule, self.product
        live, reset, cut = schedule.live(p), schedule.reset(p), sweep.cuts[p]
        losses = [keep(sweep.losses[p], leaf) for leaf in _at(self.losses, p)]
        point = _point(self.problem, self.taken, self.columns, p)
        shares = product(point, Seeds(losses, [keep(live, d) for d in d_state]))
        check_repeats(_live_rows(live, product.results, point.results), point.results)
        self.totals.add(shares.weights)
        for steps, leaf in zip(self.d_inputs, shares.inputs, strict=True):
            steps[p] = add(steps[p], leaf)
        initial = self.taken.initial
        d_before = [_zero_for(d, s) for d, s in zip(shares.state, initial, strict=True)]
        if live is not None:
            d_before = _merge(live, d_before, d_state)
        if reset is not None:
            pairs = zip(self.d_fresh, d_before, strict=True)
            self.d_fresh = [add(a, keep(reset, b)) for a, b in pairs]
            d_before = [keep(~reset, leaf) for leaf in d_before]
        return d_before if cut is None else [keep(~cut, leaf) for leaf in d_before]

    def gradients(self, d_initial: Found) -> Gradients:
        """All that was found."""
        if isinstance(self.product, Replay):
            self.totals.add(self.product.rest())
        d_inputs = [_stack(self.schedule, steps) for steps in self.d_inputs]
        return Gradients(d_inputs, d_initial, self.d_fresh, self.totals.sums)


def _product(problem: Problem, taken: Taken, wanted: Sequence[bool]) -> VectorJacobian | Replay:
    exact = VectorJacobian(problem.step, taken.weights, wanted, problem.draws)
    if not problem.replayed:
        return exact
    return Replay(exact, taken.weights + taken.constants, problem.opening)


def _point(problem: Problem, taken: Taken, columns: Sequence[Columns], p: int) -> Point:
    """Step p once more: what it took in and what it returned."""
    schedule = problem.schedule
    last = taken.initial if p == 0 else [states[p - 1] for states in taken.states]
    before = _enter(schedule, p, last, taken.fresh)
    live = schedule.live(p)
    if live is not None:
        before = [select(live, a, b) for a, b in zip(before, taken.resting, strict=True)]
    results = [kept[p] for kept in taken.results]
    draws = problem.draws.numbers() if problem.replayed else []
    return Point([column[p] for column in columns], before, results, live is None, draws)


def _live_rows(live: Tensor | None, again: Leaves, kept: Leaves) -> Leaves:
    """What a step gave when it was run again; rows that rest gave nothing then either."""
    if live is None:
        return again
    return [select(live, new, old) for new, old in zip(again, kept, strict=False)]


def _at(losses: Sequence[Columns | None], p: int) -> Found:
    return [None if loss is None else loss[p] for loss in losses]


def _zero_for(adjoint: Tensor | None, state: Tensor) -> Tensor | None:
    """An adjoint to start from where nothing arrived; integers have none."""
    return torch.zeros_like(state) if adjoint is None and is_real(state) else adjoint


def _merge(live: Tensor, stepped: Found, waiting: Found) -> Found:
    """The adjoint before a step: stepped back for live rows, as it was for those that rest."""
    pairs = zip(stepped, waiting, strict=True)
    return [add(keep(live, a), keep(~live, b)) for a, b in pairs]


def _stack(schedule: Schedule, steps: Found) -> Tensor | None:
    """dE/dx of every step in one (T, B, ...), zero where rows rest."""
    some = next((step for step in steps if step is not None), None)
    if some is None:
        return None
    zero = torch.zeros_like(some)
    return schedule.stack([zero if step is None else step for step in steps])
