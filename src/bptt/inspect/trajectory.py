"""The states that an unroll goes through, and its steps run again, many at once.

Given the states, every step is independent of the others: x_t and s_{t-1} of all t are the rows of
one batch. So what is asked of each step by itself, its Jacobian or how far its units are driven,
takes one run of the cell on many rows instead of T runs on few.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bptt import check
from bptt.compiler.fingerprint import fingerprint
from bptt.course import Course
from bptt.draws import Draws
from bptt.errors import ArgumentError, CellError
from bptt.inspect.around import Witness
from bptt.inspect.subject import Subject
from bptt.methods import Full
from bptt.numerics import plain_numerics
from bptt.ready import initial_state
from bptt.step import Leaves, Step
from bptt.structure import leaves_of, structure
from bptt.unroll import unroll_window

NOBODY = nullcontext()


class Piece(NamedTuple):
    """Some rows of an unroll.

    Attributes:
        rows: (N,) their numbers, step * B + sequence, steps counted as processed.
        inputs, before, after: x_t, s_{t-1} and s_t of each, (N, ...) per leaf.
        step: the one step that they all belong to; None: of several.
    """

    rows: Tensor
    inputs: Leaves
    before: Leaves
    after: Leaves
    step: int | None


@dataclass(frozen=True)
class Trajectory:
    """The states of one unroll, in the order of processing.

    Attributes:
        step: the cell as a step.
        course: who steps when.
        inputs: x_t, (T, B, ...) per leaf.
        before, after: the state that each step took and gave, (T, B, ...) per leaf; after a reset
            what it started afresh from.
        reset: (T, B) bool.
        live: (T, B) bool, whether a step counts.
        seed: of the random numbers, None if none are drawn.
        apart: whether only rows of one step may be run together.
    """

    step: Step
    course: Course
    inputs: Leaves
    before: Leaves
    after: Leaves
    reset: Tensor
    live: Tensor
    seed: int | None
    apart: bool

    @property
    def real(self) -> list[int]:
        """The leaves of the state that have a gradient."""
        return [i for i, leaf in enumerate(self.before) if leaf.is_floating_point()]

    @property
    def units(self) -> int:
        """Numbers in one sequence's state, those of integer leaves left out."""
        return sum(self.before[i][0, 0].numel() for i in self.real)

    def pieces(self, wanted: Tensor, most: int) -> Iterator[Piece]:
        """The wanted rows (T, B) in order of processing, about `most` at a time.

        Where all are wanted, a piece is made of whole steps.
        """
        if self.apart:
            for step in wanted.any(1).nonzero().flatten().tolist():
                yield self.piece(torch.arange(self.course.batch) + step * self.course.batch, step)
            return
        size = max(1, most // self.course.batch) * self.course.batch
        for rows in wanted.flatten().nonzero().flatten().split(size):
            yield self.piece(rows)

    def again(self, piece: Piece, before: Leaves) -> tuple[Leaves, Leaves]:
        """A piece's outputs and states, from `before` in place of what it holds.

        Raises:
            CellError: the states are not what the unroll gave.
        """
        outputs, after = self.run(piece, before)
        live = self.live.flatten()[piece.rows]
        for new, old in zip(after, piece.after, strict=True):
            check_same(new.detach()[live], old[live])
        return outputs, after

    def run(
        self, piece: Piece, before: Leaves, watching: AbstractContextManager = NOBODY
    ) -> tuple[Leaves, Leaves]:
        """The same unchecked, inside of another context."""
        draws = nullcontext() if self.seed is None else Draws(self.seed)
        if isinstance(draws, Draws):
            draws.begin(piece.step or 0)
        with plain_numerics(before[0].device.type), watching, draws:
            return self.step(piece.inputs, before)

    def in_time(self, numbers: Tensor) -> Tensor:
        """(T, B, ...) from the order of processing to the order of time, or back."""
        return self.course.to_time(numbers)

    def piece(self, rows: Tensor, step: int | None = None) -> Piece:
        """Rows by their numbers."""
        parts = (self.inputs, self.before, self.after)
        taken = [[leaf.flatten(0, 1)[rows] for leaf in part] for part in parts]
        return Piece(rows, taken[0], taken[1], taken[2], step)


def follow(subject: Subject) -> Trajectory:
    """Run an unroll and keep its states. Torch's generator stays where it is.

    Random numbers are drawn from `torch.initial_seed()`, the same at each call.

    Raises:
        What `bptt.unroll` raises for the same arguments.
        ArgumentError: sequences that are all of length 0.
    """
    cell, batch = subject.cell, subject.batch
    seed = torch.initial_seed() & (2**63 - 1)
    given = (Witness(cell), *subject.arguments().values())
    with torch.no_grad():
        (before, after), _ = unroll_window((*given[:-1], Full(), given[-1]), Full(), seed, 0, None)
    inputs = leaves_of(subject.inputs)
    course = _course(subject, inputs[0].device)
    check_some(course.counts)
    x, before, after = (
        [course.to_time(leaf.detach()) for leaf in p] for p in (inputs, before, after)
    )
    start = initial_state(cell, batch) if subject.state is None else subject.state
    step = Step(cell, structure(subject.inputs), structure(start))
    drawn = draws_numbers(step, [leaf[0] for leaf in inputs], leaves_of(start))
    return trajectory(step, course, x, before, after, seed if drawn else None)


def trajectory(
    step: Step, course: Course, inputs: Leaves, before: Leaves, after: Leaves, seed: int | None
) -> Trajectory:
    """A trajectory of leaves (T, B, ...) in the order of processing."""
    return Trajectory(
        step, course, inputs, before, after, _resets(course), _live(course), seed,
        apart=seed is not None or _holds_rows(step.cell, course.batch),
    )  # fmt: skip


def _course(subject: Subject, device: torch.device) -> Course:
    size = subject.steps, subject.batch
    lengths = check.lengths(subject.lengths, *size, device)
    return Course(*size, lengths, check.reset(subject.reset, *size, device), subject.reverse)


def check_same(new: Tensor, old: Tensor) -> None:
    """Rows that are run together give what they gave one step at a time.

    Raises:
        CellError: they do not.
    """
    known = new.isfinite() & old.isfinite()  # at the edge of overflow rounding decides what comes
    if not torch.allclose(new[known], old[known], 1e-3, 1e-4):
        raise CellError(
            "The cell gives other numbers when steps of different times are run as the rows of one "
            "batch. A row must depend on its own x_t and state alone: put a cell with batch "
            "statistics into eval(), and carry what changes from step to step in the state."
        )


def check_some(lengths: Tensor) -> None:
    """Raise ArgumentError if no sequence has a step."""
    if not bool(lengths.any()):
        raise ArgumentError(
            f"lengths: expected a sequence of at least one step to look at, got {len(lengths)} of "
            "length 0."
        )


def _live(course: Course) -> Tensor:
    """(T, B) which steps count, the same in the order of processing and of time."""
    return torch.arange(course.steps)[:, None] < course.counts.cpu()


def _resets(course: Course) -> Tensor:
    """(T, B) which steps start afresh, in the order of processing."""
    if course.reset is None:
        return torch.zeros(course.steps, course.batch, dtype=torch.bool)
    return course.to_time(course.reset).cpu() & _live(course)


def draws_numbers(step: Step, inputs: Leaves, state: Leaves) -> bool:
    """Whether a step draws random numbers."""
    draws = Draws(seed=0)
    draws.begin(0)
    with torch.no_grad(), draws:
        step(inputs, state)
    return draws.used


def _holds_rows(cell: Any, batch: int) -> bool:
    """Whether the cell may hold something with a row for each sequence, such as a mask."""
    return any(
        not isinstance(tensor, nn.Parameter) and tensor.dim() > 1 and len(tensor) == batch
        for tensor in fingerprint(cell).tensors
    )
