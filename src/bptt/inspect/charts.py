"""Results as altair charts: lines over steps, maps of steps by steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bptt.inspect.showing import optional, to_polars

POINTS = 4000  # that lines have together: altair takes 5000, and a screen shows fewer
CELLS = 64  # along a side of a map; where there are more, one stands for its neighbours
SIDE = 420  # pixels


def line_chart(
    frame: Any,
    x: str,
    y: str,
    colour: str,
    title: str,
    titles: Sequence[str],
    *,
    mark: str = "N",
    zero: bool = True,
) -> Any:
    """One line for each value of a column.

    Args:
        frame: a polars DataFrame in long form.
        x, y, colour: its columns.
        title: above the chart.
        titles: of x and y.
        mark: altair's type of the colour: "N" for names, "O" for numbers in order.
        zero: whether the scale of y goes down to 0.
    """
    alt = optional("altair")
    frame, every = thinned(frame, x)
    return (
        alt.Chart(frame, title=alt.Title(title, subtitle=_said(every)), width=SIDE, height=260)
        .mark_line()
        .encode(
            x=alt.X(f"{x}:Q", title=titles[0], scale=alt.Scale(nice=False)),
            y=alt.Y(f"{y}:Q", title=titles[1], scale=alt.Scale(zero=zero)),
            color=alt.Color(f"{colour}:{mark}", sort=None, scale=alt.Scale(scheme="tableau10")),
            tooltip=[x, alt.Tooltip(y, format=".4g"), colour],
        )
    )


def thinned(frame: Any, x: str) -> tuple[Any, int]:
    """A frame with few enough rows for a chart: every n-th of the numbers in x; and n."""
    every = -(-len(frame) // POINTS)
    if every == 1:
        return frame, every
    kept = frame[x].unique().sort().gather_every(every)
    return frame.filter(frame[x].is_in(kept.implode())), every


def map_chart(
    values: np.ndarray, rows: np.ndarray, columns: np.ndarray, title: str, titles: Sequence[str]
) -> Any:
    """A map (R, C) in colours on a logarithmic scale; of neighbours in a cell, the largest.

    Args:
        values: the numbers; what is 0 or none stays empty.
        rows, columns: what they are called, from above and from the left.
        title: above the chart.
        titles: of columns, rows and values.
    """
    alt = optional("altair")
    down, across = _blocks(len(rows)), _blocks(len(columns))
    cells = [
        (columns[c[0]], rows[r[0]], _span(columns[c]), _span(rows[r]), _largest(values, r, c))
        for r in down
        for c in across
    ]
    names = ("x", "y", titles[0], titles[1], titles[2])
    cells = [cell for cell in cells if cell[-1] > 0]
    parts = zip(*cells, strict=True) if cells else [[]] * len(names)
    frame = to_polars(dict(zip(names, map(list, parts), strict=True)))
    merged = max(len(part) for part in (*down, *across))
    size = {"width": SIDE, "height": min(SIDE, max(20, SIDE * len(down) // max(len(across), 1)))}
    axis = alt.Axis(labelOverlap=True, labelAngle=0)
    return (
        alt.Chart(frame, title=alt.Title(title, subtitle=_said(1, merged)), **size)
        .mark_rect()
        .encode(
            x=alt.X("x:O", title=titles[0], axis=axis),
            y=alt.Y("y:O", title=titles[1], axis=axis),
            color=alt.Color(
                f"{titles[2]}:Q",
                scale=alt.Scale(type="log"),
                legend=alt.Legend(format=".0e", tickCount=5),
            ),
            tooltip=[titles[0], titles[1], alt.Tooltip(titles[2], format=".4g")],
        )
    )


def _blocks(count: int) -> list[np.ndarray]:
    return [b for b in np.array_split(np.arange(count), min(count, CELLS)) if len(b)]


def _span(labels: np.ndarray) -> str:
    return str(labels[0]) if len(labels) == 1 else f"{labels[0]} to {labels[-1]}"


def _largest(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> float:
    """Of a block; what is no number or infinite is left out."""
    block = values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return float(np.where(np.isfinite(block), block, 0.0).max(initial=0.0))


def _said(every: int, merged: int = 1) -> str:
    """What was left out, in words."""
    if merged > 1:
        return f"cells of up to {merged} by {merged}: the largest"
    return f"one of {every} steps" if every > 1 else ""
