"""Forecast: the next values of one or several series, from a window of their history."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from bptt.errors import DataError, DataWarning
from bptt.tasks.baselines import last_value, seasonal_naive
from bptt.tasks.chance import in_blocks, sign_flip_test
from bptt.tasks.encoding import Floats, warn_of_unseen
from bptt.tasks.learnt import Learnt, choose_columns, in_rows, learn, rows_of
from bptt.tasks.missing import IN_WORDS
from bptt.tasks.options import DataOptions
from bptt.tasks.scores import drawn_series, forecast_gains, forecast_metrics, horizon_errors
from bptt.tasks.seasons import following
from bptt.tasks.series import Panel, cut_in_time, read_panel, shorter_than
from bptt.tasks.table import read_table
from bptt.tasks.task import PARTS, Batch, Batches, Evaluation, Forward, NetworkShape, Part, Task
from bptt.tasks.windows import Rows, WindowBatches, Windows, rolling_windows, training_windows


@dataclass(frozen=True)
class Data:
    """Series as a network reads them, and how they were cut.

    Attributes:
        panel: the series.
        cuts: (S, 4) rows at which each series' train, validation and test begin, and its end.
        rows: what a network reads.
        step: (N, K) the unit of MASE.
        source: the file's name.
    """

    panel: Panel
    cuts: NDArray[np.int64]
    rows: Rows
    step: Floats
    source: str

    def bounds(self, part: Part) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(S,) each series' first row of a part, and (S,) the row after its last."""
        place = PARTS.index(part)
        return self.cuts[:, place], self.cuts[:, place + 1]


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
        rows, step = rows_of(panel, learnt)
        return cls(learnt, Data(panel, cut_in_time(panel.bounds), rows, step, table.source))

    def load(self, path: str | Path) -> Self:
        """This task over new data, all of which are its "test" part but the first window's rows.

        Raises:
            DataError: columns are missing, or a series is shorter than the window and one row.

        Warns:
            DataWarning: words that training never had, or fewer rows than the horizon.
        """
        panel = self._read(path, self.learnt.window + 1)
        first, end = panel.bounds[:-1], panel.bounds[1:]
        cuts = np.stack([first, first, first, end], 1)
        name = Path(path).name
        task = type(self)(self.learnt, Data(panel, cuts, *rows_of(panel, self.learnt), name))
        if note := task._unmeasured():
            warnings.warn(f"{path}: {note}.", DataWarning, stacklevel=2)
        return task

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
        short = shorter_than(need, panel, np.diff(panel.bounds))
        if short:
            raise DataError(
                f"{path}: {need} rows of each series are needed, for the model reads a window of "
                f"{self.learnt.window}; {short}. Give more rows, or train with a smaller --window."
            )
        warn_of_unseen(panel.frame, self.learnt.columns.words, self.learnt.codes, table.source)
        return panel

    @property
    def shape(self) -> NetworkShape:
        """Inputs: each target's level and last change, then the covariates."""
        targets = len(self.learnt.columns.targets)
        return NetworkShape(
            numeric=2 * targets + len(self.learnt.columns.numeric),
            categories=tuple(code.size for code in self.learnt.codes),
            outputs=self.learnt.horizon * targets,
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
        """MAE, RMSE and MASE, beside "last value" and, where there is a season, "seasonal naive".

        The headline is MAE, or MASE where several targets have each a unit of their own.
        """
        targets = self.learnt.columns.targets
        batches = self._batches(self._rolling(part), batch_size, shuffle=False)
        origins, forecast = self._forecasts(forward, batches)
        truth, step = self._truth(origins, part), self.data.step[origins]
        rules = self._rules(origins, truth)
        baselines = {n: forecast_metrics(f, truth, step, targets) for n, f in rules.items()}
        headline = "mae" if len(targets) == 1 else "mase"
        best = min(baselines, key=lambda name: baselines[name][headline])
        unit = step if headline == "mase" else np.ones_like(step)
        gains = forecast_gains(forecast, rules[best], truth, unit)
        series = self.data.panel.series_of_row[origins]
        return Evaluation(
            part=part,
            headline=headline,
            lower_is_better=True,
            metrics=forecast_metrics(forecast, truth, step, targets),
            baselines=baselines,
            details=self._details(origins, forecast, truth, rules[best]) | {"baseline": best},
            chance=sign_flip_test(in_blocks(gains, self.learnt.horizon, series)),
        )

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

    def _truth(self, origins: NDArray[np.int64], part: Part) -> Floats:
        """(M, H, K) what came, NaN outside the part and where the data had no value."""
        data = self.data
        ahead = origins[:, None] + np.arange(1, self.learnt.horizon + 1)
        low, high = (
            bound[data.panel.series_of_row[origins]][:, None] for bound in data.bounds(part)
        )
        truth = data.panel.truth[ahead.clip(max=len(data.panel.truth) - 1)]
        return np.where(((ahead >= low) & (ahead < high))[..., None], truth, np.nan)

    def _rules(self, origins: NDArray[np.int64], truth: Floats) -> dict[str, Floats]:
        """The forecasts of the naive rules; a seasonal one only where all that counts has one."""
        panel, learnt = self.data.panel, self.learnt
        rules = {"last value": last_value(panel.values, origins, learnt.horizon)}
        if learnt.season:
            first = panel.bounds[panel.series_of_row[origins]]
            season = seasonal_naive(panel.values, first, origins, learnt.horizon, learnt.season)
            if not (np.isnan(season) & ~np.isnan(truth)).any():
                rules[f"seasonal naive ({learnt.season})"] = season
        return rules

    def _details(
        self, origins: NDArray[np.int64], forecast: Floats, truth: Floats, naive: Floats
    ) -> dict[str, Any]:
        panel, columns = self.data.panel, self.learnt.columns
        times = panel.frame[columns.time] if columns.time else pl.Series(range(len(panel.values)))
        series = drawn_series(
            forecast[:, 0],
            naive[:, 0],
            truth[:, 0],
            panel.series_of_row[origins],
            times[(origins + 1).clip(max=len(times) - 1)],
            panel.names,
            columns.targets,
        )
        return {
            "series": series,
            "horizon": horizon_errors(forecast, naive, truth, columns.targets),
        }

    def predict(self, forward: Forward, path: str | Path, batch_size: int = 256) -> pl.DataFrame:
        """The `horizon` values that follow the last row of each series in a file.

        Returns:
            One row per series and lead: the group column, the time column (null where a series'
            time step is not regular), `lead`, and one column per target.

        Raises:
            DataError: columns are missing, or a series is shorter than the window.
        """
        panel = self._read(path, self.learnt.window)
        rows, step = rows_of(panel, self.learnt)
        starts, end = panel.bounds[1:] - self.learnt.window, panel.bounds[1:]
        windows = Windows(starts, end - 1, end, end)
        bound = type(self)(self.learnt, Data(panel, panel.bounds[:-1, None], rows, step, str(path)))
        batches = bound._batches(windows, batch_size, shuffle=False)
        _, values = bound._forecasts(forward, batches)
        return _as_frame(panel, self.learnt, values)

    def summary(self) -> dict[str, Any]:
        """What the data are, how they were cut, and what was learnt from the first part."""
        data, learnt = self.data, self.learnt
        sizes = np.diff(data.cuts, axis=1).sum(0).tolist()
        return {
            "task": self.name,
            "data": data.source,
            "rows": len(data.panel.values),
            "series": len(data.panel.names),
            "columns": {what: names for what, names in learnt.columns.describe().items() if names},
            "window": in_rows(learnt.window),
            "horizon": in_rows(learnt.horizon),
            "note": self._unmeasured(),
            "split": dict(zip(PARTS, sizes, strict=True)),
            "season": learnt.season_in_words(),
            "missing_values": IN_WORDS[learnt.missing],
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
            past = panel.frame[columns.time][panel.bounds[s] : panel.bounds[s + 1]]
            part[columns.time] = following(past, learnt.horizon)
        part["lead"] = list(lead)
        part |= {target: values[s, :, k] for k, target in enumerate(columns.targets)}
        parts.append(pl.DataFrame(part))
    return pl.concat(parts)
