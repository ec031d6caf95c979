"""Which sequences run through which steps, and how they are shared among threads."""

import functools
import itertools
from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SHARE = 100_000  # vector operations, about twenty microseconds: less is not worth a thread


class Rows(NamedTuple):
    """One row for each run of a sequence through some steps.

    Attributes:
        sequence: (R,) int64, the sequence that each row runs; None for one row each, in order.
        start: (R,) int64, the time index of a row's first step; None for the first step of all,
            or, going backward, for the one that leads to it in so many steps.
        steps: (R,) int64, how many steps a row runs, 0 allowed; None for all T.
        direction: 1 if time goes up from step to step, -1 if it goes down.
        apart: whether carries, sequence memories and trails have a row for each of these, in their
            order, in place of one for each sequence: then rows may share a sequence.
        name: equal for rows that are equal: a kernel keeps calls made for them.
        own: (R,) int64, where `apart`, which row of a carry is whose; None for their order.
    """

    sequence: Tensor | None = None
    start: Tensor | None = None
    steps: Tensor | None = None
    direction: int = 1
    apart: bool = False
    name: Hashable = None
    own: Tensor | None = None


EVERY = Rows()


class Order(NamedTuple):
    """Rows as a kernel takes them, longest first.

    Attributes:
        order: of each row, its place in a (T * B) memory at the first step, less `first`.
        sequence: of each row.
        steps: of each row, or None if all run `longest` steps.
        first: added to every place.
        stride: from a row's place at one step to the next.
        trail: of each row, its place in a trail memory at the first step, less `first`.
        pace: from a row's place in a trail at one step to the next.
        longest: steps of the longest row.
        shares: first row of each thread's share, and the end.
        height: rows of the largest share.
        members: threads that share the columns of all rows; 1 if they share the rows.
    """

    order: Tensor
    sequence: Tensor
    steps: Tensor | None
    first: int
    stride: int
    trail: Tensor
    pace: int
    longest: int
    shares: tuple[int, ...]
    height: int
    members: int = 1


def arrange(rows: Rows | None, times: int, batch: int, work: int, together: bool = False) -> Order:
    """Sorts rows and gives each thread about as many steps as the others.

    Args:
        rows: or None for every sequence through all steps.
        times: T.
        batch: B.
        work: vector operations of one row at one step.
        together: whether threads share the columns where there are no more rows than threads.

    Raises:
        ValueError: if a row leaves its memories.
    """
    sequence, start, steps, direction, *_ = rows or EVERY
    if direction not in (1, -1):
        raise ValueError(f"expected a direction of 1 or -1, got {direction}")
    if sequence is start is steps is None:
        order = _whole(times, batch, direction, work, torch.get_num_threads())
    elif steps is not None and sequence is start is None:
        order = _by_length(steps, times, batch, direction, work)
    else:
        order = _sorted(rows or EVERY, times, batch, work)
    return _together(order, torch.get_num_threads()) if together else order


def _together(order: Order, threads: int) -> Order:
    """All rows for all threads, if there are fewer rows than threads."""
    rows = order.shares[-1]
    if not 0 < rows <= threads or threads == 1:
        return order
    return order._replace(shares=(0, rows), height=rows, members=threads)


@functools.lru_cache(maxsize=64)
def _whole(times: int, batch: int, direction: int, work: int, threads: int) -> Order:
    """Every sequence through all steps."""
    numbers = torch.arange(batch)
    first = 0 if direction == 1 else (times - 1) * batch
    count = _count(batch, times * batch * work, threads)
    shares = tuple(batch * i // count for i in range(count + 1))
    return Order(
        numbers,
        numbers,
        None,
        first,
        direction * batch,
        numbers,
        direction * batch,
        times,
        shares,
        -(-batch // count),
    )


def _by_length(steps: Tensor, times: int, batch: int, direction: int, work: int) -> Order:
    """Each sequence from its first step on, or back to it."""
    length = _array(steps, batch, lambda: np.full(batch, times))
    order = np.argsort(-length, kind="stable")
    length = length[order]
    if not 0 <= length[-1] <= length[0] <= times:
        raise ValueError(f"expected rows of 0 to {times} steps, got {steps.tolist()}")
    begin = torch.from_numpy(order if direction == 1 else (length - 1) * batch + order)
    shares = _shares(length, work)
    return Order(
        begin,
        torch.from_numpy(order),
        torch.from_numpy(length),
        0,
        direction * batch,
        begin,
        direction * batch,
        int(length[0]),
        shares,
        _highest(shares),
    )


def _sorted(rows: Rows, times: int, batch: int, work: int) -> Order:
    direction = rows.direction
    size = next(len(part) for part in rows[:3] if part is not None)
    sequence = _array(rows.sequence, size, lambda: np.arange(size))
    length = _array(rows.steps, size, lambda: np.full(size, times))
    begin = _array(rows.start, size, lambda: length * 0 if direction == 1 else length - 1)
    _check(sequence, begin, length, direction, times, batch)
    by_length = np.argsort(-length, kind="stable")
    sequence, begin, length = sequence[by_length], begin[by_length], length[by_length]
    shares = _shares(length, work)
    own, width = (by_length, size) if rows.apart else (sequence, batch)
    if rows.own is not None:
        own = rows.own.numpy()[by_length]
    return Order(
        torch.from_numpy(begin * batch + sequence),
        torch.from_numpy(own),
        torch.from_numpy(length),
        0,
        direction * batch,
        torch.from_numpy(begin * width + own),
        direction * width,
        int(length[0]) if size else 0,
        shares,
        _highest(shares),
    )


def _highest(shares: tuple[int, ...]) -> int:
    """Rows of the largest share."""
    return max(b - a for a, b in itertools.pairwise(shares))


def _array(given: Tensor | None, size: int, default) -> np.ndarray:
    found = default() if given is None else given.numpy()
    if found.shape != (size,) or found.dtype != np.int64:
        raise ValueError(f"expected {size} rows of int64, got shape {found.shape} of {found.dtype}")
    return found


def _check(
    sequence: np.ndarray,
    start: np.ndarray,
    steps: np.ndarray,
    direction: int,
    times: int,
    batch: int,
) -> None:
    """Refuses rows that leave their memories."""
    end = start + direction * (steps - 1)
    low, high = np.minimum(start, end), np.maximum(start, end)
    inside = ((low >= 0) & (high < times) & (steps > 0)) | (steps == 0)
    if not (inside & (sequence >= 0) & (sequence < batch)).all():
        raise ValueError(
            f"expected rows within {times} steps of {batch} sequences, got sequences {sequence}, "
            f"starts {start}, steps {steps}, direction {direction}"
        )


def _shares(steps: np.ndarray, work: int) -> tuple[int, ...]:
    """First row of each share, and the end: about as many steps in each."""
    threads = torch.get_num_threads()
    total = 0 if threads == 1 else int(steps.sum())
    count = _count(len(steps), total * work, threads)
    if count == 1:
        return 0, len(steps)
    ends = np.searchsorted(np.cumsum(steps), [total * i / count for i in range(1, count)])
    return (0, *(int(end) + 1 for end in ends), len(steps))


def _count(rows: int, work: int, threads: int) -> int:
    """How many threads are worth their start."""
    return max(1, min(threads, rows, work // SHARE))
