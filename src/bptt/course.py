"""Who steps when in an unroll, and in some of its steps."""

import functools
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Course:
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

    @functools.cached_property
    def live(self) -> Tensor | None:
        """(T * B,) which rows count; None if all do."""
        if self.lengths is None:
            return None
        return (torch.arange(self.steps)[:, None] < self.lengths).flatten()

    @functools.cached_property
    def dead(self) -> Tensor | None:
        """Which of (T * B) rows do not count; None if all do."""
        if self.lengths is None:
            return None
        time = np.arange(self.least, self.steps)[:, None]  # numpy takes a fifth of torch's time
        rows = np.flatnonzero(time >= self.lengths.numpy())
        return torch.from_numpy(rows + self.least * self.batch)

    @functools.cached_property
    def numbers(self) -> tuple[int, ...]:
        """Steps of each sequence; none where all are the same."""
        return () if self.lengths is None else tuple(self.lengths.tolist())

    @functools.cached_property
    def padding(self) -> int:
        """How many of (T * B) rows do not count."""
        return self.steps * len(self.numbers) - sum(self.numbers)

    @functools.cached_property
    def least(self) -> int:
        """Steps that all sequences have."""
        return min(self.numbers, default=self.steps)

    def to_time(self, numbers: Tensor) -> Tensor:
        """(T, B, ...) in the order of processing, in the order of time."""
        if not self.reverse:
            return numbers
        if self.lengths is None:
            return numbers.flip(0)
        time = torch.arange(self.steps)[:, None]
        return numbers[(self.lengths - 1 - time).clamp(min=0), torch.arange(self.batch)]


class Steps(Protocol):
    """Some of the steps of an unroll."""

    def take(self, leaf: Tensor) -> Tensor:
        """The steps of a (T, B, ...) tensor."""
        ...

    def put(self, leaf: Tensor, steps: Tensor) -> None:
        """Write the steps of a (T, B, ...) tensor."""
        ...


class Span(NamedTuple):
    """Some of the steps of an unroll in which sequences differ in nothing.

    Attributes:
        start, stop: their time indices.
    """

    start: int
    stop: int

    def take(self, leaf: Tensor) -> Tensor:
        """The steps of a (T, B, ...) tensor: a view."""
        return leaf[self.start : self.stop]

    def put(self, leaf: Tensor, steps: Tensor) -> None:
        """Write the steps of a (T, B, ...) tensor."""
        leaf[self.start : self.stop] = steps


class Window:
    """Some of the steps of an unroll, in the order of processing.

    Args:
        course: of the whole.
        begin, end: the steps; those in between run as a course of their own.

    Attributes:
        course: of the steps.
        first: the number of its first one.
    """

    def __init__(self, course: Course, begin: int, end: int) -> None:
        self.whole, self.first, self._end = course, begin, end
        lengths = course.lengths
        self._rows: tuple[Tensor, Tensor] | None = None
        if course.reverse and lengths is not None:
            time = lengths - 1 - torch.arange(begin, end)[:, None]
            self._rows = time.clamp(min=0), torch.arange(course.batch)
        reverse = course.reverse and lengths is None
        start = course.steps - end if reverse else begin
        self._span = slice(start, start + end - begin)
        live = None if lengths is None else (lengths - begin).clamp(0, end - begin)
        reset = None if course.reset is None else self.take(course.reset).contiguous()
        self.course = Course(end - begin, course.batch, live, reset, reverse)

    def take(self, leaf: Tensor) -> Tensor:
        """The steps of a (T, B, ...) tensor; a view where there is one."""
        return leaf[self._span] if self._rows is None else leaf[self._rows]

    def put(self, leaf: Tensor, steps: Tensor) -> None:
        """Write the steps of a (T, B, ...) tensor: those that count, where others do not."""
        if self._rows is None:
            leaf[self._span] = steps
            return
        live = self.course.live
        assert live is not None
        mask = live.view(steps.shape[:2])
        time, rows = self._rows
        leaf[time[mask], rows.expand_as(mask)[mask]] = steps[mask]


class Stretch:
    """Some of the steps of an unroll that follow each other in time.

    Args:
        course: of the whole.
        start, stop: the steps.

    Attributes:
        course: of the steps: they run as a course of their own, the last live one first in reverse.
    """

    def __init__(self, course: Course, start: int, stop: int) -> None:
        self.whole, self.start, self.stop = course, start, stop
        steps, live = stop - start, None
        if course.lengths is not None:
            live = (course.lengths - start).clamp(0, steps)
            live = None if bool((live == steps).all()) else live
        reset = None if course.reset is None else course.reset[start:stop]
        self.course = Course(steps, course.batch, live, reset, course.reverse)

    @property
    def before(self) -> Tensor:
        """(B,) how many of each sequence's steps are processed before these."""
        counts = self.whole.counts
        return (
            (counts - self.stop).clamp(min=0)
            if self.whole.reverse
            else counts.clamp(max=self.start)
        )

    @property
    def rows(self) -> slice:
        """Which of (T * B) rows they are."""
        return slice(self.start * self.whole.batch, self.stop * self.whole.batch)

    def take(self, leaf: Tensor) -> Tensor:
        """The steps of a (T, B, ...) tensor: a view."""
        return leaf[self.start : self.stop]

    def put(self, leaf: Tensor, steps: Tensor) -> None:
        """Write the steps of a (T, B, ...) tensor."""
        leaf[self.start : self.stop] = steps
