"""Which columns of a table a forecast reads, and as what."""

from collections.abc import Sequence

import polars as pl

from bptt.errors import DataError
from bptt.tasks.columns import check_apart, find_time, has_numbers, inputs_of, mostly_numbers, named
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
    others = [name for name in rest if name not in targets]
    if options.covariates is not None:
        others = named(table, options.covariates, "--covariates")
    for name in targets:
        twice = {"known": known, "covariates": others}
        again = {option: name for option, names in twice.items() if name in names}
        check_apart({"target": name, "time": time, "group": group} | again)
        _check_target(table, name, rest)
    for name in known:
        check_apart({"known": name, "time": time, "group": group})
    numeric, words = inputs_of(table, [name for name in others if name not in (group, *known)])
    words += [group] if group in others else []  # its numbers are names
    return Columns(tuple(targets), group, time, (*numeric, *known), tuple(words), tuple(known))


def _check_target(table: Table, name: str, others: Sequence[str]) -> None:
    """Raise DataError where a target holds no number at all: no cell is to be mended there."""
    if has_numbers(table.frame[name]):
        return
    raise DataError(
        f"{table.source}: a forecast is of numbers, written as 1234.5, and --target {name} holds "
        f"none, but {_example(table, name)}. Numeric columns: {_numeric(table, others)}. To learn "
        f"a class of whole sequences, name its column with --label."
    )


def _example(table: Table, name: str) -> str:
    held = table.frame[name].drop_nulls().cast(pl.String, strict=False)
    return f"{held[0]!r} and the like" if len(held) else "nothing"


def _numeric(table: Table, names: Sequence[str]) -> str:
    return ", ".join(repr(n) for n in names if mostly_numbers(table.frame[n])) or "none"


def _only_number(table: Table, names: Sequence[str]) -> list[str]:
    found = [name for name in names if mostly_numbers(table.frame[name])]
    if len(found) == 1:
        return found
    if found:
        raise DataError(
            f"{table.source}: name the column to forecast with --target. Numeric columns: "
            f"{_numeric(table, names)}."
        )
    held = "; ".join(f"{name!r} holds {_example(table, name)}" for name in names[:5])
    raise DataError(
        f"{table.source}: a forecast is of numbers, written as 1234.5, and no column holds any"
        f"{': ' + held if held else ''}."
    )
