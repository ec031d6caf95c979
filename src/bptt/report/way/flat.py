"""Non-linearities in their flat part, where no error gets through."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bptt.figures import percent
from bptt.report.plot import csv_uri

if TYPE_CHECKING:
    from bptt.inspect import Saturation

LISTED = 1500  # units in the file, which travels in the page


@dataclass(frozen=True)
class Flat:
    """One non-linearity.

    Attributes:
        name: the function and what it is applied to.
        where: file and line; "" where unknown.
        code: that line.
        share: of all its numbers, those in its flat part.
        worst: the same of the unit that is there most.
        units: how many there are.
        dead: how many of them had no slope at all, all the time.
    """

    name: str
    where: str
    code: str
    share: float
    worst: float
    units: int
    dead: int


@dataclass(frozen=True)
class Flats:
    """All non-linearities, as a table on the page and as a file of their units."""

    rows: list[Flat]
    words: str
    table: str


def flats(found: "Saturation") -> Flats:
    """The non-linearities in the order of the code."""
    rows = [
        Flat(
            name=name,
            where="/".join(Path(where).parts[-2:]),  # the rest is the reader's own machine
            code=code.strip(),
            share=float(share),
            worst=float(np.nanmax(found.units[name], initial=0.0)),
            units=len(found.units[name]),
            dead=int(found.dead[name].sum()),
        )
        for name, where, code, share in zip(
            found.names, found.where, found.code, found.share, strict=True
        )
    ]
    units = sum(row.units for row in rows)
    more = f" The file has the {LISTED:,} of {units:,} units that are flat most." * (units > LISTED)
    return Flats(rows, _words(rows, found.threshold) + more, _table(found))


def _words(rows: list[Flat], threshold: float) -> str:
    if not rows:
        return "The step has no function with a flat part."
    flat = f"Flat is where a function's slope is below {percent(threshold)} of its steepest."
    most = max(rows, key=lambda row: row.share)
    if not most.share:
        return f"{flat} None of the numbers is there."
    return f"{flat} Most often there: {most.name}, for {percent(most.share)} of its numbers."


def _table(found: "Saturation") -> str:
    cells = [
        (name, where, unit, float(share), int(found.dead[name][unit]))
        for name, where in zip(found.names, found.where, strict=True)
        for unit, share in enumerate(found.units[name])
    ]
    if len(cells) > LISTED:
        cells = sorted(cells, key=lambda cell: -cell[3])[:LISTED]
    return csv_uri(("function", "where", "unit", "share in the flat part", "never a slope"), cells)
