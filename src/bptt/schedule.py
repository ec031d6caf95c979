"""Which step of its own sequence each row of the batch takes, and when it starts afresh.

Rows are processed together: at processing step p row b takes time step p, or `length_b - 1 - p` in
reverse, as long as p is below its length; beyond, the row rests. A resting row still goes through
the cell, for the cell works on whole batches; it repeats its last live step there, whose values and
derivatives are known to be sound, and what comes of it is dropped by selection. Padding is never
looked at, so it may hold NaN.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from bptt.course import Course


class Steps(Protocol):
    """A tensor for each processing step: `steps[p]` is (B, ...)."""

    def __getitem__(self, p: int, /) -> Tensor: ...


class Schedule:
    """Lengths, resets and direction of one unroll.

    Args:
        steps: T, the length of the batch.
        batch: B, the number of rows.
        lengths: (B,) steps that count, or None for all T.
        reset: (T, B) bool, start afresh before this step, or None.
        reverse: whether the last live step comes first.
    """

    def __init__(
        self,
        steps: int,
        batch: int,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
        reverse: bool = False,
    ) -> None:
        self.total, self.batch, self.lengths, self.reverse = steps, batch, lengths, reverse
        self.steps = steps if lengths is None else int(lengths.max()) if batch else 0
        self._live: list[Tensor | None] | None = None
        self._rest: tuple[Tensor, Tensor] | None = None
        if lengths is not None and self.steps:
            self._set_lengths(lengths)
        self._reset = self._reset_masks(reset)

    @classmethod
    def of(cls, course: Course) -> "Schedule":
        return cls(course.steps, course.batch, course.lengths, course.reset, course.reverse)

    def _set_lengths(self, lengths: Tensor) -> None:
        shortest = int(lengths.min())
        order = torch.arange(self.steps, device=lengths.device)
        masks = (order[:, None] < lengths).unbind(0)
        self._live = [None if p < shortest else mask for p, mask in enumerate(masks)]
        if shortest == self.total and not self.reverse:
            return
        rows = torch.arange(self.batch, device=lengths.device)
        # A row of length zero has no step of its own to repeat: it borrows a longest row's.
        donor = torch.where(lengths > 0, rows, lengths.argmax())
        last = lengths[donor] - 1
        self._rest = (torch.zeros_like(last) if self.reverse else last, donor)

    def _reset_masks(self, reset: Tensor | None) -> list[Tensor | None] | None:
        if reset is None or not self.steps:
            return None
        masks = self.to_time(reset)[: self.steps]
        some = masks.any(1).tolist()
        return [mask if any_ else None for mask, any_ in zip(masks.unbind(0), some, strict=True)]

    @property
    def plain(self) -> bool:
        """Whether every row takes every step and starts afresh at none."""
        return self._live is None and self._reset is None

    @property
    def counts(self) -> Tensor:
        """(B,) steps of each sequence."""
        return torch.full((self.batch,), self.total) if self.lengths is None else self.lengths

    def live(self, p: int) -> Tensor | None:
        """(B,) rows that take step p, or None where all do."""
        return None if self._live is None else self._live[p]

    def reset(self, p: int) -> Tensor | None:
        """(B,) live rows that start afresh before step p, or None where none does."""
        return None if self._reset is None else self._reset[p]

    def columns(self, leaf: Tensor) -> Steps:
        """`leaf` (T, B, ...) read by processing step; resting rows repeat their last live step."""
        if self.lengths is None:
            return self._unbound(leaf)
        return Columns(self, self.lengths, leaf, None if self._rest is None else leaf[self._rest])

    def adjoints(self, leaf: Tensor) -> Steps:
        """`leaf` (T, B, ...) read by processing step; resting rows read zero."""
        if self.lengths is None:
            return self._unbound(leaf)
        return Columns(self, self.lengths, leaf, None)

    def _unbound(self, leaf: Tensor) -> Sequence[Tensor]:
        steps = leaf.unbind(0)
        return steps[::-1] if self.reverse else steps

    def borrow(self, leaf: Tensor) -> Tensor:
        """`leaf` (B, ...) with a donor's row in place of each row of length zero."""
        return leaf if self._rest is None else leaf[self._rest[1]]

    def to_time(self, leaf: Tensor) -> Tensor:
        """(P, B, ...) in processing order to (T, B, ...) in time order, zero where rows rest.

        Reversing a sequence's live part is its own inverse, so this also takes (T, B, ...) in time
        order to processing order.
        """
        if self.lengths is None:
            return leaf.flip(0) if self.reverse else leaf
        time = torch.arange(self.total, device=leaf.device)[:, None]
        counts = _mask_like(time < self.lengths, leaf)
        if self.reverse and self.steps:
            index = (self.lengths - 1 - time).clamp(min=0)
            leaf = leaf[index, torch.arange(self.batch, device=leaf.device)]
        elif leaf.shape[0] < self.total:
            rest = leaf.new_zeros(self.total - leaf.shape[0], *leaf.shape[1:])
            leaf = torch.cat([leaf, rest])
        return torch.where(counts, leaf, leaf.new_zeros(()))

    def stack(self, leaves: Sequence[Tensor]) -> Tensor:
        """P tensors (B, ...) in processing order as one (T, B, ...) in time order."""
        if self.lengths is None:
            return torch.stack(list(reversed(leaves)) if self.reverse else list(leaves))
        return self.to_time(torch.stack(list(leaves)))


class Columns:
    """A (T, B, ...) tensor read by processing step, where sequences differ in length."""

    def __init__(
        self, schedule: Schedule, lengths: Tensor, leaf: Tensor, resting: Tensor | None
    ) -> None:
        self._schedule, self._lengths, self._leaf = schedule, lengths, leaf
        self._resting, self._steps = resting, leaf.unbind(0)

    def __getitem__(self, p: int) -> Tensor:
        schedule = self._schedule
        value = self._reversed(p) if schedule.reverse else self._steps[p]
        live = schedule.live(p)
        return value if live is None else select(live, value, self._resting)

    def _reversed(self, p: int) -> Tensor:
        time = (self._lengths - 1 - p).clamp(min=0)
        return self._leaf[time, torch.arange(len(time), device=time.device)]


def select(mask: Tensor, chosen: Tensor, other: Tensor | None) -> Tensor:
    """Rows of `chosen` where `mask` (B,) holds, of `other` elsewhere (None: zeros)."""
    if other is None:
        other = chosen.new_zeros(())
    return torch.where(_mask_like(mask, chosen), chosen, other)


def _mask_like(mask: Tensor, leaf: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *[1] * (leaf.dim() - mask.dim()))
