"""Which inputs, how many steps ago, still move an error."""

import altair as alt

import bptt
from figures.drawing import curves
from figures.echo import batch, network


def draw() -> alt.Chart:
    x, wanted = batch()
    made = {"before training": network(0), "trained": network()}
    rows = [
        {"x": int(j), "y": float(size), "line": name}
        for name, model in made.items()
        for j, size in shares(bptt.inspect.memory(model, x, targets=wanted))
    ]
    return curves(rows, "steps ago", "share", order=list(made), log=False)


def shares(found):
    return zip(found.lags, found.norm / found.norm.sum(), strict=True)
