"""What a truncated gradient loses, by how far it goes back."""

import altair as alt

import bptt
from figures.drawing import curves
from figures.echo import batch, network

STEPS_BACK = range(1, 17)


def draw() -> alt.Chart:
    x, wanted = batch()
    untrained, trained = (
        bptt.inspect.truncation(network(updates), x, targets=wanted, k2=STEPS_BACK)
        for updates in (0, 400)
    )
    lines = {
        "before training": untrained.bias,
        "trained": trained.bias,
        "trained, in chunks of k2": trained.chunked[:, 0],
    }
    rows = [
        {"x": k2, "y": float(bias), "line": name}
        for name, biases in lines.items()
        for k2, bias in zip(STEPS_BACK, biases, strict=True)
    ]
    return curves(rows, "k2, steps back", "relative bias", order=list(lines), log=False)
