"""Numbers learnt from the training part: how columns become what a network reads."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bptt.errors import DataWarning

Floats = NDArray[np.float64]


def spread(values: Floats, fallback: Floats | float = 1.0) -> Floats:
    """Standard deviation of each column, `fallback` where a column does not vary.

    A column whose spread is rounding error beside its size does not vary.
    """
    deviation = values.std(0)
    flat = deviation <= 1e-9 * np.abs(values).max(0, initial=0.0)
    return np.where(flat, fallback, deviation)


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of columns: (F,) each.

    >>> Scale.learn(np.array([[1.0], [3.0]])).apply(np.array([[5.0]]))
    array([[3.]])
    """

    mean: Floats
    deviation: Floats

    @classmethod
    def learn(cls, values: Floats) -> Self:
        """From the training part alone: (N, F)."""
        return cls(values.mean(0), spread(values))

    def apply(self, values: Floats) -> Floats:
        """(N, F) in units of the deviation from the mean."""
        return (values - self.mean) / self.deviation

    def describe(self) -> dict[str, list[float]]:
        """JSON-able."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    @classmethod
    def restore(cls, description: dict[str, Any]) -> Self:
        """What `describe` gave."""
        return cls(np.array(description["mean"]), np.array(description["deviation"]))


@dataclass(frozen=True)
class Codes:
    """The words of a column in training, coded from 1; 0 is any other word.

    >>> Codes(("blue", "red")).apply(pl.Series(["red", "green"]))
    array([2, 0])
    """

    words: tuple[str, ...]

    @classmethod
    def learn(cls, words: pl.Series) -> Self:
        """From the training part alone."""
        return cls(tuple(words.drop_nulls().unique().sort()))

    @property
    def size(self) -> int:
        """Codes there are, with that of unknown words."""
        return len(self.words) + 1

    def apply(self, words: pl.Series) -> NDArray[np.int64]:
        """(N,) codes."""
        codes = list(range(1, self.size))
        known = words.replace_strict(list(self.words), codes, default=0, return_dtype=pl.Int64)
        return known.to_numpy(writable=True)


def numbers(frame: pl.DataFrame, names: Sequence[str]) -> Floats:
    """(N, F): the named columns, where F may be 0."""
    return frame.select(names).to_numpy(writable=True) if names else np.zeros((len(frame), 0))


def encode(frame: pl.DataFrame, names: Sequence[str], codes: Sequence[Codes]) -> NDArray[np.int64]:
    """(N, C): each named column in its codes."""
    columns = [code.apply(frame[name]) for name, code in zip(names, codes, strict=True)]
    return np.stack(columns, 1) if columns else np.zeros((len(frame), 0), np.int64)


def warn_of_unseen(
    frame: pl.DataFrame, names: Sequence[str], codes: Sequence[Codes], source: str
) -> None:
    """Give a DataWarning for each column with words that training never had."""
    for name, code in zip(names, codes, strict=True):
        strange = frame[name].filter(~frame[name].is_in(code.words))
        if len(strange):
            warnings.warn(
                f"{source}: column {name!r} has {listed(strange.unique().sort().to_list())}, which "
                f"training never had: {len(strange):,} of {len(frame):,} rows are read as unknown.",
                DataWarning,
                stacklevel=4,
            )


def listed(words: Sequence[str], most: int = 5) -> str:
    """The first few of some words, and how many more there are.

    >>> listed(["a", "b"]), listed(["a", "b", "c"], 2)
    ("'a', 'b'", "'a', 'b' and 1 more")
    """
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(map(repr, words[:most])) + more
