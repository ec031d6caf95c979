"""What one step stretches and what it shrinks: the singular values of its Jacobian."""

import altair as alt

import bptt
from figures.drawing import curves
from figures.echo import batch, network


def draw() -> alt.Chart:
    x, _ = batch()
    made = {"before training": network(0), "trained": network()}
    rows = [
        {"x": n, "y": float(value), "line": name}
        for name, model in made.items()
        for n, value in enumerate(spectrum(model, x), 1)
    ]
    return curves(rows, "singular value", "its size", order=list(made), log=False)


def spectrum(model, x):
    """Singular values, descending, in the mean over steps and sequences."""
    return bptt.inspect.jacobians(model, x).singular_values.mean((0, 1))
