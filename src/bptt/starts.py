"""The state that each step of an unroll starts from."""

from collections.abc import Sequence

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
        _start_anew(course.reset, found.flatten(0, 1), fresh)
    return found


def firsts(course: Course) -> Tensor:
    """(T, B) bool, the step that each sequence of so many steps begins with in reverse.

    >>> firsts(Course(3, 2, torch.tensor([1, 3]), None, True)).tolist()
    [[True, False], [False, False], [False, True]]
    """
    found, batch = bytearray(course.steps * course.batch), course.batch  # a mask's bytes
    for row, count in enumerate(course.numbers):
        if count:
            found[(count - 1) * batch + row] = True
    return torch.frombuffer(found, dtype=torch.bool).view(course.steps, batch)


def anew(mask: Tensor, begun: Tensor, fresh: Tensor) -> Tensor:
    """(T * B, ...) a copy of what steps begin with where nothing starts afresh, with what does.

    Args:
        mask: (T, B) bool, what starts afresh.
        begun: (T * B, ...) one leaf.
        fresh: (B, ...) what it starts from.

    >>> mask = torch.tensor([[False], [False], [True]])
    >>> anew(mask, torch.ones(3, 1), torch.tensor([[9.0]])).flatten().tolist()
    [1.0, 1.0, 9.0]
    """
    found = begun.clone()
    _start_anew(mask, found, fresh)
    return found


def _start_anew(mask: Tensor, begun: Tensor, fresh: Tensor) -> None:
    rows = mask.flatten().nonzero().flatten()
    begun.index_copy_(0, rows, fresh.index_select(0, rows % mask.shape[1]))


def around(course: Course, first: Sequence[Tensor], fresh: Sequence[Tensor] | None) -> list[Tensor]:
    """(T, B, ...) leaves of the state before each step, where a step only passes them round.

    Args:
        course: who steps when.
        first: (B, ...) per leaf, what sequences start from; a step makes each leaf the next one,
            and the last one the first. One leaf alone stays as it is.
        fresh: (B, ...) per leaf, what resets start from; None where there are no resets.

    >>> course = Course(4, 1, None, None, False)
    >>> [leaf.flatten().tolist() for leaf in around(course, [torch.zeros(1), torch.ones(1)], None)]
    [[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]]
    """
    time, rows = torch.arange(course.steps)[:, None], torch.arange(course.batch)
    place = (course.counts - 1 - time if course.reverse else time).expand(-1, course.batch)
    last = torch.full_like(place, -1)
    if course.reset is not None and fresh is not None:
        found = torch.where(course.reset & (place >= 0), place, -1)
        last = found.flip(0).cummax(0)[0].flip(0) if course.reverse else found.cummax(0)[0]
    since, anew = place - last.clamp(min=0), (last >= 0)
    leaves = []
    for number in range(len(first)):
        turn = (since + number) % len(first)
        leaf = torch.stack(list(first))[turn, rows]
        if fresh is not None:
            mask = anew.reshape(*anew.shape, *[1] * (leaf.dim() - 2))
            leaf = torch.where(mask, torch.stack(list(fresh))[turn, rows], leaf)
        leaves.append(leaf)
    return leaves
