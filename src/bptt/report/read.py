"""A run's folder, read into plain data: what every other part of the report starts from."""

import csv
import json
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bptt.errors import RunError
from bptt.report.layout import CONFIG, CURVES, EVALUATION, MODEL, NUMBER
from bptt.report.shape import Shape, misfit

MEND = "Train again into a new folder, or put the file back."
FORMAT = 1  # of the folders that this report reads


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
    """

    folder: Path
    config: dict[str, Any]
    model: dict[str, Any]
    steps: list[StepRow]
    epochs: list[EpochRow]
    headline: str
    evaluation: dict[str, Any] | None


def read_run(folder: Path) -> Run:
    """Read a run's folder. Raises `RunError` naming the file that is missing or broken."""
    if not folder.is_dir():
        raise RunError(f"expected the folder of a run, but {folder} is no folder. {MEND}")
    config = _parsed(folder / "config.toml", tomllib.loads)
    _check_config(folder / "config.toml", config)
    headline, steps, epochs = _read_metrics(folder / "metrics.csv")
    model = _parsed(folder / "model.json", json.loads)
    _check(folder / "model.json", model, MODEL)
    return Run(folder, config, model, steps, epochs, headline, _read_evaluation(folder))


def _check_config(path: Path, config: dict[str, Any]) -> None:
    if config.get("format") != FORMAT:
        raise RunError(
            f"{path}: expected format {FORMAT}, found {config.get('format', 'none')}. "
            "Use the version of bptt that wrote it, or train again"
        )
    _check(path, config, CONFIG)


def _read_evaluation(folder: Path) -> dict[str, Any] | None:
    """What was measured at the end of training; None before there is an end."""
    path = folder / "evaluation.json"
    if not path.exists():
        return None
    content = _parsed(path, json.loads)
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
            raise RunError(f"{path}: expected {of} in one length. {MEND}")
    size = len(details.get("labels", []))
    if [len(row) for row in details.get("confusion", [])] != [size] * size:
        raise RunError(f"{path}: expected a confusion of {size} labels by {size}. {MEND}")


def _check(path: Path, content: dict[str, Any], shape: Shape) -> None:
    if wrong := misfit(content, shape):
        raise RunError(f"{path}: {wrong}. {MEND}")


def _parsed(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    try:
        content = parse(_text(path))
    except ValueError as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{path} cannot be read as {path.suffix[1:]}: {error}. {MEND}") from error
    if not isinstance(content, dict):
        raise RunError(f"expected {path} to hold a table of names, found a list or value. {MEND}")
    return content


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunError(
            f"expected the file {path}, which is missing: {path.parent} is not a run's folder, "
            f"or the run was stopped before its first step. {MEND}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read: {error}. {MEND}") from error


def _read_metrics(path: Path) -> tuple[str, list[StepRow], list[EpochRow]]:
    # A last line without its end is one that the run was writing: it is left out.
    lines = _text(path).rpartition("\n")[0].splitlines()
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
        raise RunError(
            f"{path}: expected the columns {', '.join(missing or ['validation_<metric>'])}, "
            f"found only {', '.join(columns) or 'an empty file'}. {MEND}"
        )
    return own[0].removeprefix("validation_")


def _rows(path: Path, columns: list[str], lines: list[str]) -> Iterator[dict[str, str]]:
    for number, cells in enumerate(csv.reader(lines[1:]), start=2):
        if len(cells) != len(columns):
            raise RunError(
                f"{path}, line {number}: expected {len(columns)} cells, found {len(cells)}. {MEND}"
            )
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
    except ValueError:
        raise RunError(
            f"{path}, line {row['line']}: expected a number in column {column}, "
            f"found {row[column]!r}. {MEND}"
        ) from None
