"""All that a forecast learns from its training rows, kept with the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from bptt.errors import DataError
from bptt.tasks.columns import find_time, has_numbers, inputs_of, is_number, named
from bptt.tasks.encoding import Codes, Scale, encode, numbers
from bptt.tasks.options import DataOptions, Missing
from bptt.tasks.seasons import season_of
from bptt.tasks.series import SHARES, Columns, Levels, Panel, cut_in_time, shorter_than
from bptt.tasks.table import Table
from bptt.tasks.windows import Rows

USUAL_WINDOW, LEAST_WINDOW, LEAST_ROWS = 64, 8, 7


def choose_columns(table: Table, options: DataOptions) -> Columns:
    """Which columns a forecast reads, from the options and the table.

    Raises:
        DataError: a column that is not there, or no way to tell the target.
    """
    time = find_time(table, options.time)
    group = table.need(options.group, "--group") if options.group else None
    rest = [name for name in table.columns if name not in (time, group)]
    targets = named(table, options.target or _only_number(table, rest), "--target")
    for name in targets:
        if name not in rest:
            raise DataError(f"{name!r} cannot be --target and --time or --group at once.")
        _check_target(table, name, rest)
    others = [name for name in rest if name not in targets]
    if options.covariates is not None:
        others = named(table, options.covariates, "--covariates")
    numeric, words = inputs_of(table, others)
    return Columns(tuple(targets), group, time, tuple(numeric), tuple(words))


def _check_target(table: Table, name: str, others: Sequence[str]) -> None:
    """Raise DataError where a target holds no number at all: no cell is to be mended there."""
    column = table.frame[name]
    if is_number(column.dtype) or has_numbers(column):
        return
    held = column.drop_nulls().cast(pl.String, strict=False)
    raise DataError(
        f"{table.source}: a forecast is of numbers, and --target {name} holds none"
        f"{f', but {held[0]!r} and the like' if len(held) else ''}. Numeric columns: "
        f"{_numeric(table, others)}. To learn a class of whole sequences, name its column with "
        f"--label."
    )


def _numeric(table: Table, names: Sequence[str]) -> str:
    return ", ".join(repr(n) for n in names if is_number(table.frame[n].dtype)) or "none"


def _only_number(table: Table, names: Sequence[str]) -> list[str]:
    found = [name for name in names if is_number(table.frame[name].dtype)]
    if len(found) != 1:
        raise DataError(
            f"{table.source}: name the column to forecast with --target. Numeric columns: "
            f"{_numeric(table, names)}."
        )
    return found


def choose_window(options: DataOptions, panel: Panel, ends: NDArray[np.int64], source: str) -> int:
    """Rows of history: the option, else 64, else half the shortest series' training rows.

    Raises:
        DataError: a series whose training rows are too few for a window and what follows it.
    """
    horizon, rows = options.horizon or 1, ends - panel.bounds[:-1]
    fitting = (int(rows.min()) - horizon) // 2
    window = options.window or max(LEAST_WINDOW, min(USUAL_WINDOW, fitting))
    need = max(window + horizon, LEAST_ROWS)
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

    def describe(self) -> dict[str, Any]:
        """JSON-able."""
        plain = ("window", "horizon", "missing", "season", "season_from")
        return {
            **{name: getattr(self, name) for name in plain},
            "columns": self.columns.describe(),
            "levels": self.levels.describe(),
            "scale": self.scale.describe(),
            "codes": [list(code.words) for code in self.codes],
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
    ends = cut_in_time(panel.bounds)[:, 1]
    window, horizon = choose_window(options, panel, ends, source), options.horizon or 1
    training = np.arange(len(panel.values)) < ends[panel.series_of_row]
    past = panel.frame.filter(training)
    season, reason = _season(panel, columns, options, ends)
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
    )


def _season(
    panel: Panel, columns: Columns, options: DataOptions, ends: NDArray[np.int64]
) -> tuple[int | None, str]:
    """The season's period, where every series' training part holds one, and its reason."""
    cuts = list(zip(panel.bounds[:-1], ends, strict=True))
    if options.season:
        season, reason = options.season, "--season"
    else:
        first, end = cuts[0]
        times = panel.frame[columns.time][first:end] if columns.time else None
        season, reason = season_of(times, [panel.values[a:b, 0] for a, b in cuts])
    room = int((ends - panel.bounds[:-1]).min()) - (options.horizon or 1)
    if season and season > room:
        return None, f"none: a season of {season} rows is longer than the training part"
    return season, reason


def rows_of(panel: Panel, learnt: Learnt) -> tuple[Rows, NDArray[np.float64]]:
    """What a network reads of each row, and (N, K) the unit of MASE there."""
    columns = learnt.columns
    of_row = panel.series_of_row
    mean, deviation, step = (a[of_row] for a in learnt.levels.of(panel, learnt.window))
    change = np.diff(panel.values, axis=0, prepend=panel.values[:1])
    change[panel.bounds[:-1]] = 0
    covariates = learnt.scale.apply(numbers(panel.frame, columns.numeric))
    level = (panel.values - mean) / deviation
    pace = change / deviation / learnt.levels.change[0]
    rows = Rows(
        numeric=torch.from_numpy(np.concatenate([level, pace, covariates], 1)).float(),
        categorical=torch.from_numpy(encode(panel.frame, columns.words, learnt.codes)),
        values=torch.from_numpy(panel.values),
        truth=torch.from_numpy(panel.truth),
        deviation=torch.from_numpy(deviation),
        change=torch.from_numpy(learnt.levels.change),
    )
    return rows, step
