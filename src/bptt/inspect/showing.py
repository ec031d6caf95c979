"""What results share in being shown: text for a terminal, a table, a chart."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

BLOCKS = "▁▂▃▄▅▆▇█"
LEVEL = 1e-6  # of the largest number: what differs by less is drawn level


def optional(name: str) -> Any:
    """A package that only tables and charts need.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"to_frame() and plot() take {name}, which is not installed: "
            'pip install "bptt[train]". The numbers are in the attributes without it.'
        ) from error


def to_polars(columns: Mapping[str, Any]) -> Any:
    """A polars DataFrame of columns of one length."""
    return optional("polars").DataFrame(dict(columns))


def bars(values: Sequence[float] | np.ndarray, width: int = 60) -> str:
    """Numbers as a row of blocks, the mean of neighbours where there are many; "·" for none.

    >>> bars([0, 1, 2, float("nan")])
    '▁▅█·'
    """
    pieces = np.array_split(np.asarray(values, float), min(width, len(values)))
    means = [_mean(piece) for piece in pieces]
    known = [mean for mean in means if math.isfinite(mean)]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    span = high - low if high - low > LEVEL * max(abs(low), abs(high)) else 1.0
    return "".join(
        BLOCKS[int((mean - low) / span * (len(BLOCKS) - 1) + 0.5)] if math.isfinite(mean) else "·"
        for mean in means
    )


def number(value: float) -> str:
    """A number in three digits.

    >>> [number(x) for x in (0.12345, 1234.5, 1e-7, float("inf"))]
    ['0.123', '1234', '1e-07', 'inf']
    """
    return f"{value:.0f}" if 100 <= abs(value) < 1e5 else f"{value:.3g}"


def plural(count: int, what: str) -> str:
    """A number of things.

    >>> plural(1, "step"), plural(20, "step")
    ('1 step', '20 steps')
    """
    return f"{count} {what}{'' if count == 1 else 's'}"


def percent(share: float) -> str:
    """A share, as 12 %."""
    return f"{100 * share:.0f} %" if share >= 0.1 or not share else f"{100 * share:.2g} %"


def noted(notes: Sequence[str]) -> list[str]:
    """Notes as the last lines of a text."""
    wrapped: Any = {"width": 96, "subsequent_indent": " " * 8, "break_on_hyphens": False}
    return [line for note in notes for line in textwrap.wrap(f"  note: {note}", **wrapped)]


def _mean(piece: np.ndarray) -> float:
    finite = piece[np.isfinite(piece)]
    return float(finite.mean()) if len(finite) else math.nan
