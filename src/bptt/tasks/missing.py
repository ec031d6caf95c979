"""Cells without a value: which may not be, and what is done about the others."""

import math
from collections.abc import Sequence

import polars as pl

from bptt.errors import DataError
from bptt.tasks.columns import LEAVE_OUT
from bptt.tasks.options import Missing
from bptt.tasks.table import Table

LARGEST = 1e100  # the square of a larger one may not be a number
IN_WORDS: dict[Missing, str] = {
    "error": "none",
    "drop": "rows that have any are left out",
    "fill": "the last value before is carried on",
}


def check_present(table: Table, names: Sequence[str]) -> None:
    """Raise DataError where a column that must be whole (group, time, label) has a hole."""
    for name in names:
        column = table.frame[name]
        hole = column.is_null() | (column.is_nan() if column.dtype.is_float() else False)
        if hole.any():
            raise DataError(
                f"{table.source}: column {name!r} has no value in {table.place(hole)}. "
                f"Fill the cell in or remove the row."
            )


def settle_missing(
    table: Table, numeric: Sequence[str], words: Sequence[str], group: str | None, policy: Missing
) -> Table:
    """The table without missing values: an error, rows left out, or the last value carried on.

    Infinite numbers and those too large to be squared count as missing.

    A filled column's first values, before there is one to carry, lose their rows.

    Raises:
        DataError: a value is missing and the policy is "error"; or no rows are left.
    """
    holes = {name: ~(table.frame[name].abs() < LARGEST) for name in numeric}
    holes |= {name: table.frame[name].is_null() for name in words}
    holes = {name: mask for name, mask in holes.items() if mask.any()}
    if not holes:
        return table
    if policy == "error":
        raise DataError(_missing_text(table, holes, numeric))
    frame = table.frame
    if policy == "fill":
        carried = [
            pl.when(pl.lit(mask)).then(None).otherwise(pl.col(name)).alias(name)
            for name, mask in holes.items()
        ]
        names = list(holes)
        frame = frame.with_columns(carried)
        last = pl.col(names).forward_fill()
        frame = frame.with_columns(last.over(group) if group else last).drop_nulls(names)
    else:
        frame = frame.filter(~pl.any_horizontal(*holes.values()))
    if frame.is_empty():
        raise DataError(f"{table.source}: no row is left once missing values are dealt with.")
    return table.with_frame(frame)


def _missing_text(table: Table, holes: dict[str, pl.Series], numeric: Sequence[str]) -> str:
    name, mask = next(iter(holes.items()))
    column = table.frame[name].fill_nan(None) if name in numeric else table.frame[name]
    if not column.count():
        return f"{table.source}: column {name!r} holds nothing. {LEAVE_OUT}"
    cell = column.filter(mask)[0]
    shown = "no value" if cell is None else f"{cell:g}"
    shown += ", which is too large," if cell is not None and math.isfinite(cell) else ""
    return (
        f"{table.source}: column {name!r} has {shown} in {table.place(mask)}. Mend the data, or "
        f"take --missing drop (leave such rows out) or --missing fill (carry the last value on)."
    )
