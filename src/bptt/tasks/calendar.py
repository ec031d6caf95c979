"""Where in the day, the week and the year a row lies, as inputs of a forecast."""

import numpy as np
import polars as pl

from bptt.errors import DataError
from bptt.tasks.encoding import Floats

CYCLES = {"time of day": 1.0, "weekday": 7.0, "time of year": 365.25}  # in days


def cycles_of(times: pl.Series | None, source: str) -> tuple[str, ...]:
    """The cycles that hold two rows at least and come twice in these times at least.

    Args:
        times: of one series' training rows; None: there is no time column.
        source: the file's name, for messages.

    Raises:
        DataError: the times are no dates, or none of the cycles is such.

    >>> days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 3, 1), eager=True)
    >>> cycles_of(days, "a.csv")
    ('weekday',)
    """
    if times is None or not times.dtype.is_temporal():
        raise DataError(
            f"{source}: --calendar needs dates, such as 2024-01-31 or 2024-01-31 12:00, and the "
            f"rows are {'not told apart by any' if times is None else 'ordered by numbers'}. Name "
            f"a column of dates with --time, or leave --calendar out."
        )
    days = times.cast(pl.Datetime("us")).dt.epoch("s").to_numpy() / 86_400
    step, span = np.median(np.diff(days)), days[-1] - days[0]
    found = tuple(name for name, length in CYCLES.items() if 2 * step <= length <= span / 2)
    if not found:
        raise DataError(
            f"{source}: --calendar has nothing to tell: neither a day, a week nor a year both "
            f"holds two rows and comes twice in the {span:.0f} days of the training part. Leave "
            f"it out."
        )
    return found


def phases(times: pl.Series, cycles: tuple[str, ...]) -> Floats:
    """(N, 2 C): sine and cosine of how far each time is through each of C cycles.

    >>> noon = pl.Series(["2024-01-01 12:00"]).str.to_datetime()
    >>> phases(noon, ("time of day",)).round(6).tolist()
    [[0.0, -1.0]]
    """
    whole = times.cast(pl.Datetime("us"))
    turns = {
        "time of day": (whole.dt.hour().cast(pl.Int64) * 60 + whole.dt.minute()) / 1440,
        "weekday": (whole.dt.weekday() - 1) / 7,
        "time of year": (whole.dt.ordinal_day() - 1) / 365.25,
    }
    angles = [2 * np.pi * turns[name].cast(pl.Float64).to_numpy() for name in cycles]
    waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    return np.stack(waves, 1) if waves else np.zeros((len(times), 0))
