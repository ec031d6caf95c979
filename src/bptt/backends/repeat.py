"""The first step of a forward pass on the inputs and states of the others, where it draws.

To substitute random numbers every operation of a step has to be looked at, which costs several
times the operation. So the first step is written down, and the others repeat its operations on
their own inputs, states and numbers.
"""

from typing import NamedTuple

import torch

from bptt.compiler.program import Program, Task, build
from bptt.compiler.record import Operation, Ref
from bptt.draws import Draws
from bptt.step import Leaves, Step


class Opening(NamedTuple):
    """What the first step did.

    Attributes:
        operations: in order, on arguments named x0, s0, r0 (a draw), w0 (a weight) and so on.
        results: the names of outputs and new state.
    """

    operations: tuple[Operation, ...]
    results: tuple[Ref | None, ...]


class Repeat:
    """`repeat(x, state) -> (outputs, state)` by a program, with the draws of the present step."""

    def __init__(self, program: Program, fixed: Leaves, draws: Draws, outputs: int) -> None:
        self.program, self._values = program, program.once(*fixed)
        self._draws, self.outputs = draws, outputs

    def __call__(self, x: Leaves, state: Leaves) -> tuple[Leaves, Leaves]:
        arguments = [leaf.contiguous() for leaf in (*x, *state)]
        drawn = self._draws.made(self.program.drawn)
        found = list(self.program.step(*arguments, *drawn, *self._values))
        return found[: self.outputs], found[self.outputs :]

    def agrees(self, taken: tuple[Leaves, Leaves], given: tuple[Leaves, Leaves]) -> bool:
        """Whether it gives what the step gave, to the last bit."""
        found, bare = self(*taken), given[0][0] is given[1][0]  # its state is its output: once
        pairs = zip([*found[0], *found[1]][bare:], [*given[0], *given[1]][bare:], strict=True)
        return all(torch.equal(a, b) for a, b in pairs)


class Compared:
    """`compared(x, state)`: the last step as it is, compared with what repeats it.

    A step that draws is repeated before that, and one that does not is run.

    Args:
        step: as it is.
        draws: its random numbers.
        repeat: what was written down of it.
        steps: how many there are.

    Attributes:
        agreed: whether the last step gave what was written down, to the last bit.
    """

    def __init__(self, step: Step, draws: Draws, repeat: Repeat, steps: int) -> None:
        self._step, self._draws, self._repeat = step, draws, repeat
        self._left, self.agreed = steps, False

    def __call__(self, x: Leaves, state: Leaves) -> tuple[Leaves, Leaves]:
        self._left -= 1
        if not self._draws.used:
            given = self._step(x, state)
        elif self._left:
            return self._repeat(x, state)
        else:
            with self._draws.inside():
                given = self._step(x, state)
        if not self._left:
            self.agreed = self._repeat.agrees((x, state), given)
        return given


def repeat(
    opening: Opening,
    draws: Draws,
    fixed: Leaves,
    taken: tuple[Leaves, Leaves],
    given: tuple[Leaves, Leaves],
) -> Repeat | None:
    """What repeats a step, or None if it cannot be repeated to the last bit.

    Args:
        opening: what the step did.
        draws: begun at that step.
        fixed: weights and constants, w0 and so on.
        taken: inputs and state that the step took.
        given: outputs and state that it gave.
    """
    if not opening.operations or None in opening.results:
        return None
    parts = zip(("x", "s", "r"), (*taken, draws.numbers()), strict=True)
    arguments = tuple(Ref(f"{name}{i}") for name, leaves in parts for i in range(len(leaves)))
    weights = tuple(Ref(f"w{i}") for i in range(len(fixed)))
    drawn = arguments[len(taken[0]) + len(taken[1]) :]
    program = build(Task(opening.operations, arguments, weights, (), opening.results, 0, drawn))
    if program is None:
        return None
    repeated = Repeat(program, fixed, draws, len(given[0]))
    return repeated if repeated.agrees(taken, given) else None
