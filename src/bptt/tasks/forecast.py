"""Forecast: the next values of one or several series, from a window of their history."""

import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from bptt.errors import DataError, DataWarning
from bptt.tasks.choice import choose_columns
from bptt.tasks.encoding import Floats, warn_of_unseen
from bptt.tasks.files import spoken
from bptt.tasks.learnt import Learnt, in_rows, learn
from bptt.tasks.measure import measure
from bptt.tasks.missing import IN_WORDS
from bptt.tasks.options import DataOptions
from bptt.tasks.prepared import Data, prepare
from bptt.tasks.seasons import following
from bptt.tasks.series import Panel, cut_in_time, read_panel, shorter_than
from bptt.tasks.table import read_table
from bptt.tasks.task import PARTS, Batch, Batches, Evaluation, Forward, NetworkShape, Part, Task
from bptt.tasks.windows import WindowBatches, Windows, rolling_windows, training_windows


class Forecast(Task[Learnt, Data]):
    """Predict, at every step of a window, the next `horizon` values of each target.

    A network's output of 0 means that a target stays at its last value; 1 is a change as large as
    is usual in training over so many rows. So a network that has learnt nothing forecasts what the
    rule "last value" does.
    """

    name = "forecast"

    @classmethod
    def open(cls, path: str | Path, options: DataOptions) -> Self:
        """Read a table, cut each of its series in time and learn from the first part.

        Raises:
            DataError: the table cannot be trained on as it is.
        """
        table = read_table(Path(path))
        columns = choose_columns(table, options)
        panel = read_panel(table, columns, options.missing or "error")
        learnt = learn(panel, columns, options, table.source)
        return cls(learnt, prepare(panel, learnt, cut_in_time(panel), table.source))

    def load(self, path: str | Path) -> Self:
        """This task over new data, all of which are its "test" part but the first window's rows.

        Raises:
            DataError: columns are missing, or a series is shorter than the window and one row.

        Warns:
            DataWarning: words that training never had, fewer rows than the horizon, or a season
                longer than the window.
        """
        panel = self._read(path, self.learnt.window + 1)
        first = panel.bounds[:-1]
        cuts = np.stack([first, first, first, panel.ends], 1)
        task = type(self)(self.learnt, prepare(panel, self.learnt, cuts, Path(path).name))
        for note in filter(None, (task._unmeasured(), task._unseasonal())):
            warnings.warn(f"{spoken(Path(path))}: {note}.", DataWarning, stacklevel=2)
        return task

    def _unseasonal(self) -> str | None:
        """That the seasonal rule is left out where the first forecasts do not look back so far."""
        season, window = self.learnt.season, self.learnt.window
        if not season or season <= window:
            return None
        return (
            f"seasonal naive ({season}) is left out of the comparison, for it looks back "
            f"{in_rows(season)}, and the first forecasts have a window of {in_rows(window)}"
        )

    def _unmeasured(self) -> str | None:
        """That no forecast reaches its end within the test part, where there is such a series."""
        first, test, end = (self.data.cuts[:, place] for place in (0, 2, 3))
        rows = int((end - np.maximum(test, first + self.learnt.window)).min())
        if self.learnt.horizon <= rows:
            return None
        return (
            f"a horizon of {in_rows(self.learnt.horizon)} is longer than the {in_rows(rows)} to "
            f"measure it on, so no forecast is measured over its whole length"
        )

    def _read(self, path: str | Path, need: int) -> Panel:
        """The series of a new file, each of at least `need` rows."""
        table = read_table(Path(path))
        self.learnt.columns.check(table)
        panel = read_panel(table, self.learnt.columns, self.learnt.missing)
        short = shorter_than(need, panel, panel.sizes)
        if short:
            raise DataError(
                f"{spoken(Path(path))}: {need} rows of each series are needed, for the model reads "
                f"a window of {self.learnt.window}; {short}. Give more rows, or train with a "
                f"smaller --window."
            )
        warn_of_unseen(panel.frame, self.learnt.columns.words, self.learnt.codes, table.source)
        return panel

    @property
    def shape(self) -> NetworkShape:
        """Inputs: targets' levels and last changes, covariates, what is known ahead, calendar."""
        learnt, columns = self.learnt, self.learnt.columns
        ahead = learnt.horizon * len(columns.known) + 2 * len(learnt.cycles)
        return NetworkShape(
            numeric=2 * len(columns.targets) + len(columns.numeric) + ahead,
            categories=tuple(code.size for code in learnt.codes),
            outputs=learnt.horizon * len(columns.targets),
            read="every step",
        )

    def batches(self, part: Part, batch_size: int) -> Batches:
        """Sliding windows in a new order each epoch (train), rolling windows in time's order."""
        if part != "train":
            return self._batches(self._rolling(part), batch_size, shuffle=False)
        first, end = self.data.bounds(part)
        sliding = training_windows(first, end, self.learnt.window)
        return self._batches(sliding, batch_size, shuffle=True)

    def _rolling(self, part: Part) -> Windows:
        low, high = self.data.bounds(part)
        first = self.data.panel.bounds[:-1]
        return rolling_windows(first, low, high, self.learnt.window, self.learnt.horizon)

    def _batches(self, windows: Windows, batch_size: int, *, shuffle: bool) -> WindowBatches:
        rows, window = self.data.rows, self.learnt.window
        return WindowBatches(rows, windows, window, batch_size, shuffle=shuffle)

    def loss(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, int]:
        """Summed squared error over the values that are to be forecast, and their number."""
        counts = ~batch.targets.isnan()
        error = outputs.view(batch.targets.shape) - batch.targets
        return torch.where(counts, error, 0.0).square().sum(), int(counts.sum())

    def evaluate(self, forward: Forward, part: Part, batch_size: int) -> Evaluation:
        """What `measure` says of the forecasts of a part."""
        batches = self._batches(self._rolling(part), batch_size, shuffle=False)
        return measure(self.learnt, self.data, part, *self._forecasts(forward, batches))

    def _forecasts(
        self, forward: Forward, batches: WindowBatches
    ) -> tuple[NDArray[np.int64], Floats]:
        """(M,) rows from which a forecast counts, ascending, and (M, H, K) the forecasts."""
        rows, found = self.data.rows, []
        for chosen in batches.in_order():
            batch, counted = batches.take(chosen), batches.counted(chosen)
            with torch.no_grad():
                outputs, _ = forward(batch, None)
            change = outputs.detach().cpu().double().view(batch.targets.shape)[counted]
            origin = batches.row_numbers(chosen)[counted]
            found.append((origin, rows.values[origin][:, None] + change * rows.unit(origin)))
        origins, values = (torch.cat(column) for column in zip(*found, strict=True))
        order = origins.argsort()
        return origins[order].numpy(), values[order].numpy()

    def predict(self, forward: Forward, path: str | Path, batch_size: int = 256) -> pl.DataFrame:
        """The `horizon` values that follow the last row of each series in a file.

        Returns:
            One row per series and lead: the group column, the time column (null where a series'
            time step is not regular), `lead`, and one column per target.

        Raises:
            DataError: columns are missing, a series is shorter than the window, or what is to be
                known ahead is not.
        """
        panel = self._read(path, self.learnt.window)
        self._check_ahead(panel, str(path))
        end = panel.ends
        windows = Windows(end - self.learnt.window, end - 1, end, end)
        bound = type(self)(self.learnt, prepare(panel, self.learnt, end[:, None], str(path)))
        batches = bound._batches(windows, batch_size, shuffle=False)
        _, values = bound._forecasts(forward, batches)
        return _as_frame(panel, self.learnt, values)

    def _check_ahead(self, panel: Panel, source: str) -> None:
        """Raise DataError unless each series has a row for each that is to be forecast."""
        known, horizon = self.learnt.columns.known, self.learnt.horizon
        ahead = panel.bounds[1:] - panel.ends
        if known and (short := shorter_than(horizon, panel, ahead)):
            raise DataError(
                f"{source}: the model reads {', '.join(known)} at the rows that it forecasts, so "
                f"{in_rows(horizon)} must follow the last with a target; {short}. Add them, with "
                f"the target left empty."
            )

    def summary(self) -> dict[str, Any]:
        """What the data are, how they were cut, and what was learnt from the first part."""
        data, learnt = self.data, self.learnt
        sizes = np.diff(data.cuts, axis=1).sum(0).tolist()
        return {
            "task": self.name,
            "data": data.source,
            "rows": int(data.panel.sizes.sum()),
            "series": len(data.panel.names),
            "columns": learnt.columns.in_words(),
            "window": in_rows(learnt.window),
            "horizon": in_rows(learnt.horizon),
            "note": self._unmeasured(),
            "split": dict(zip(PARTS, sizes, strict=True)),
            "season": learnt.season_in_words(),
            "missing_values": IN_WORDS[learnt.missing],
            "calendar": learnt.cycles or None,
            "normalisation": learnt.normalisation(),
        }

    @classmethod
    def restore(cls, description: dict[str, Any]) -> Self:
        """The task of a trained model, without data."""
        return cls(Learnt.restore({k: v for k, v in description.items() if k != "task"}))


def _as_frame(panel: Panel, learnt: Learnt, values: Floats) -> pl.DataFrame:
    """(S, H, K) forecasts as a table in the data's own columns."""
    columns, lead = learnt.columns, range(1, learnt.horizon + 1)
    parts = []
    for s, name in enumerate(panel.names):
        part: dict[str, Any] = {columns.group: [name] * learnt.horizon} if columns.group else {}
        if columns.time:
            times = panel.frame[columns.time][panel.bounds[s] : panel.bounds[s + 1]]
            past, ahead = times[: panel.sizes[s]], times[panel.sizes[s] :][: learnt.horizon]
            part[columns.time] = ahead if columns.known else following(past, learnt.horizon)
        part["lead"] = list(lead)
        part |= {target: values[s, :, k] for k, target in enumerate(columns.targets)}
        parts.append(pl.DataFrame(part))
    return pl.concat(parts)
