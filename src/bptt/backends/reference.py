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

from bptt.backends.graphs import Graphs
from bptt.backends.product import (
    Found,
    Point,
    Replay,
    Seeds,
    Shares,
    Totals,
    VectorJacobian,
    is_real,
)
from bptt.backends.programs import Programs
from bptt.backends.sweeps import Sweep, add, keep, sweeps, whole
from bptt.compiler.record import Operation
from bptt.draws import Draws
from bptt.methods.spans import Spans
from bptt.schedule import Schedule, Steps, select
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
    """One unroll.

    Attributes:
        step: what is run.
        schedule: who steps when.
        draws: the random numbers.
        opening: what the first step did; empty where it cannot be, or need not be, replayed.
        offset: the number of its first step, where it is a part of an unroll.
        programs: for the way back, found by earlier calls.
        sure: whether a step of this call has been compared with what was written down.
    """

    step: Step
    schedule: Schedule
    draws: Draws
    opening: tuple[Operation, ...] = ()
    offset: int = 0
    programs: Programs | None = None
    sure: bool = False

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
    keep_states: bool = True,
) -> Trajectory:
    """Run every step. Differentiable by autograd where gradients are enabled.

    Args:
        problem: what to run.
        inputs: (T, B, ...) per leaf.
        initial: (B, ...) per leaf.
        fresh: what a reset starts from, (B, ...) per leaf; empty where there are no resets.
        first: outputs and state of the first step, if it has been run already.
        again: what runs the other steps on their inputs and state, if not the step itself.
        restart: what step p starts from in place of the state before it, if anything else.
        keep_states: whether the states are needed for a way back.
    """
    step, schedule, draws = problem[:3]
    columns = [schedule.columns(leaf) for leaf in inputs]
    state: Leaves = initial
    plain = schedule.plain
    resting: Leaves = []
    outputs: list[Leaves] = []
    states: list[Leaves] = []
    for p in range(schedule.steps):
        state = state if restart is None else restart(p, state)
        if plain:
            x, before = [column[p] for column in columns], state
        else:
            x, before, resting = ready(schedule, columns, p, state, fresh, resting)
        draws.begin(problem.offset + p)
        if p == 0 and first is not None:
            y, new = first
        elif again is not None:
            y, new = again(x, before)
        else:
            with draws.inside():
                y, new = step(x, before)
        live = None if plain else schedule.live(p)
        if live is not None:
            y, new = _of_live_rows(live, y, new, state)
        outputs.append(y)
        states.append(new)
        state = new
    check_alike(outputs)
    check_alike([initial, *states])
    stacked, kept = _store(schedule, outputs, states if keep_states else [])
    return Trajectory(stacked, kept, state, [] if schedule.lengths is None else resting)


