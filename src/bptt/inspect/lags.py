"""What loss times leave, by lag: how many steps lie between a loss and the step it reaches."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bptt.backends.each import At
from bptt.course import Course


class LagSums:
    """Sums over loss times of what lies j steps behind each.

    Args:
        course: who steps when.
        times: the loss times.
        shape: of what is summed.

    Attributes:
        sums: (T, *shape) by lag.
    """

    def __init__(self, course: Course, times: Sequence[int], *shape: int) -> None:
        self._reverse, self._times = course.reverse, list(times)
        self.sums = np.zeros((course.steps, *shape))

    def add(self, at: At, values: Tensor) -> None:
        """Add values (L, M, *shape) of loss times at their steps."""
        for place, time in enumerate(self._times[at.rows]):
            if self._reverse:
                own = values[max(time - at.steps.start, 0) :, place]
                first = max(at.steps.start - time, 0)
            else:
                own = values[: time + 1 - at.steps.start, place].flip(0)
                first = max(time + 1 - at.steps.stop, 0)
            self.sums[first : first + len(own)] += own.numpy()


def counts(course: Course, times: Sequence[int]) -> np.ndarray:
    """(T, B) by lag and sequence: how many of the loss times have such a step in their episode."""
    steps = torch.arange(course.steps)[:, None]
    lengths = course.counts
    if course.reverse:
        begins = torch.where(steps == lengths - 1, steps, course.steps)
        if course.reset is not None:
            begins = torch.where(course.reset, steps, begins)
        depth = begins.flip(0).cummin(0).values.flip(0) - steps + 1
    else:
        begins = torch.zeros(course.steps, course.batch, dtype=torch.int64)
        if course.reset is not None:
            begins = torch.where(course.reset, steps, begins)
        depth = steps - begins.cummax(0).values + 1
    depth = torch.where(steps < lengths, depth, 0)[list(times)]
    return torch.stack([(depth > lag).sum(0) for lag in range(course.steps)]).numpy()


def means(sums: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Sums over their numbers; NaN where there is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(number > 0, sums / number, np.nan)
