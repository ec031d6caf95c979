"""Who steps when, as kernels are told it."""

from typing import NamedTuple

import torch
from torch import Tensor

from bptt.backends.cpu import kernel


class Course(NamedTuple):
    """Who steps when.

    Attributes:
        steps, batch: T and B.
        lengths: (B,) steps that count, or None.
        reset: (T, B) bool, or None.
        reverse: whether the last live step comes first.
    """

    steps: int
    batch: int
    lengths: Tensor | None
    reset: Tensor | None
    reverse: bool

    @property
    def counts(self) -> Tensor:
        """(B,) steps of each sequence."""
        return torch.full((self.batch,), self.steps) if self.lengths is None else self.lengths

    def rows(self, backward: bool = False) -> kernel.Rows | None:
        """The rows of a loop that goes forward, or back again, through each sequence."""
        direction = -1 if self.reverse != backward else 1
        if self.lengths is None:
            return kernel.Rows(direction=direction) if direction < 0 else None
        start = self.lengths - 1 if direction < 0 else torch.zeros_like(self.lengths)
        return kernel.Rows(None, start, self.lengths, direction)

    def live(self) -> Tensor | None:
        """(T * B,) which rows count; None if all do."""
        if self.lengths is None:
            return None
        return (torch.arange(self.steps)[:, None] < self.lengths).flatten()

    def to_time(self, numbers: Tensor) -> Tensor:
        """(T, B, ...) in the order of processing, in the order of time."""
        if not self.reverse:
            return numbers
        if self.lengths is None:
            return numbers.flip(0)
        time = torch.arange(self.steps)[:, None]
        return numbers[(self.lengths - 1 - time).clamp(min=0), torch.arange(self.batch)]
