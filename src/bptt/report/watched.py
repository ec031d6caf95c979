"""How the error's way back changed while the network was trained: a run's gradient.csv."""

import csv
import math
from pathlib import Path

from bptt.report.figures import count, rough
from bptt.report.plot import Axis, Field, Line, Plot, Row, buckets, number
from bptt.train.damage import damaged, read_text

Looks = dict[int, dict[str, float]]  # by training step, by cell
FIELDS: tuple[Field, ...] = ("network", "validation", "truth", "rule")


def read_rates(path: Path) -> Looks:
    """By training step and cell, the factor by which an error shrank with each step back.

    Empty where the run was not watched. Raises `RunError` where the file is damaged.
    """
    if not path.exists():
        return {}
    # A last line without its end is one that the run was writing: it is left out.
    lines = read_text(path).rpartition("\n")[0].splitlines()
    looks: Looks = {}
    for place, cells in enumerate(csv.reader(lines[1:]), start=2):
        try:
            step, quantity, cell, value = cells
            if quantity == "decay rate":
                looks.setdefault(int(step), {})[cell] = float(value)
        except ValueError as error:
            what = f"line {place}: expected step, quantity, of, value, found {','.join(cells)!r}"
            raise damaged(path, what) from error
    return looks


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
