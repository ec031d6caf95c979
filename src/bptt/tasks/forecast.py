"""Forecast: the next values of one or several series, from a window of their history."""

from pathlib import Path

import polars as pl

from bptt.tasks.task import Forward, Task


class Forecast(Task):
    """Predict, at every step of a window, the next `horizon` values of each target."""

    name = "forecast"

    def predict(self, forward: Forward, path: str | Path, batch_size: int = 256) -> pl.DataFrame:
        """The `horizon` values that follow the last row of each series in a file.

        Returns one row per series and lead: the group column, the time column (where the series'
        step is regular), `lead`, and one column per target.
        """
        raise NotImplementedError
