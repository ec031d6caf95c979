"""One unroll on a backend with kernels."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from bptt import again
from bptt.compiler.compiled import Compiled
from bptt.course import Course
from bptt.draws import Draws
from bptt.methods.spans import Way
from bptt.step import Leaves

Values = dict[int, Tensor]  # by node: (rows, *shape), the rows of all steps and sequences


class Given(NamedTuple):
    """The tensors of an unroll: inputs (T, B, ...), state and fresh state (B, ...), the cell's."""

    inputs: Leaves
    initial: Leaves
    fresh: Leaves
    own: Leaves


class Job(NamedTuple):
    """The compiled step, who steps when, and what is needed to run it once more.

    Attributes:
        compiled: the step.
        course: who steps when.
        counts: of the leaves of inputs, state and fresh state.
        draws: its random numbers.
        again: the same unroll, differentiable twice.
        method: how the gradient goes back.
        first: the number of its first step, where it is a part of an unroll.
        stored: (n, B, ...) per leaf of the state: what the first n steps start from.
    """

    compiled: Compiled
    course: Course
    counts: tuple[int, int, int]
    draws: Draws
    again: again.Again
    method: Way
    first: int = 0
    stored: Leaves | None = None

    def split(self, values: Sequence[Tensor]) -> Given:
        """Values in the order of the tensors, parted."""
        inputs, initial, fresh = self.counts
        first, last = inputs + initial, inputs + initial + fresh
        given = list(values)
        return Given(given[:inputs], given[inputs:first], given[first:last], given[last:])
