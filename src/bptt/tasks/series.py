"""The series of a forecast: laid end to end, and cut in time."""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bptt.tasks.columns import check_order, find_time, to_numbers, to_words
from bptt.tasks.encoding import Floats
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
    known: tuple[str, ...] = ()  # those of `numeric` that are known ahead

    @classmethod
    def restore(cls, description: dict[str, Any]) -> Self:
        """From JSON, where tuples are lists."""
        lists: dict[str, Any] = {
            name: tuple(description[name]) for name in ("targets", "numeric", "words", "known")
        }
        return cls(**{**description, **lists})

    def describe(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)

    def in_words(self) -> dict[str, Any]:
        """What is there of them, each column once, for people to read."""
        numeric = tuple(name for name in self.numeric if name not in self.known)
        return {
            what: names for what, names in {**asdict(self), "numeric": numeric}.items() if names
        }

    def check(self, table: Table) -> None:
        """Raise DataError where a table lacks one of them."""
        for name in (*self.targets, *self.numeric, *self.words):
            table.need(name, "which the model was trained on")
        for name in filter(None, (self.group, self.time)):
            table.need(name, "which the model was trained with")
        find_time(table, self.time)


@dataclass(frozen=True)
class Panel:
    """S series laid end to end, N rows in all, K targets.

    Attributes:
        names: of the S series; ("",) where there is no group column.
        bounds: (S + 1,) the first row of each series, and N.
        ends: (S,) the row after the last of each series' history; what follows up to its bound is
            ahead of it: there all is carried on but the time and what is known ahead.
        values: (N, K) the targets' history, whole.
        truth: (N, K) the targets, NaN where the data had none: never counted.
        frame: all columns, N rows.
    """

    names: tuple[str, ...]
    bounds: NDArray[np.int64]
    ends: NDArray[np.int64]
    values: Floats
    truth: Floats
    frame: pl.DataFrame

    @property
    def series_of_row(self) -> NDArray[np.int64]:
        """(N,) which series a row belongs to."""
        return np.repeat(np.arange(len(self.names)), np.diff(self.bounds))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(S,) rows of history of each series."""
        return self.ends - self.bounds[:-1]


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
    table = to_words(table, list(dict.fromkeys([*columns.words, *([group] if group else [])])))
    check_order(table, group, time)
    truth = [pl.when(pl.col(n).is_finite()).then(pl.col(n)).alias(TRUTH + n) for n in targets]
    table = table.with_frame(table.frame.with_columns(truth))
    if columns.known:
        table = _carry_ahead(table, columns)
    table = settle_missing(table, [*targets, *columns.numeric], columns.words, group, missing)
    return _lay_out(table.frame, columns)


def _carry_ahead(table: Table, columns: Columns) -> Table:
    """Carry on what is not known ahead over the rows behind each series' last target."""
    over = columns.group or pl.lit(0)
    has = pl.any_horizontal(pl.col(TRUTH + name).is_not_null() for name in columns.targets)
    ahead = ~has.cum_max(reverse=True).over(over)
    rest = [*columns.targets, *columns.numeric, *(w for w in columns.words if w != columns.group)]
    names = [name for name in rest if name not in columns.known]
    frame = table.frame.with_columns(pl.when(~ahead).then(pl.col(names)))
    carried = pl.when(ahead).then(pl.col(names).forward_fill().over(over)).otherwise(pl.col(names))
    return table.with_frame(frame.with_columns(carried))


def _lay_out(frame: pl.DataFrame, columns: Columns) -> Panel:
    parts = (
        frame.partition_by(columns.group, maintain_order=True, as_dict=True)
        if columns.group
        else {("",): frame}
    )
    frame = pl.concat(parts.values())
    bounds = np.cumsum([0, *(len(part) for part in parts.values())])
    truth = frame.select(pl.col(TRUTH + n).fill_null(np.nan) for n in columns.targets)
    truth = truth.to_numpy(writable=True)
    return Panel(
        names=tuple(str(key[0]) for key in parts),
        bounds=bounds,
        ends=_ends(bounds, truth) if columns.known else bounds[1:],
        values=frame.select(columns.targets).to_numpy(writable=True),
        truth=truth,
        frame=frame,
    )


def _ends(bounds: NDArray[np.int64], truth: Floats) -> NDArray[np.int64]:
    """(S,) the row after the last with a target in each series."""
    rows = np.where(np.isnan(truth).all(1), -1, np.arange(len(truth)))
    return np.maximum(np.maximum.reduceat(rows, bounds[:-1]) + 1, bounds[:-1])


def cut_in_time(panel: Panel) -> NDArray[np.int64]:
    """(S, 4) rows at which each series' training, validation and test begin, and its end."""
    sizes = panel.sizes
    shares = [np.floor(share * sizes).astype(np.int64) for share in SHARES]
    return panel.bounds[:-1, None] + np.stack([0 * sizes, *shares, sizes], 1)


def shorter_than(need: int, panel: Panel, rows: NDArray[np.int64]) -> str:
    """Which series has fewer than `need` rows, in words, of the (S,) `rows` it has; "" if none."""
    short = np.flatnonzero(rows < need)
    if not short.size:
        return ""
    name, size = panel.names[short[0]], rows[short[0]]
    more = f" ({short.size - 1} more series are too short as well)" if short.size > 1 else ""
    return f"series {name!r} has {size}{more}" if name else f"there are {size}"
