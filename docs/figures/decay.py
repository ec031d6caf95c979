"""How the gradient to the state fades with each step back, and how much sequences differ."""

import altair as alt

import bptt
from figures.drawing import LINES, curves, y_axis
from figures.echo import batch, network


def draw() -> alt.LayerChart:
    x, wanted = batch()
    made = {"before training": network(0), "trained": network()}
    found = {name: bptt.inspect.decay(model, x, targets=wanted) for name, model in made.items()}
    rows = [row for name, one in found.items() for row in points(name, one)]
    lines = curves(rows, "steps back, j", "size of the gradient", order=list(made))
    colour = alt.Color("line:N", scale=alt.Scale(domain=list(made), range=LINES))
    axis = y_axis([row["low"] for row in rows], log=True)
    low = alt.Y("low:Q", title="size of the gradient", axis=axis)
    band = alt.Chart(alt.Data(values=rows)).mark_area(opacity=0.15)
    return lines + band.encode(x="x:Q", y=low, y2="high:Q", color=colour)


def points(name, one):
    found = zip(one.lags, one.norm, one.low, one.high, strict=True)
    return [
        {"x": int(j), "y": float(size), "low": float(low), "high": float(high), "line": name}
        for j, size, low, high in found
    ]
