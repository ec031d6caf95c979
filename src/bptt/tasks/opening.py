"""From what the user typed to a task: a path or a shipped data set's name, and what it is for."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bptt.errors import DataError
from bptt.tasks.archive import pair_of
from bptt.tasks.classify import Classify
from bptt.tasks.files import check_file, nearest, nearest_file
from bptt.tasks.forecast import Forecast
from bptt.tasks.options import DataOptions
from bptt.tasks.shipped import datasets
from bptt.tasks.table import TABLES
from bptt.tasks.task import Task
from bptt.tasks.text import Text

TASKS: dict[str, type[Task]] = {task.name: task for task in (Forecast, Classify, Text)}
FILES = {"forecast": TABLES, "classify": (*TABLES, ".ts")}  # a text may have any name


@dataclass(frozen=True)
class Source:
    """A data file, and what is known of it before it is read."""

    name: str
    path: Path
    task: str | None
    options: DataOptions


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

    >>> open_task("sunspots").summary()["split"]
    {'train': 216, 'validation': 46, 'test': 47}
    """
    given = options or DataOptions()
    source = find_source(data, task)
    kind = source.task or task or _task_of(source.path, given)
    _check_task(source, task, kind)
    given.check_used(kind)
    check_file(source.path)
    merged = given.over(source.options)
    if kind == "classify":
        return Classify.open(source.path, merged, seed)
    return (Forecast if kind == "forecast" else Text).open(source.path, merged)


def find_source(data: str | Path | None, task: str | None) -> Source:
    """The file that is meant: a path, or else a shipped data set by its name.

    Raises:
        DataError: there is neither.
    """
    if task is not None and task not in TASKS:
        raise DataError(f"--task must be one of {', '.join(TASKS)}; got {task!r}.")
    shipped = {d.name: d for d in datasets()}
    if data is None:
        data = next(d.name for d in shipped.values() if task in (None, d.task))
    path = Path(data)
    found = shipped.get(str(data))
    if found and not path.is_file():
        return Source(found.name, found.file, found.task, found.options)
    if not path.exists() and not path.suffix and path.name == str(data):
        raise DataError(
            f"There is neither a file nor a shipped data set {str(data)!r}."
            f"{nearest(path.name, shipped) or nearest_file(path)} Shipped are {', '.join(shipped)}."
        )
    name = path.stem
    if path.suffix.lower() == ".ts":
        name = name.removesuffix("_TRAIN").removesuffix("_TEST")
    return Source(name, path, None, DataOptions())


def _task_of(path: Path, options: DataOptions) -> str:
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return "classify" if options.label is not None else "forecast"
    tasks = {".txt": "text", ".ts": "classify"}
    if suffix not in tasks:
        check_file(path)
        raise DataError(
            f"{path}: expected a table ({', '.join(TABLES)}), an archive (.ts) or a text (.txt); "
            f"got {suffix or 'no suffix'}. To read any file as a text, add --task text."
        )
    return tasks[suffix]


def _check_task(source: Source, asked: str | None, kind: str) -> None:
    """Raise DataError where a shipped data set or a file's type is for another task."""
    if asked is not None and kind != asked:
        raise DataError(f"{source.name} is for --task {kind}, not {asked}. See bptt datasets.")
    fit = FILES.get(kind)
    if fit and source.path.suffix.lower() not in fit:
        raise DataError(f"{source.path}: a {kind} task reads {', '.join(fit)} files.")


def restore_task(description: dict[str, Any]) -> Task:
    """The task that `Task.describe` described, without data: its `load` gives it new data.

    Raises:
        DataError: the description is not one of a task.
    """
    name = description.get("task")
    if name not in TASKS:
        raise DataError(f"Expected the description of one of {', '.join(TASKS)}; got {name!r}.")
    return TASKS[name].restore(description)


def data_name(data: str | Path | None, task: str | None = None) -> str:
    """A short name for the data, for the run folder.

    >>> data_name("sales.csv"), data_name("Gun_TRAIN.ts"), data_name(None, "text")
    ('sales', 'Gun', 'genesis')
    """
    return find_source(data, task).name


def fingerprint(data: str | Path | None, task: str | None = None) -> dict[str, str | int]:
    """What the data's files hold: {"files": "a.csv", "bytes": 123, "sha256": "..."}, JSON-able.

    Two calls give the same only if the data have not changed, so a resumed run can refuse others.
    """
    path = find_source(data, task).path
    files = (pair_of(path) if path.suffix.lower() == ".ts" else None) or (path,)
    digest, size = hashlib.sha256(), 0
    for file in files:
        check_file(file)
        raw = file.read_bytes()
        digest.update(raw)
        size += len(raw)
    names = ", ".join(file.name for file in files)
    return {"files": names, "bytes": size, "sha256": digest.hexdigest()}
