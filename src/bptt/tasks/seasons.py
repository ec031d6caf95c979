"""Time steps: how far apart rows are, what comes next, and the period of a season."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import polars as pl

from bptt.tasks.encoding import Floats

MONTHS = {"1mo": 12, "3mo": 4}
WEEK, DAY, HOUR = timedelta(days=7), timedelta(days=1), timedelta(hours=1)
MOST_LAGS = 500
LEAST_CORRELATION = 0.3


def step_of(times: pl.Series) -> str | timedelta | float | None:
    """The distance from each time to the next: months ("3mo"), a duration, a number, or None.

    None where the distances differ.

    >>> step_of(pl.Series(["2024-01-31", "2024-02-29", "2024-03-31"]).str.to_date())
    '1mo'
    """
    if len(times) < 2:
        return None
    steps = times.diff().drop_nulls().unique()
    if times.dtype.is_temporal() and len(steps) > 1:
        return _months(times)
    return steps[0] if len(steps) == 1 else None


def _months(times: pl.Series) -> str | None:
    month = times.dt.year().cast(pl.Int64) * 12 + times.dt.month()
    steps = month.diff().drop_nulls().unique()
    same_day = times.dt.day().n_unique() == 1 or bool((times == times.dt.month_end()).all())
    return f"{steps[0]}mo" if len(steps) == 1 and steps[0] > 0 and same_day else None


def following(times: pl.Series, count: int) -> pl.Series:
    """The `count` times after the last, or nulls where the steps are not regular.

    >>> following(pl.Series([2000, 2001, 2002]), 2).to_list()
    [2003, 2004]
    """
    step, last = step_of(times), times[-1]
    if step is None:
        return pl.Series(times.name, [None] * count, dtype=times.dtype)
    if not isinstance(step, str):
        return pl.Series(times.name, [last + step * i for i in range(1, count + 1)], times.dtype)
    ends = bool((times == times.dt.month_end()).all())
    months = [f"{int(step[:-2]) * i}mo" for i in range(1, count + 1)]
    ahead = pl.Series(times.name, [last] * count, times.dtype).dt.offset_by(pl.Series(months))
    return ahead.dt.month_end() if ends else ahead


def season_of(times: pl.Series | None, parts: Sequence[Floats]) -> tuple[int | None, str]:
    """The period of the season, in rows, and what it was taken from.

    The calendar says it for steps under a year: 24 hours, 7 days, 52 weeks, 4 quarters, 12 months,
    a day of minutes. Otherwise the training rows say it, by their autocorrelation.

    Args:
        times: of one series, or None.
        parts: the training rows of each series, one target.
    """
    step = step_of(times) if times is not None else None
    period = MONTHS.get(step) if isinstance(step, str) else None
    if isinstance(step, timedelta):
        period = _of_duration(step)
    if period:
        return period, f"the time step of {_in_words(step)}"
    period = autocorrelation_period(max(parts, key=len))
    return (
        period,
        "the autocorrelation of the training part" if period else "none: no period was found",
    )


def _of_duration(step: timedelta) -> int | None:
    if step == WEEK:
        return 52
    if step == DAY:
        return 7
    return DAY // step if step < DAY and DAY % step == timedelta(0) else None


def _in_words(step: str | timedelta | float | None) -> str:
    names = {"1mo": "a month", "3mo": "a quarter", WEEK: "a week", DAY: "a day", HOUR: "an hour"}
    return names.get(step, str(step))  # type: ignore[arg-type]


def autocorrelation_period(values: Floats) -> int | None:
    """The lag, at least 2, of the highest peak of the autocorrelation of (N,) detrended values.

    None where no peak reaches 0.3: there is no season worth the name.

    >>> autocorrelation_period(np.sin(np.arange(200) * 2 * np.pi / 11))
    11
    """
    size = len(values)
    lags = min(size // 3, MOST_LAGS)
    if lags < 4:
        return None
    index = np.arange(size) - (size - 1) / 2
    slope = (index * values).sum() / (index**2).sum()
    rest = values - values.mean() - slope * index
    power = np.abs(np.fft.rfft(rest, 2 * size)) ** 2
    if power.sum() <= 1e-12 * (np.abs(values).max() ** 2) * size**2:
        return None
    correlation = np.fft.irfft(power)[: lags + 1]
    correlation = correlation / correlation[0] * size / (size - np.arange(lags + 1))
    inner = correlation[1:-1]
    peaks = (inner > correlation[:-2]) & (inner >= correlation[2:]) & (inner > LEAST_CORRELATION)
    lag = np.flatnonzero(peaks) + 1
    lag = lag[lag > 1]
    return int(lag[correlation[lag].argmax()]) if lag.size else None
