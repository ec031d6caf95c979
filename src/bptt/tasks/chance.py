"""Whether a lead over a naive rule may be chance: the sign-flip test."""

from itertools import product
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bptt.tasks.encoding import Floats

EXACT = 12  # so many gains have 4,096 ways to flip their signs, and all are tried


def sign_flip_test(gains: Floats) -> float:
    """How often chance alone would give a lead as large as this one, were both equally good.

    Under that hypothesis each gain might as well have had the other sign. The answer is the share
    of all ways to flip the signs in which the sum is at least what it is (Fisher, "The design of
    experiments", 1935, section 21); with more than 12 gains, the normal approximation of it. For
    gains of -1, 0 and 1 it is McNemar's exact test.

    Args:
        gains: (N,) what the network is better by, one number for each independent trial.

    Returns:
        0 .. 1; 1 where no trial tells one from the other; NaN where a gain is no number.

    >>> sign_flip_test(np.array([1.0, 2.0, 1.0])), sign_flip_test(np.array([1.0, -1.0, 0.0]))
    (0.125, 0.75)
    """
    gains = gains[gains != 0]
    if not np.isfinite(gains).all():
        return float("nan")
    size = np.sqrt((gains**2).sum())
    if len(gains) > EXACT:
        return NormalDist().cdf(-float(gains.sum() / size))
    flipped = np.array(list(product((1, -1), repeat=len(gains)))) * gains
    return float((flipped.sum(1) >= gains.sum() - 1e-9 * size).mean())


def in_blocks(gains: Floats, length: int, series: NDArray[np.int64] | None = None) -> Floats:
    """The sums of gains over blocks of `length` neighbours, which depend on each other.

    Args:
        gains: (N,).
        length: of a block; each series' last one may be shorter.
        series: (N,) which series each gain is of, ascending; None: all are of one.

    >>> in_blocks(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), 2, np.array([0, 0, 0, 1, 1]))
    array([3., 3., 9.])
    """
    series = np.zeros(len(gains), np.int64) if series is None else series
    place = np.arange(len(gains)) - np.searchsorted(series, series)
    starts = np.flatnonzero(place % length == 0)
    return np.add.reduceat(gains, starts) if starts.size else gains
