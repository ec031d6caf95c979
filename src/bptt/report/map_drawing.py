"""A map drawn: Vega-Lite by way of Altair, its cells unpacked by the page's script."""

import json
from typing import Any

import altair as alt

from bptt.report.drawing import LOOK
from bptt.report.map import LEVELS, Map, Side

NAME = 18  # letters of a name beside the map: on a phone the map needs the room
BROKEN = "broken"  # the level of what is no number


def heat_map(drawn: Map) -> dict[str, Any]:
    """The map's specification, as wide as its place on the page; its packed cells beside it."""
    levels = [*range(LEVELS), BROKEN]
    colours = alt.Scale(domain=levels, range=[f"var(--map-{level})" for level in levels])
    chart = (
        alt.Chart(alt.NamedData("cells"))
        .mark_rect(strokeWidth=0)
        .encode(
            x=alt.X("x0:Q", axis=_axis(drawn.across), scale=_scale()),
            x2="x1",
            y=alt.Y("y0:Q", axis=_axis(drawn.up), scale=_scale()),
            y2="y1",
            color=alt.Color("level:O", scale=colours, legend=None),
            tooltip=[alt.Tooltip("at:N", title="title"), alt.Tooltip("tip:N", title="figures")],
        )
        .properties(width="container", height=drawn.height)
        .configure(**LOOK)
    )
    empty: dict[str, Any] = {"datasets": {"cells": []}}
    return chart.to_dict() | empty | {"usermeta": {"map": drawn.packed()}}


def _scale() -> alt.Scale:
    return alt.Scale(nice=False, zero=False)


def _axis(side: Side) -> alt.Axis:
    if not side.named:
        return alt.Axis(title=side.name, format="d", tickMinStep=1, grid=False, labelOverlap=True)
    middles = [side.start + i for i in range(len(side.labels))]
    names = [label if len(label) <= NAME else f"{label[: NAME - 1]}…" for label in side.labels]
    # The names are literals of the expression: JSON's are Vega's.
    expression = f"{json.dumps(names)}[datum.value - {side.start}]"
    return alt.Axis(
        title=side.name, values=middles, labelExpr=expression, grid=False, labelOverlap=True
    )
