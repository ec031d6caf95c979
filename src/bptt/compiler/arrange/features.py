"""Where features lie in a row: all but the last axes of a shape, counted and broadcast."""

import math
from collections.abc import Iterator, Sequence


def indices(shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every index of a shape, in order.

    >>> list(indices((2, 2)))
    [(0, 0), (0, 1), (1, 0), (1, 1)]
    """
    if not shape:
        yield ()
        return
    for first in range(shape[0]):
        for rest in indices(shape[1:]):
            yield (first, *rest)


def runs(own: Sequence[int], shape: Sequence[int]) -> Iterator[tuple[int, int, bool]]:
    """Where each run of a broadcast value is read: offset, width, one column for all.

    >>> list(runs((1, 3), (2, 3)))
    [(0, 3, False), (0, 3, False)]
    """
    axis = len(shape)
    while axis and own[axis - 1] == shape[axis - 1]:
        axis -= 1
    spread = axis == len(shape)
    if spread:
        while axis and own[axis - 1] == 1:
            axis -= 1
    width = math.prod(shape[axis:])
    for index in indices(shape[:axis]):
        offset = 0
        for i, size in zip(index, own[:axis], strict=True):
            offset = offset * size + (i if size > 1 else 0)
        yield offset * (1 if spread else width), width, spread
