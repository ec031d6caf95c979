"""How the error's way back changed while the network was trained: a run's gradient.csv."""

import math

from bptt.figures import count, rough
from bptt.folder.rates import Looks
from bptt.report.plot import Axis, Field, Line, Plot, Row, buckets, number

FIELDS: tuple[Field, ...] = ("network", "validation", "truth", "rule")


def rate_curve(looks: Looks) -> Plot:
    """The rate over the training steps, a line for each cell."""
    cells = list(dict.fromkeys(cell for look in looks.values() for cell in look))[: len(FIELDS)]
    steps = sorted(looks)
    rows: list[Row] = [
        {"x": bucket[-1], "at": f"step {bucket[-1]:,}"}
        | {
            field: number(looks[bucket[-1]].get(cell, math.nan))
            for field, cell in zip(FIELDS, cells, strict=False)
        }
        for bucket in buckets(steps)
    ]
    return Plot(
        title="How the error's way back changed with training",
        unit="factor with each step back in time",
        file="decay-rate.csv",
        words=_words(looks, cells),
        axis=Axis("training step", format=",d"),
        lines=[
            Line(field, cell, points=len(rows) <= 40)
            for field, cell in zip(FIELDS, cells, strict=False)
        ],
        rows=rows,
        level=(1.0, "1: nothing is lost"),
        height=200,
    )


def _words(looks: Looks, cells: list[str]) -> str:
    first, last = looks[min(looks)], looks[max(looks)]
    told = [
        f"{f'{cell}: ' if len(cells) > 1 else ''}{_half(first[cell])} at first, "
        f"{_half(last[cell])} at the end"
        for cell in cells
        if cell in first and cell in last
    ]
    looked = f"{count(len(looks), 'look')} at a few sequences of the training part"
    return f"{looked}. Half of an error was gone after so many steps back: {'; '.join(told)}."


def _half(rate: float) -> str:
    """After how many steps half is gone.

    >>> _half(0.5), _half(1.1)
    ('1', 'never')
    """
    if math.isnan(rate):
        return "unknown"
    return rough(math.log(2) / -math.log(rate)) if 0 < rate < 1 else ("never" if rate else "0")
