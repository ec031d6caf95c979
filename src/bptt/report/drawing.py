"""A plot drawn: Vega-Lite by way of Altair."""

import math
from itertools import pairwise
from typing import Any

import altair as alt

from bptt.figures import figure
from bptt.report.plot import Axis, Line, Plot, Row

# Colours are the page's CSS variables: one chart serves a light, a dark and a printed page.
TEXT = {"fill": "var(--soft)", "font": "system-ui, sans-serif", "fontSize": 12}
CLOCK = {"hours": "%H:%M", "minutes": "%H:%M"}  # where ticks are so close; else as Vega does
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


def vega_lite(plot: Plot) -> dict[str, Any]:
    """The chart's specification, as wide as its place on the page."""
    chart = alt.layer(*_layers(plot), data=alt.NamedData("rows"))
    sized = chart.properties(width="container", height=plot.height).configure(**LOOK)
    # The rows join at the end: Altair would copy and check each of them, for half a second.
    return sized.to_dict() | {"datasets": {"rows": _with_tips(plot)}}


def _with_tips(plot: Plot) -> list[Row]:
    """The rows with what the pointer shows there: the last known value of every line.

    `from` and `to` are half-way to the neighbours. (Vega-Lite's own nearest point, in 6.4, tells
    texts as "undefined".)
    """
    latest: Row = {}
    xs = [row["x"] for row in plot.rows]
    borders = [xs[0], *((a + b) / 2 for a, b in pairwise(xs)), xs[-1]]
    rows = []
    for row, (start, end) in zip(plot.rows, pairwise(borders), strict=True):
        latest |= row
        lines = [f"{n.name} {figure(latest[n.field])}" for n in plot.known if n.field in latest]
        rows.append(row | {"from": start, "to": end, "tip": "\n".join(lines)})
    return rows


def _layers(plot: Plot) -> list[alt.Chart]:
    base = alt.Chart().encode(x=_x(plot.axis))
    band = [_band(plot, base)] if any("low" in row for row in plot.rows) else []
    level = _level(plot, *plot.level) if plot.level else []
    moment = _moment(plot, *plot.moment) if plot.moment else []
    lines = [_line(plot, base, line) for line in plot.known]
    return [*band, *lines, *level, *moment, *_pointer(plot.axis, base)]


def _x(axis: Axis, name: str = "x") -> alt.X:
    if axis.ticks:
        values, scale = list(axis.ticks), alt.Scale(type="log", nice=False)
        look = alt.Axis(title=axis.name, values=values, labelOverlap=True, format=axis.format)
        return alt.X(name, type="quantitative", scale=scale, axis=look)
    scale = alt.Scale(type="utc") if axis.kind == "temporal" else alt.Scale(nice=False, zero=False)
    look = alt.Axis(
        title=axis.name,
        tickCount=alt.ExprRef("max(3, floor(width / 90))"),
        labelOverlap=True,
        format=CLOCK if axis.kind == "temporal" else axis.format or alt.Undefined,
        # Vega's ticks of a short range lie between whole numbers too, whatever the least step.
        labelExpr="datum.value % 1 ? '' : datum.label" if axis.format else alt.Undefined,
    )
    return alt.X(name, type=axis.kind, scale=scale, axis=look)


def _y(plot: Plot, name: str) -> alt.Y:
    if plot.scale == "linear":
        axis, (low, high) = alt.Axis(title=None, tickCount=5), plot.range
        room = [low - 0.1 * (abs(low) or 1.0), low + 0.1 * (abs(low) or 1.0)]
        scale = alt.Scale(zero=False, domain=room if low == high else alt.Undefined)
        return alt.Y(name, type="quantitative", scale=scale, axis=axis)
    axis = alt.Axis(title=None, values=_decades(*plot.range), format="~g")
    return alt.Y(name, type="quantitative", scale=alt.Scale(type="log", nice=False), axis=axis)


def _decades(low: float, high: float) -> list[float]:
    """Round values of a log axis: 1, 2 and 5 of each decade, where there are few of them.

    >>> _decades(0.3, 12.0)
    [0.5, 1.0, 2.0, 5.0, 10.0]
    """
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if high < 500 * low else (1,)
    values = [float(f"{digit}e{exponent}") for exponent in exponents for digit in digits]
    return [value for value in values if low <= value <= high]


def _band(plot: Plot, base: alt.Chart) -> alt.Chart:
    area = base.mark_area(color=f"var(--{plot.known[0].field})", opacity=0.18)
    return area.encode(y=_y(plot, "low"), y2="high").transform_filter("isDefined(datum.low)")


def _line(plot: Plot, base: alt.Chart, line: Line) -> alt.Chart:
    colour = f"var(--{line.field})"
    dash = [5, 4] if line.field == "rule" else alt.Undefined
    dots = line.points or sum(row.get(line.field) is not None for row in plot.rows) == 1
    point = {"size": 28, "fill": colour, "stroke": None} if dots else False
    drawn = base.mark_line(color=colour, strokeWidth=1.75, strokeDash=dash, point=point)
    return drawn.encode(y=_y(plot, line.field)).transform_filter(f"isDefined(datum.{line.field})")


def _level(plot: Plot, value: float, name: str) -> list[alt.Chart]:
    base = alt.Chart(alt.Data(values=[{"level": value, "name": name}])).encode(y=_y(plot, "level"))
    text = base.mark_text(align="right", dy=-7, **TEXT).encode(x=alt.value("width"), text="name:N")
    return [base.mark_rule(color="var(--rule)", strokeDash=[5, 4]), text]


def _moment(plot: Plot, x: float, name: str) -> list[alt.Chart]:
    base = alt.Chart(alt.Data(values=[{"x": x, "name": name}])).encode(x="x:Q")
    early = 2 * x < plot.rows[0]["x"] + plot.rows[-1]["x"]
    align, shift = ("left", 5) if early else ("right", -5)
    text = base.mark_text(baseline="top", align=align, dx=shift, **TEXT)
    return [
        base.mark_rule(color="var(--soft)", strokeDash=[2, 3]),
        text.encode(y=alt.value(0), text="name:N"),
    ]


def _pointer(axis: Axis, base: alt.Chart) -> list[alt.Chart]:
    """An upright line that follows the pointer, and the numbers of the nearest row."""
    near = alt.selection_point(
        on="pointermove", clear="pointerout", fields=["x"], empty=False, toggle=False
    )
    shown = alt.when(near).then(alt.value(0.6)).otherwise(alt.value(0))
    rule = base.mark_rule(color="var(--soft)").encode(opacity=shown)
    # Vega's tooltip takes what is called "title" for a heading.
    tip = [alt.Tooltip("at:N", title="title"), alt.Tooltip("tip:N", title="figures")]
    stripe = alt.Chart().mark_rect(opacity=0).encode(x=_x(axis, "from"), x2="to", tooltip=tip)
    return [rule, stripe.add_params(near)]
