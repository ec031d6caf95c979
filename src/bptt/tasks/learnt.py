"""All that a forecast learns from its training rows, kept with the model."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bptt.errors import DataError
from bptt.tasks.calendar import cycles_of
from bptt.tasks.encoding import Codes, Scale, numbers
from bptt.tasks.levels import Levels
from bptt.tasks.options import DataOptions, Missing
from bptt.tasks.seasons import season_of
from bptt.tasks.series import SHARES, Columns, Panel, cut_in_time, shorter_than

USUAL_WINDOW, LEAST_WINDOW, LEAST_ROWS = 64, 8, 7


def choose_window(options: DataOptions, panel: Panel, ends: NDArray[np.int64], source: str) -> int:
    """Rows of history: the option, else 64, else half the shortest series' training rows.

    Raises:
        DataError: a series whose training rows are too few for a window and what follows it.
    """
    horizon, rows = options.horizon or 1, ends - panel.bounds[:-1]
    fitting = (int(rows.min()) - horizon) // 2
    window = options.window or max(LEAST_WINDOW, min(USUAL_WINDOW, fitting))
    need = max(window + horizon, LEAST_ROWS)
    if len(panel.names) == len(panel.values) > 1:
        raise DataError(
            f"{source}: each row is a series of its own, for no two have the same group. Check "
            f"--group: it tells series apart that have many rows each."
        )
    short = shorter_than(need, panel, rows)
    if short:
        room = int(rows.min()) - horizon
        fits = f"--window {room} or less" if room > 0 else "a smaller --horizon"
        mend = f"take {fits}, or give more rows" if int(rows.min()) >= LEAST_ROWS else "give more"
        raise DataError(
            f"{source}: too few rows. In the first {SHARES[0]:.0%}, which is for training, "
            f"{short}; a window of {window} and a horizon of {horizon} need {need}. To mend it, "
            f"{mend}."
        )
    return window


@dataclass(frozen=True)
class Learnt:
    """All that a forecast learns from its training rows, and how it was asked to look at them."""

    columns: Columns
    window: int
    horizon: int
    missing: Missing
    season: int | None
    season_from: str
    levels: Levels
    scale: Scale
    codes: tuple[Codes, ...]
    cycles: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """JSON-able."""
        plain = ("window", "horizon", "missing", "season", "season_from")
        return {
            **{name: getattr(self, name) for name in plain},
            "columns": self.columns.describe(),
            "levels": self.levels.describe(),
            "scale": self.scale.describe(),
            "codes": [list(code.words) for code in self.codes],
            "cycles": list(self.cycles),
        }

    def normalisation(self) -> dict[str, dict[str, float]]:
        """Mean and deviation learnt of each number, over all series, for people to read."""
        names = [*self.columns.targets, *self.columns.numeric]
        mean = np.concatenate([self.levels.mean.mean(0), self.scale.mean])
        deviation = np.concatenate([self.levels.deviation.mean(0), self.scale.deviation])
        pairs = zip(names, mean.tolist(), deviation.tolist(), strict=True)
        return {name: {"mean": m, "deviation": d} for name, m, d in pairs}

    def season_in_words(self) -> str:
        """The season's period and what it was taken from, for people to read."""
        return f"{in_rows(self.season)}, by {self.season_from}" if self.season else self.season_from

    @classmethod
    def restore(cls, description: dict[str, Any]) -> Self:
        """What `describe` gave."""
        return cls(
            **description
            | {
                "columns": Columns.restore(description["columns"]),
                "levels": Levels.restore(description["levels"]),
                "scale": Scale.restore(description["scale"]),
                "codes": tuple(Codes(tuple(words)) for words in description["codes"]),
                "cycles": tuple(description["cycles"]),
            }
        )


def in_rows(number: int) -> str:
    """A number of rows.

    >>> in_rows(1), in_rows(1200)
    ('1 row', '1,200 rows')
    """
    return f"{number:,} row{'' if number == 1 else 's'}"


def learn(panel: Panel, columns: Columns, options: DataOptions, source: str) -> Learnt:
    """Learn levels, scales and codes from the training rows of a panel, and from no others.

    Raises:
        DataError: a series too short for its window.
    """
    ends = cut_in_time(panel)[:, 1]
    window, horizon = choose_window(options, panel, ends, source), options.horizon or 1
    training = np.arange(len(panel.values)) < ends[panel.series_of_row]
    past = panel.frame.filter(training)
    times = panel.frame[columns.time][: ends[0]] if columns.time else None
    season, reason = _season(panel, times, options, ends)
    return Learnt(
        columns=columns,
        window=window,
        horizon=horizon,
        missing=options.missing or "error",
        season=season,
        season_from=reason,
        levels=Levels.learn(panel, ends, horizon),
        scale=Scale.learn(numbers(past, columns.numeric)),
        codes=tuple(Codes.learn(past[name]) for name in columns.words),
        cycles=cycles_of(times, source) if options.calendar else (),
    )


def _season(
    panel: Panel, times: pl.Series | None, options: DataOptions, ends: NDArray[np.int64]
) -> tuple[int | None, str]:
    """The season's period, where every series' training part holds one, and its reason."""
    if options.season:
        season, reason = options.season, "--season"
    else:
        cuts = zip(panel.bounds[:-1], ends, strict=True)
        season, reason = season_of(times, [panel.values[a:b, 0] for a, b in cuts])
    room = int((ends - panel.bounds[:-1]).min()) - (options.horizon or 1)
    if season and season > room:
        return None, f"none: a season of {season} rows is longer than the training part"
    return season, reason
