"""The way back through steps that are all replayed, where every row takes every step.

The recursion of `backends/reference.py` with nothing around it: each step's arguments are laid out
in a row and handed to the program of its vector-Jacobian product.
"""

from collections.abc import Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor

from bptt.backends.product import Found, Totals, is_real
from bptt.backends.programs import Programs, Rows
from bptt.backends.reference import Gradients, Problem, Taken
from bptt.compiler.program import Program
from bptt.schedule import Steps


def adjoint(
    problem: Problem, taken: Taken, wanted: Sequence[bool], d_outputs: Found, d_final: Found
) -> Gradients | None:
    """What `backends/reference.py`'s gives; None where no program is proved for what is asked.

    Args:
        problem: whose schedule is plain and whose steps are known.
        taken: what the forward pass took in.
        wanted: per leaf of the inputs, whether its gradient is needed.
        d_outputs: (T, B, ...) per leaf, or None where an output was not used.
        d_final: (B, ...) per leaf, or None.
    """
    programs = problem.programs or Programs()
    d_state = [_zero_for(d, s) for d, s in zip(d_final, taken.initial, strict=True)]
    asked = True, *(d is None for d in (*d_outputs, *d_state)), *wanted
    program = programs.sure(asked)
    return None if program is None else _Way(problem, taken, program).back(d_outputs, d_state)


class _Way:
    """The way back, and what is left on it."""

    def __init__(self, problem: Problem, taken: Taken, program: Program) -> None:
        self._problem, self._taken = problem, taken
        self._step, self._make = program.step, program.drawn
        self._values = program.once(*taken.weights, *taken.constants)
        room = sum([weight.numel() for weight in taken.weights]) // 2
        self._rows = Rows(program, self._values, problem.schedule.steps, room)
        self._totals = Totals(len(taken.weights))

    def back(self, d_outputs: Found, d_state: Found) -> Gradients:
        """From the adjoints of outputs and final state."""
        schedule, taken = self._problem.schedule, self._taken
        inputs, state = len(taken.inputs), len(taken.inputs) + len(taken.initial)
        end = state + len(taken.weights)
        d_inputs: list[list] = [[] for _ in taken.inputs]
        step, values = self._step, self._values
        for before, draws, after in self._arguments(d_outputs):
            seeds = [leaf.contiguous() for leaf in d_state if leaf is not None]
            found = step(*before, *draws, *after, *seeds, *values)
            for steps, leaf in zip(d_inputs, found, strict=False):
                steps.append(leaf)
            d_state = list(map(_zero_for, found[inputs:state], taken.initial))
            self._add(found[state:end], found[end:])
        if self._rows:
            self._totals.add(self._rows.sums([None] * len(taken.weights)), self._rows.places)
        stacked = [None if s[0] is None else schedule.stack(s[::-1]) for s in d_inputs]
        return Gradients(stacked, d_state, [], self._totals.sums())

    def _arguments(self, d_outputs: Found) -> Iterator[tuple]:
        """From the last step to the first: what it took in, what it drew, what it gave, seeds."""
        schedule, taken = self._problem.schedule, self._taken
        order = range(schedule.steps - 1, -1, -1)
        before = [_at(schedule.columns(leaf), order) for leaf in taken.inputs]
        for initial, states in zip(taken.initial, taken.states, strict=True):
            before.append(chain(_at(states, order[1:]), (initial.contiguous(),)))
        after = [_at(kept, order) for kept in taken.results]
        after += [_at(schedule.adjoints(d), order) for d in d_outputs if d is not None]
        return zip(
            zip(*before, strict=True),
            map(self._drawn, order),
            zip(*after, strict=True),
            strict=True,
        )

    def _drawn(self, p: int) -> tuple[Tensor, ...]:
        draws = self._problem.draws
        draws.begin(self._problem.offset + p)
        return draws.made(self._make)

    def _add(self, shares: Sequence[Tensor | None], rows: tuple) -> None:
        """A step's shares of the weights' gradients, and rows that are summed with others'."""
        self._rows.add(rows)
        if self._rows.enough():
            self._totals.add(self._rows.sums(list(shares)), self._rows.places)
        elif len(self._rows.places) < len(shares):
            self._totals.add(list(shares))


def _at(steps: Steps, order: range) -> Iterator[Tensor]:
    """Some steps' tensors, each laid out in memory as when the program was written."""
    found = map(steps.__getitem__, order)
    alike = not order or steps[order[0]].is_contiguous()
    return found if alike else map(Tensor.contiguous, found)


def _zero_for(adjoint: Tensor | None, state: Tensor) -> Tensor | None:
    """An adjoint to start from where nothing arrived; integers have none."""
    if adjoint is not None or not is_real(state):
        return adjoint
    return torch.zeros_like(state)
