"""The state that each step of an unroll starts from."""

import torch
from torch import Tensor

from bptt.course import Course


def before(course: Course, after: Tensor, first: Tensor, fresh: Tensor | None) -> Tensor:
    """(T, B, ...) one leaf of the state before each step.

    Args:
        course: who steps when.
        after: (T, B, ...) the states that steps come to.
        first: (B, ...) the state that sequences start from.
        fresh: (B, ...) the one that resets start from; None where there are no resets.

    >>> course = Course(3, 1, None, torch.tensor([[False], [False], [True]]), False)
    >>> before(course, torch.ones(3, 1), torch.zeros(1), torch.tensor([9.0])).flatten().tolist()
    [0.0, 1.0, 9.0]
    """
    found = torch.empty_like(after)
    if course.reverse:
        found[:-1], found[-1] = after[1:], first
        if course.lengths is not None:
            live = course.lengths > 0
            own = torch.arange(course.batch)[live]
            found[course.lengths[live] - 1, own] = first[live]
    else:
        found[1:], found[0] = after[:-1], first
    if course.reset is not None and fresh is not None:
        anew = course.reset.flatten().nonzero().flatten()
        found.flatten(0, 1).index_copy_(0, anew, fresh.index_select(0, anew % course.batch))
    return found
