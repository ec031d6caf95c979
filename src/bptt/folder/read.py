"""A run's folder, read into plain data: what a report and what is resumed start from."""

import csv
import json
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bptt.errors import RunError
from bptt.folder.damage import check_format, damaged, read_table, read_text
from bptt.folder.layout import CONFIG, CURVES, EVALUATION, MODEL, NUMBER
from bptt.folder.rates import Looks, read_rates
from bptt.folder.shape import Shape, misfit


class StepRow(NamedTuple):
    """One training step, as metrics.csv has it."""

    step: int
    epoch: int
    seconds: float
    loss: float
    gradient_norm: float
    clipped: bool


class EpochRow(NamedTuple):
    """One look at the validation part, at an epoch's end."""

    step: int
    epoch: int
    seconds: float
    loss: float
    headline: float


@dataclass(frozen=True)
class Run:
    """What a run's folder says.

    Attributes:
        folder: where it is.
        config: config.toml: data, seed, options, versions, command.
        model: model.json: cell, sizes, task.
        steps: one row a training step, in order.
        epochs: one row a look at the validation part, in order.
        headline: name of the metric that metrics.csv follows on the validation part.
        evaluation: evaluation.json, or None while the run has none.
        rates: of gradient.csv, how an error shrinks with each step back; empty if not watched.
    """

    folder: Path
    config: dict[str, Any]
    model: dict[str, Any]
    steps: list[StepRow]
    epochs: list[EpochRow]
    headline: str
    evaluation: dict[str, Any] | None
    rates: Looks


def read_run(folder: Path) -> Run:
    """Read a run's folder. Raises `RunError` naming the file that is missing or broken."""
    if not folder.is_dir():
        raise RunError(f"expected the folder of a run; there is no folder {folder}")
    config = _read(folder / "config.toml", tomllib.loads, CONFIG)
    headline, steps, epochs = read_metrics(folder / "metrics.csv")
    model = _read(folder / "model.json", json.loads, MODEL)
    rates = read_rates(folder / "gradient.csv")
    return Run(folder, config, model, steps, epochs, headline, _read_evaluation(folder), rates)


def _read(path: Path, parse: Callable[[str], Any], shape: Shape) -> dict[str, Any]:
    content = read_table(path, parse)
    check_format(path, content)
    _check(path, content, shape)
    return content


def _read_evaluation(folder: Path) -> dict[str, Any] | None:
    """What was measured at the end of training; None before there is an end."""
    path = folder / "evaluation.json"
    if not path.exists():
        return None
    content = read_table(path, json.loads)
    _check(path, content, EVALUATION)
    for name in ("validation", "test"):
        part = content[name]
        _check(path, part["metrics"], {part["headline"]: NUMBER})
        _check_sizes(path, part["details"])
    return content


def _check_sizes(path: Path, details: dict[str, Any]) -> None:
    """Raise RunError unless what is drawn together is of one length."""
    for one in details.get("series", []):
        if {len(one[curve]) for curve in CURVES} != {len(one["time"])}:
            of = f"time, {', '.join(CURVES)} of {one['target']!r}"
            raise damaged(path, f"expected {of} in one length")
    size = len(details.get("labels", []))
    if [len(row) for row in details.get("confusion", [])] != [size] * size:
        raise damaged(path, f"expected a confusion of {size} labels by {size}")


def _check(path: Path, content: dict[str, Any], shape: Shape) -> None:
    if wrong := misfit(content, shape):
        raise damaged(path, wrong)


def read_metrics(path: Path) -> tuple[str, list[StepRow], list[EpochRow]]:
    """The headline's name and the rows of metrics.csv. Raises `RunError`: missing or damaged."""
    # A last line without its end is one that the run was writing: it is left out.
    lines = read_text(path).rpartition("\n")[0].splitlines()
    columns = lines[0].split(",") if lines else []
    headline = _headline(path, columns)
    steps, epochs = [], []
    for row in _rows(path, columns, lines):
        if row["train_loss"]:
            steps.append(_step(path, row))
        if row["validation_loss"]:
            epochs.append(_epoch(path, row, f"validation_{headline}"))
    return headline, steps, epochs


def _headline(path: Path, columns: list[str]) -> str:
    needed = {"step", "epoch", "seconds", "train_loss", "gradient_norm", "clipped"}
    missing = sorted((needed | {"validation_loss"}) - set(columns))
    own = [c for c in columns if c.startswith("validation_") and c != "validation_loss"]
    if missing or not own:
        expected = ", ".join(missing or ["validation_<metric>"])
        found = ", ".join(columns) or "an empty file"
        raise damaged(path, f"expected the columns {expected}, found only {found}")
    return own[0].removeprefix("validation_")


def _rows(path: Path, columns: list[str], lines: list[str]) -> Iterator[dict[str, str]]:
    for number, cells in enumerate(csv.reader(lines[1:]), start=2):
        if len(cells) != len(columns):
            what = f"line {number}: expected {len(columns)} cells, found {len(cells)}"
            raise damaged(path, what)
        yield dict(zip(columns, cells, strict=True)) | {"line": str(number)}


def _step(path: Path, row: dict[str, str]) -> StepRow:
    return StepRow(
        step=int(_number(path, row, "step")),
        epoch=int(_number(path, row, "epoch")),
        seconds=_number(path, row, "seconds"),
        loss=_number(path, row, "train_loss"),
        gradient_norm=_number(path, row, "gradient_norm"),
        clipped=bool(_number(path, row, "clipped")),
    )


def _epoch(path: Path, row: dict[str, str], headline: str) -> EpochRow:
    return EpochRow(
        step=int(_number(path, row, "step")),
        epoch=int(_number(path, row, "epoch")),
        seconds=_number(path, row, "seconds"),
        loss=_number(path, row, "validation_loss"),
        headline=_number(path, row, headline),
    )


def _number(path: Path, row: dict[str, str], column: str) -> float:
    try:
        return float(row[column])
    except ValueError as error:
        what = f"line {row['line']}: expected a number in column {column}, found {row[column]!r}"
        raise damaged(path, what) from error
