"""A chart of lines as plain data: what it shows, in words too, and as a table to download."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar
from urllib.parse import quote

Row = dict[str, Any]
T = TypeVar("T")
Field = Literal["network", "validation", "truth", "rule"]
POINTS = 400  # what a chart of 700 pixels can show
WIDE = 20.0  # a range over this factor is drawn on a log scale


@dataclass(frozen=True)
class Line:
    """A line through the rows that have `field`, which also names its colour on the page."""

    field: Field
    name: str
    points: bool = False


@dataclass(frozen=True)
class Axis:
    """What the rows' `x` is: steps and times alike; a format where it is whole numbers.

    Where the ticks are given, they are told on a logarithmic scale.
    """

    name: str
    kind: Literal["quantitative", "temporal"] = "quantitative"
    format: str = ""
    ticks: Sequence[int] = ()


@dataclass(frozen=True)
class Plot:
    """What is to be drawn.

    Attributes:
        title: what is drawn.
        unit: what the y axis measures.
        file: a name for the table of it.
        words: what a reader who does not see it should know.
        axis: what `x` is.
        lines: which fields of the rows are drawn.
        rows: dicts of `x`, `at` (x in words), and of fields of lines, in the order of x. Where a
            row has no such field the line goes on to the next; where it is None the line breaks.
            `low` and `high` make a band about the first line.
        level: a value to draw across, and its name.
        moment: an x to draw upright, and its name.
        log: whether the y axis may become logarithmic.
        height: in pixels.
    """

    title: str
    unit: str
    file: str
    words: str
    axis: Axis
    lines: Sequence[Line]
    rows: Sequence[Row]
    level: tuple[float, str] | None = None
    moment: tuple[float, str] | None = None
    log: bool = False
    height: int = 240

    @cached_property
    def range(self) -> tuple[float, float]:
        """The least and the greatest value drawn."""
        fields = {"low", "high", *(line.field for line in self.lines)}
        values = [row[f] for row in self.rows for f in fields if row.get(f) is not None]
        values += [self.level[0]] if self.level else []
        return min(values, default=0.0), max(values, default=0.0)

    @cached_property
    def known(self) -> list[Line]:
        """The lines that have a number."""
        return [
            line for line in self.lines if any(r.get(line.field) is not None for r in self.rows)
        ]

    @property
    def scale(self) -> Literal["linear", "log"]:
        """How the y axis runs."""
        low, high = self.range
        return "log" if self.log and low > 0 and high > WIDE * low else "linear"

    @property
    def table(self) -> str:
        """data: URI of a CSV file of what is drawn."""
        name = self.axis.name
        names = {"at": name} if self.axis.kind == "temporal" else {"x": name, "at": "in words"}
        names |= {line.field: line.name for line in self.lines}
        names |= {f: f for f in ("low", "high") if any(f in row for row in self.rows)}
        return csv_uri(names.values(), ([row.get(f, "") for f in names] for row in self.rows))


def number(value: float) -> float | None:
    """A row's value: a number, or nothing where there is none.

    >>> number(0.5), number(math.inf)
    (0.5, None)
    """
    return float(value) if math.isfinite(value) else None


def buckets(rows: Sequence[T], limit: int = POINTS) -> list[Sequence[T]]:
    """The rows in at most `limit` runs of neighbours, all but the last of one length.

    >>> buckets([1, 2, 3, 4, 5], 3)
    [[1, 2], [3, 4], [5]]
    """
    length = max(1, math.ceil(len(rows) / limit))
    return [rows[start : start + length] for start in range(0, len(rows), length)]


def csv_uri(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table as a data: URI of a CSV file.

    >>> csv_uri(["a", "b"], [[1, "x y"]])
    'data:text/csv;charset=utf-8,a,b%0A1,x%20y%0A'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return "data:text/csv;charset=utf-8," + quote(text.getvalue(), safe=",:;")
