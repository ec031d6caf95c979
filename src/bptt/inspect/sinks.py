"""Where figures go that are found while a network is trained."""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bptt.errors import ArgumentError

Figures = dict[str, float]  # "quantity/of": number
Log = Callable[[Figures, int], None]
FILE = "gradient.csv"
HEADS = ("step", "quantity", "of", "value")


class Table:
    """`gradient.csv` in a folder: step, quantity, of, value; a row for each figure.

    Args:
        folder: where; made if it is not there.
        start: training steps that were done before: rows up to then are kept, others dropped.
    """

    def __init__(self, folder: Path, start: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        kept = _rows(self.path, start)
        with self.path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([HEADS, *kept])

    def __call__(self, figures: Figures, step: int) -> None:
        rows = [(step, *name.split("/", 1), f"{value:.6g}") for name, value in figures.items()]
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)


def _rows(path: Path, last: int) -> list[list[str]]:
    """The whole rows of a file up to a step."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if len(row) == len(HEADS) and row[0].isdecimal()]
    return [row for row in rows if int(row[0]) <= last]


class Board:
    """TensorBoard.

    Args:
        writer: a SummaryWriter, or the folder to make one for.

    Raises:
        ArgumentError: neither.
        ImportError: a folder, and the package tensorboard is not installed.
    """

    def __init__(self, writer: Any) -> None:
        self._own = isinstance(writer, str | Path)
        self.writer = _made(writer) if self._own else writer
        if not hasattr(self.writer, "add_scalar"):
            raise ArgumentError(
                "writer: expected a SummaryWriter of torch.utils.tensorboard or a folder to make "
                f"one for, got {type(writer).__name__}."
            )

    def __call__(self, figures: Figures, step: int) -> None:
        for name, value in figures.items():
            if math.isfinite(value):  # a chart has no place for the others
                self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the writer if it was made here."""
        if self._own:
            self.writer.close()


def _made(folder: str | Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "Writing for TensorBoard takes its package: pip install tensorboard. Or leave `writer` "
            f"out: with a `folder` the same figures go to {FILE} there."
        ) from error
    return SummaryWriter(str(folder))
