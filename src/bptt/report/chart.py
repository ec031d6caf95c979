"""A chart of lines as the page needs it: drawn, told in words, and as a table to download."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import altair as alt

from bptt.report.figures import figure

Row = dict[str, Any]
T = TypeVar("T")
POINTS = 400  # what a chart of 700 pixels can show
WIDE = 20.0  # a range over this factor is drawn on a log scale

# Colours are the page's CSS variables: one chart serves a light, a dark and a printed page.
TEXT = {"fill": "var(--soft)", "font": "system-ui, sans-serif", "fontSize": 12}
LOOK = {
    "font": TEXT["font"],
    "background": "transparent",
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "ticks": False,
        "gridColor": "var(--line)",
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelPadding": 6,
        "titlePadding": 8,
    },
    "axisX": {"grid": False},
}


@dataclass(frozen=True)
class Line:
    """A line through the rows that have `field`, which also names its colour on the page."""

    field: Literal["network", "validation", "truth", "rule"]
    name: str
    points: bool = False


@dataclass(frozen=True)
class Axis:
    """What the rows' `x` is: steps and times alike."""

    name: str
    kind: Literal["quantitative", "temporal"] = "quantitative"
    format: str = ""


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
    def scale(self) -> Literal["linear", "log"]:
        """How the y axis runs."""
        fields = {"low", "high", *(line.field for line in self.lines)}
        values = [row[f] for row in self.rows for f in fields if row.get(f) is not None]
        wide = min(values, default=0) > 0 and max(values) > WIDE * min(values)
        return "log" if self.log and wide else "linear"

    @property
    def table(self) -> str:
        """data: URI of a CSV file of what is drawn."""
        names = {"at": self.axis.name} | {line.field: line.name for line in self.lines}
        return csv_uri(names.values(), ([row.get(f, "") for f in names] for row in self.rows))

    @property
    def spec(self) -> dict[str, Any]:
        """The chart as Vega-Lite, as wide as its place on the page."""
        chart = alt.layer(*_layers(self), data=alt.Data(values=_with_tips(self)))
        sized = chart.properties(width="container", height=self.height)
        return sized.configure(**LOOK).to_dict()


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


def _with_tips(plot: Plot) -> list[Row]:
    """The rows, each with the text that the pointer shows there: every line's last known value."""
    latest: Row = {}
    rows = []
    for row in plot.rows:
        latest |= row
        lines = [f"{n.name} {figure(latest[n.field])}" for n in plot.lines if n.field in latest]
        rows.append(row | {"tip": "\n".join([row["at"], *lines])})
    return rows


def _layers(plot: Plot) -> list[alt.Chart]:
    base = alt.Chart().encode(x=_x(plot.axis))
    band = [_band(plot, base)] if any("low" in row for row in plot.rows) else []
    lines = [_line(plot, base, line) for line in plot.lines]
    level = _level(plot, *plot.level) if plot.level else []
    moment = _moment(*plot.moment) if plot.moment else []
    return [*band, *level, *moment, *lines, _pointer(base)]


def _x(axis: Axis) -> alt.X:
    scale = alt.Scale(type="utc") if axis.kind == "temporal" else alt.Scale(nice=False, zero=False)
    ticks = alt.ExprRef("max(2, floor(width / 100))")
    look = alt.Axis(title=axis.name, tickCount=ticks, labelOverlap=True, format=axis.format or alt.Undefined)
    return alt.X("x", type=axis.kind, scale=scale, axis=look)


def _y(plot: Plot, name: str) -> alt.Y:
    scale = alt.Scale(type=plot.scale, zero=False, nice=plot.scale == "linear")
    return alt.Y(name, type="quantitative", scale=scale, axis=alt.Axis(title=None, tickCount=5))


def _band(plot: Plot, base: alt.Chart) -> alt.Chart:
    area = base.mark_area(color=f"var(--{plot.lines[0].field})", opacity=0.18)
    return area.encode(y=_y(plot, "low"), y2="high").transform_filter("isDefined(datum.low)")


def _line(plot: Plot, base: alt.Chart, line: Line) -> alt.Chart:
    colour = f"var(--{line.field})"
    dash = [5, 4] if line.field == "rule" else alt.Undefined
    point = {"size": 28, "fill": colour, "stroke": None} if line.points else False
    drawn = base.mark_line(color=colour, strokeWidth=1.75, strokeDash=dash, point=point)
    return drawn.encode(y=_y(plot, line.field)).transform_filter(f"isDefined(datum.{line.field})")


def _level(plot: Plot, value: float, name: str) -> list[alt.Chart]:
    base = alt.Chart(alt.Data(values=[{"level": value, "name": name}])).encode(y=_y(plot, "level"))
    text = base.mark_text(align="right", dy=-7, **TEXT).encode(x=alt.value("width"), text="name:N")
    return [base.mark_rule(color="var(--rule)", strokeDash=[5, 4]), text]


def _moment(x: float, name: str) -> list[alt.Chart]:
    base = alt.Chart(alt.Data(values=[{"x": x, "name": name}])).encode(x="x:Q")
    text = base.mark_text(align="right", dx=-5, baseline="top", **TEXT)
    return [base.mark_rule(color="var(--soft)", strokeDash=[2, 3]), text.encode(y=alt.value(0), text="name:N")]


def _pointer(base: alt.Chart) -> alt.Chart:
    """An upright line that follows the pointer and tells the numbers of the nearest x."""
    near = alt.selection_point(
        name="near", nearest=True, on="pointermove", clear="pointerout", fields=["x"], empty=False
    )
    shown = alt.when(near).then(alt.value(0.6)).otherwise(alt.value(0))
    rule = base.mark_rule(color="var(--soft)").encode(opacity=shown, tooltip="tip:N")
    return rule.add_params(near)
