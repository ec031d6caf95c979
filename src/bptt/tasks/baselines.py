"""Naive rules that need no network: what a trained one must beat to have learnt anything."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt.tasks.encoding import Floats

Codes = NDArray[np.int64]
PRIOR = 20.0  # pairs that the unigram's opinion weighs as much as


def last_value(values: Floats, origins: Codes, horizon: int) -> Floats:
    """(M, H, K) the value at each of M origins, for every lead."""
    return np.repeat(values[origins][:, None], horizon, 1)


def seasonal_naive(
    values: Floats, first: Codes, origins: Codes, horizon: int, period: int
) -> Floats:
    """(M, H, K) the value a whole number of periods earlier, the least that is known at the origin.

    Args:
        values: (N, K).
        first: (M,) first row of each origin's series.
        origins: (M,) rows from which is forecast.
        period: in rows.

    Returns:
        NaN where the series began less than a period earlier.
    """
    lead = np.arange(1, horizon + 1)
    back = origins[:, None] + lead - period * -(-lead // period)  # (M, H)
    known = values[np.maximum(back, 0)]
    return np.where((back >= first[:, None])[..., None], known, np.nan)


def majority(labels: Codes, classes: int) -> int:
    """The commonest label in training."""
    return int(np.bincount(labels, minlength=classes).argmax())


class CharacterCounts:
    """Unigram and bigram probabilities of characters, counted in the training part.

    Unigrams by add-one. Bigrams give way to unigrams where a pair is rare, by a Dirichlet prior:
    p(c | b) = (n(b, c) + a p(c)) / (n(b) + a) with a = 20 (MacKay & Bauman Peto, "A
    hierarchical Dirichlet language model", 1995).
    """

    def __init__(self, singles: Codes, pairs: Codes, counts: Codes) -> None:
        self.singles = singles
        self.pairs = pairs
        self.counts = counts

    @classmethod
    def learn(cls, codes: Codes, size: int) -> "CharacterCounts":
        """From (N,) codes below `size`."""
        pairs, counts = np.unique(codes[:-1] * size + codes[1:], return_counts=True)
        return cls(np.bincount(codes, minlength=size), pairs, counts)

    def unigram(self, codes: Codes) -> Floats:
        """Probability of each of the codes."""
        return (self.singles[codes] + 1) / (self.singles.sum() + len(self.singles))

    def bigram(self, before: Codes, codes: Codes) -> Floats:
        """Probability of each of the codes after the one before it."""
        pair = before * len(self.singles) + codes
        place = np.searchsorted(self.pairs, pair).clip(max=len(self.pairs) - 1)
        seen = np.where(self.pairs[place] == pair, self.counts[place], 0)
        prior = PRIOR * self.unigram(codes)
        return (seen + prior) / (self.singles[before] + PRIOR)

    def describe(self) -> dict[str, Any]:
        """JSON-able."""
        return {name: getattr(self, name).tolist() for name in ("singles", "pairs", "counts")}

    @classmethod
    def restore(cls, description: dict[str, Any]) -> "CharacterCounts":
        """What `describe` gave."""
        return cls(**{name: np.array(values, np.int64) for name, values in description.items()})
