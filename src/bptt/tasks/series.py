"""The series of a forecast: laid end to end, cut in time, and their levels learnt from the past."""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bptt.tasks.columns import check_order, to_numbers, to_words
from bptt.tasks.encoding import Floats, spread
from bptt.tasks.missing import check_present, settle_missing
from bptt.tasks.options import Missing
from bptt.tasks.table import Table

TRUTH = "\x00truth "  # prefix of a target's column before missing values were filled
SHARES = (0.70, 0.85)  # of each series' rows: the end of training, the end of validation


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are for what."""

    targets: tuple[str, ...]
    group: str | None
    time: str | None
    numeric: tuple[str, ...]
    words: tuple[str, ...]

    @classmethod
    def restore(cls, description: dict[str, Any]) -> Self:
        """From JSON, where tuples are lists."""
        lists: dict[str, Any] = {
            name: tuple(description[name]) for name in ("targets", "numeric", "words")
        }
        return cls(**{**description, **lists})

    def describe(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)

    def check(self, table: Table) -> None:
        """Raise DataError where a table lacks one of them."""
        for name in (*self.targets, *self.numeric, *self.words):
            table.need(name, "which the model was trained on")
        for name in filter(None, (self.group, self.time)):
            table.need(name, "which the model was trained with")


@dataclass(frozen=True)
class Panel:
    """S series laid end to end, N rows in all, K targets.

    Attributes:
        names: of the S series; ("",) where there is no group column.
        bounds: (S + 1,) the first row of each series, and N.
        values: (N, K) the targets' history, whole.
        truth: (N, K) the targets, NaN where the data had none: never counted.
        frame: all columns, N rows.
    """

    names: tuple[str, ...]
    bounds: NDArray[np.int64]
    values: Floats
    truth: Floats
    frame: pl.DataFrame

    @property
    def series_of_row(self) -> NDArray[np.int64]:
        """(N,) which series a row belongs to."""
        return np.repeat(np.arange(len(self.names)), np.diff(self.bounds))


def read_panel(table: Table, columns: Columns, missing: Missing) -> Panel:
    """Read the series of a table.

    Raises:
        DataError: cells that are no numbers, missing values, or times out of order.
    """
    group, time, targets = columns.group, columns.time, list(columns.targets)
    needed = list(filter(None, (group, time)))
    check_present(table, needed)
    table = to_numbers(table, targets, "target")
    table = to_numbers(table, columns.numeric, "column")
    table = to_words(table, [*columns.words, *([group] if group else [])])
    check_order(table, group, time)
    truth = [pl.when(pl.col(n).is_finite()).then(pl.col(n)).alias(TRUTH + n) for n in targets]
    table = table.with_frame(table.frame.with_columns(truth))
    table = settle_missing(table, [*targets, *columns.numeric], columns.words, group, missing)
    return _lay_out(table.frame, columns)


def _lay_out(frame: pl.DataFrame, columns: Columns) -> Panel:
    parts = (
        frame.partition_by(columns.group, maintain_order=True, as_dict=True)
        if columns.group
        else {("",): frame}
    )
    frame = pl.concat(parts.values())
    return Panel(
        names=tuple(str(key[0]) for key in parts),
        bounds=np.cumsum([0, *(len(part) for part in parts.values())]),
        values=frame.select(columns.targets).to_numpy(writable=True),
        truth=frame.select(pl.col(TRUTH + n).fill_null(np.nan) for n in columns.targets).to_numpy(
            writable=True
        ),
        frame=frame,
    )


def cut_in_time(bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """(S, 4) rows at which each series' training, validation and test begin, and its end."""
    sizes = np.diff(bounds)
    ends = [np.floor(share * sizes).astype(np.int64) for share in SHARES]
    return bounds[:-1, None] + np.stack([0 * sizes, *ends, sizes], 1)


