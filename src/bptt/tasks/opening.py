"""From what the user typed to a task: a path or a shipped data set's name, and what it is for."""

from pathlib import Path
from typing import Any

from bptt.tasks.options import DataOptions
from bptt.tasks.task import Task


def open_task(
    data: str | Path | None = None,
    task: str | None = None,
    options: DataOptions | None = None,
    *,
    seed: int = 0,
) -> Task:
    """Read the data and return the task they are for, split and normalised.

    Args:
        data: a file (.csv, .tsv, .parquet, .ts, .txt) or the name of a shipped data set; None: the
            default data set of `task`.
        task: "forecast", "classify" or "text"; None: what the file is for. A .txt file is a text, a
            .ts file is classified, a table is classified where a label column is given, else
            forecast.
        options: which columns play which part.
        seed: decides the stratified split of sequences.

    Raises:
        DataError: the data cannot be trained on as they are.
    """
    raise NotImplementedError


def restore_task(description: dict[str, Any]) -> Task:
    """The task that `Task.describe` described, without data: its `load` gives it new data."""
    raise NotImplementedError


def data_name(data: str | Path | None, task: str | None = None) -> str:
    """A short name for the data, for the run folder: "sunspots" for "data/sunspots.csv"."""
    raise NotImplementedError


def fingerprint(data: str | Path | None, task: str | None = None) -> dict[str, str | int]:
    """What the data's files hold: {"files": "a.csv", "bytes": 123, "sha256": "..."}, JSON-able.

    Two calls give the same only if the data have not changed, so a resumed run can refuse others.
    """
    raise NotImplementedError
