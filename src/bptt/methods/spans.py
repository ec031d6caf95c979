"""Runs back through time: which losses enter where, and how far each goes back."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Spans(NamedTuple):
    """One row for each run of an adjoint back through some steps of a sequence.

    Steps are counted as processed, each sequence's own from 0; all are tensors (R,).

    Attributes:
        sequence: whose steps they are.
        end: the step after the one that the run begins with.
        back: how many steps it goes back; where that is all of them, on into the initial state.
        losses: how many of its first steps' losses enter it.
        final: bool, whether the final state's adjoint does.
        phase: runs of one phase do not meet: no two of them share a step of a sequence.
    """

    sequence: Tensor
    end: Tensor
    back: Tensor
    losses: Tensor
    final: Tensor
    phase: Tensor

    @property
    def reaches(self) -> Tensor:
        """(R,) bool, whether a run goes on into the initial state."""
        return self.back == self.end

    def where(self, rows: Tensor | slice) -> "Spans":
        """Some of the runs."""
        return Spans(*(part[rows] for part in self))


class Way(Protocol):
    """A way back through time."""

    @property
    def alike(self) -> "Way | None":
        """A hashable way with the same runs wherever counts are the same; None if there is none."""
        ...

    def spans(self, counts: Tensor) -> Spans | None:
        """The runs back, for sequences of `counts` (B,) steps; None for all to the first step."""
        ...


def blocks(counts: Tensor, k1: int, k2: int, losses: str) -> Spans:
    """At the end of every k1 steps, and of the sequence, k2 steps back.

    Args:
        counts: (B,) steps of each sequence.
        k1: steps of a block.
        k2: steps to go back.
        losses: "new" for all of a block's losses, "last" for that at its last step.

    >>> spans = blocks(torch.tensor([5]), 2, 3, "new")
    >>> spans.end.tolist(), spans.back.tolist(), spans.losses.tolist(), spans.final.tolist()
    ([2, 4, 5], [2, 3, 3], [2, 2, 1], [False, False, True])
    """
    number = (-(-counts // k1)).clamp(min=1)  # one for a sequence of no steps: its final state
    rows = torch.arange(len(counts), device=counts.device)
    sequence = rows.repeat_interleave(number)
    first = number.cumsum(0) - number
    block = torch.arange(len(sequence), device=counts.device) - first[sequence]
    count = counts[sequence]
    end = torch.minimum((block + 1) * k1, count)
    new = end - block * k1 if losses == "new" else torch.ones_like(end)
    together = -(-k2 // k1)  # so many runs may go through one step, and one more from a short block
    phase = torch.where(end == (block + 1) * k1, block % together, together)
    back = end.clamp(max=k2)
    return Spans(sequence, end, back, new.clamp(max=end), block + 1 == number[sequence], phase)