def shorter_than(need: int, panel: Panel, rows: NDArray[np.int64]) -> str:
    """Which series has fewer than `need` rows, in words, of the (S,) `rows` it has; "" if none."""
    short = np.flatnonzero(rows < need)
    if not short.size:
        return ""
    name, size = panel.names[short[0]], rows[short[0]]
    more = f" ({short.size - 1} more series are too short as well)" if short.size > 1 else ""
    return f"series {name!r} has {size}{more}" if name else f"there are {size}"


@dataclass(frozen=True)
class Levels:
    """Each series' level and spread, learnt from its training rows.

    Attributes:
        names: of the S series seen in training.
        mean: (S, K).
        deviation: (S, K).
        step: (S, K) mean absolute change from row to row, the unit of MASE (Hyndman & Koehler,
            "Another look at measures of forecast accuracy", 2006).
        change: (H, K) root mean square of the change over 1 .. H rows, in deviations.
    """

    names: tuple[str, ...]
    mean: Floats
    deviation: Floats
    step: Floats
    change: Floats

    @classmethod
    def learn(cls, panel: Panel, ends: NDArray[np.int64], horizon: int) -> Self:
        """From the rows of each series before its `ends`."""
        parts = [panel.values[a:b] for a, b in zip(panel.bounds[:-1], ends, strict=True)]
        pooled = _mean_spread(parts)
        figures = [_level(part, pooled) for part in parts]
        mean, deviation, step = (np.stack(column) for column in zip(*figures, strict=True))
        scaled = [part / unit for part, unit in zip(parts, deviation, strict=True)]
        change = np.stack([_rms_change(scaled, lead) for lead in range(1, horizon + 1)])
        return cls(panel.names, mean, deviation, step, change)

    def of(self, panel: Panel, window: int) -> tuple[Floats, Floats, Floats]:
        """(S', K) means, deviations and steps for the series of a panel.

        A series not seen in training is measured by its own first `window` rows, which no forecast
        that is counted looks beyond.
        """
        known = {name: i for i, name in enumerate(self.names)}
        pooled = self.deviation.mean(0)
        figures = [
            (self.mean[known[name]], self.deviation[known[name]], self.step[known[name]])
            if name in known
            else _level(panel.values[first : first + window], pooled)
            for name, first in zip(panel.names, panel.bounds, strict=False)
        ]
        mean, deviation, step = (np.stack(column) for column in zip(*figures, strict=True))
        return mean, deviation, step

    def describe(self) -> dict[str, Any]:
        """JSON-able."""
        arrays = {k: getattr(self, k).tolist() for k in ("mean", "deviation", "step", "change")}
        return {"names": list(self.names), **arrays}

    @classmethod
    def restore(cls, description: dict[str, Any]) -> Self:
        """What `describe` gave."""
        arrays = {k: np.array(v) for k, v in description.items() if k != "names"}
        return cls(tuple(description["names"]), **arrays)


def _mean_spread(parts: list[Floats]) -> Floats:
    """(K,) mean deviation of the series that vary; 1 where none does."""
    spreads = np.stack([spread(part, 0.0) for part in parts])
    vary = (spreads > 0).sum(0)
    return np.where(vary > 0, spreads.sum(0) / np.maximum(vary, 1), 1.0)


def _level(rows: Floats, pooled: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, deviation and mean absolute change of (N, K) rows."""
    change = np.abs(np.diff(rows, axis=0)).mean(0) if len(rows) > 1 else 0 * pooled
    return rows.mean(0), spread(rows, pooled), np.where(change > 0, change, pooled)


def _rms_change(parts: list[Floats], lead: int) -> Floats:
    """(K,) root mean square change over `lead` rows; 1 where nothing changes."""
    squares = np.concatenate([(part[lead:] - part[:-lead]) ** 2 for part in parts])
    rms = np.sqrt(squares.mean(0)) if len(squares) else np.ones(parts[0].shape[1])
    return np.where(rms > 0, rms, 1.0)