def ready(
    schedule: Schedule,
    columns: Sequence[Steps],
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


def _of_live_rows(live: Tensor, y: Leaves, new: Leaves, state: Leaves) -> tuple[Leaves, Leaves]:
    """What a step gave, for rows that take it: others put out zeros and stay as they are."""
    y = [select(live, leaf, None) for leaf in y]
    return y, [select(live, leaf, old) for leaf, old in zip(new, state, strict=True)]


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
    for leaf in range(len(states[0]) if states else 0):
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


class Product(Protocol):
    """The vector-Jacobian product of each step."""

    def __call__(self, p: int, seeds: Seeds, /) -> Shares: ...

    def rest(self) -> Shares | None: ...


class Rerun:
    """`rerun(p, seeds)`: step p is run once more, or replayed, from what it started from.

    Args:
        problem: what was run.
        taken: its inputs and stored states.
        wanted: per leaf of the inputs, whether its gradient is needed.
        graphs: of steps that need not be run again.
        retain: whether they are to be used again.
    """

    def __init__(
        self,
        problem: Problem,
        taken: Taken,
        wanted: Sequence[bool],
        graphs: Graphs | None = None,
        retain: bool = True,
    ) -> None:
        self._problem, self._taken = problem, taken
        self._graphs, self._retain = graphs, retain
        self._columns = [problem.schedule.columns(leaf) for leaf in taken.inputs]
        self._product = _product(problem, taken, wanted)

    def __call__(self, p: int, seeds: Seeds) -> Shares:
        self._problem.draws.begin(self._problem.offset + p)
        point = _point(self._problem, self._taken, self._columns, p)
        if self._graphs is not None:
            point = point._replace(graph=self._graphs[p])
        shares = self._product(point, seeds)
        if self._graphs is not None and not self._retain:
            self._graphs.drop(p)
        if self._product.results:  # it was run
            live = self._problem.schedule.live(p)
            check_repeats(_live_rows(live, self._product.results, point.results), point.results)
        return shares

    def rest(self) -> Shares | None:
        """What is left of the weights' shares at the end."""
        return self._product.rest() if isinstance(self._product, Replay) else None


class Kept:
    """`kept(p, seeds)`: by the graph that step p left forward.

    Args:
        graphs: one for each step.
        weights: leaves that the steps reach.
        retain: whether the graphs are to be used again.
    """

    def __init__(self, graphs: Graphs, weights: Leaves, retain: bool) -> None:
        self._graphs, self._weights, self._retain = graphs, weights, retain

    def __call__(self, p: int, seeds: Seeds) -> Shares:
        return self._graphs.pull(p, seeds, self._weights, self._retain)

    def rest(self) -> None:
        """Nothing is left."""


def adjoint(
    schedule: Schedule,
    taken: Taken,
    product: Product,
    d_outputs: Found,
    d_final: Found,
    spans: Spans | None = None,
) -> Gradients:
    """Take dE/d(outputs) and dE/d(final state) back through every step.

    Args:
        schedule: who steps when.
        taken: what the forward pass took in.
        product: of each step.
        d_outputs: (T, B, ...) per leaf, or None where an output was not used.
        d_final: (B, ...) per leaf, or None.
        spans: how far each loss goes; None: to the first step.
    """
    back = _Back(schedule, taken, product, d_outputs)
    final = [_zero_for(leaf, s) for leaf, s in zip(d_final, taken.initial, strict=True)]
    found = whole(schedule.steps)
    if spans is not None:
        found = sweeps(spans, schedule.steps, schedule.batch)
        if not found:  # no run back: zeros, for other processes may have found more
            back.totals.add([torch.zeros_like(weight) for weight in taken.weights])
    d_initial: Found = [None] * len(final)
    for sweep in found:
        reached = back.run(sweep, [keep(sweep.final, leaf) for leaf in final])
        d_initial = [add(a, b) for a, b in zip(d_initial, reached, strict=True)]
    return back.gradients(d_initial)


class _Back:
    """The adjoint recursion, and the sums of what it leaves along the way."""

    def __init__(
        self, schedule: Schedule, taken: Taken, product: Product, d_outputs: Found
    ) -> None:
        self.schedule, self.product, self.initial = schedule, product, taken.initial
        self.losses = [None if leaf is None else schedule.adjoints(leaf) for leaf in d_outputs]
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
        schedule = self.schedule
        live, reset, cut = schedule.live(p), schedule.reset(p), sweep.cuts[p]
        losses = _at(self.losses, p, sweep.losses[p])
        into = d_state if live is None else [keep(live, leaf) for leaf in d_state]
        shares = self.product(p, Seeds(losses, into))
        self.totals.add(shares.weights, shares.fresh)
        for steps, leaf in zip(self.d_inputs, shares.inputs, strict=True):
            steps[p] = add(steps[p], leaf)
        d_before = [_zero_for(d, s) for d, s in zip(shares.state, self.initial, strict=True)]
        if live is not None:
            d_before = _merge(live, d_before, d_state)
        if reset is not None:
            pairs = zip(self.d_fresh, d_before, strict=True)
            self.d_fresh = [add(a, keep(reset, b)) for a, b in pairs]
            d_before = [keep(~reset, leaf) for leaf in d_before]
        return d_before if cut is None else [keep(~cut, leaf) for leaf in d_before]

    def gradients(self, d_initial: Found) -> Gradients:
        """All that was found."""
        rest = self.product.rest()
        if rest is not None:
            self.totals.add(rest.weights, rest.fresh)
        d_inputs = [_stack(self.schedule, steps) for steps in self.d_inputs]
        return Gradients(d_inputs, d_initial, self.d_fresh, self.totals.sums())


def _product(problem: Problem, taken: Taken, wanted: Sequence[bool]) -> VectorJacobian | Replay:
    exact = VectorJacobian(problem.step, taken.weights, wanted, problem.draws)
    if not problem.replayed:
        return exact
    programs = Programs() if problem.programs is None else problem.programs
    fixed = taken.weights + taken.constants
    steps = problem.schedule.steps
    return Replay(exact, fixed, problem.opening, programs, problem.sure, steps)


def _point(problem: Problem, taken: Taken, columns: Sequence[Steps], p: int) -> Point:
    """Step p once more: what it took in and what it returned."""
    schedule = problem.schedule
    last = taken.initial if p == 0 else [states[p - 1] for states in taken.states]
    before = _enter(schedule, p, last, taken.fresh)
    live = schedule.live(p)
    if live is not None:
        before = [select(live, a, b) for a, b in zip(before, taken.resting, strict=True)]
    results = [kept[p] for kept in taken.results]
    return Point([column[p] for column in columns], before, results, live is None)


def _live_rows(live: Tensor | None, again: Leaves, kept: Leaves) -> Leaves:
    """What a step gave when it was run again; rows that rest gave nothing then either."""
    if live is None:
        return again
    return [select(live, new, old) for new, old in zip(again, kept, strict=False)]


def _at(losses: Sequence[Steps | None], p: int, rows: Tensor | None) -> Found:
    """What enters at step p, of those rows whose loss does."""
    found = [None if loss is None else loss[p] for loss in losses]
    return found if rows is None else [keep(rows, leaf) for leaf in found]


def _zero_for(adjoint: Tensor | None, state: Tensor) -> Tensor | None:
    """An adjoint to start from where nothing arrived; integers have none."""
    if adjoint is not None or not is_real(state):
        return adjoint
    return torch.zeros_like(state)


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
