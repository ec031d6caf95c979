"""Which columns of a table a forecast reads, and as what."""

from collections.abc import Sequence

import polars as pl

from bptt.errors import DataError
from bptt.tasks.columns import find_time, has_numbers, inputs_of, is_number, named
from bptt.tasks.options import DataOptions
from bptt.tasks.series import Columns
from bptt.tasks.table import Table


def choose_columns(table: Table, options: DataOptions) -> Columns:
    """Which columns a forecast reads, from the options and the table.

    Raises:
        DataError: a column that is not there, one with two parts to play, or no way to tell the
            target.
    """
    time = find_time(table, options.time)
    group = table.need(options.group, "--group") if options.group else None
    rest = [name for name in table.columns if name not in (time, group)]
    targets = named(table, options.target or _only_number(table, rest), "--target")
    known = named(table, options.known or (), "--known")
    for name in targets:
        if name not in rest:
            raise DataError(f"{name!r} cannot be --target and --time or --group at once.")
        _check_target(table, name, rest)
    for name in known:
        if name not in rest or name in targets:
            raise DataError(f"{name!r} cannot be --known and --target, --time or --group at once.")
    others = [name for name in rest if name not in targets]
    if options.covariates is not None:
        others = named(table, options.covariates, "--covariates")
    numeric, words = inputs_of(table, [name for name in others if name not in (group, *known)])
    words += [group] if group in others else []  # its numbers are names
    return Columns(tuple(targets), group, time, (*numeric, *known), tuple(words), tuple(known))


def _check_target(table: Table, name: str, others: Sequence[str]) -> None:
    """Raise DataError where a target holds no number at all: no cell is to be mended there."""
    column = table.frame[name]
    if is_number(column.dtype) or has_numbers(column):
        return
    held = column.drop_nulls().cast(pl.String, strict=False)
    raise DataError(
        f"{table.source}: a forecast is of numbers, and --target {name} holds none"
        f"{f', but {held[0]!r} and the like' if len(held) else ''}. Numeric columns: "
        f"{_numeric(table, others)}. To learn a class of whole sequences, name its column with "
        f"--label."
    )


def _numeric(table: Table, names: Sequence[str]) -> str:
    return ", ".join(repr(n) for n in names if is_number(table.frame[n].dtype)) or "none"


def _only_number(table: Table, names: Sequence[str]) -> list[str]:
    found = [name for name in names if is_number(table.frame[name].dtype)]
    if len(found) != 1:
        raise DataError(
            f"{table.source}: name the column to forecast with --target. Numeric columns: "
            f"{_numeric(table, names)}."
        )
    return found
