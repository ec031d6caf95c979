"""What a table's columns are for, and that each can be: numbers, categories, group and time."""

from collections.abc import Sequence

import polars as pl

from bptt.errors import DataError
from bptt.tasks.options import Missing
from bptt.tasks.table import ROW, Table

WORDS = (pl.String, pl.Boolean, pl.Categorical, pl.Enum)


def is_number(dtype: pl.DataType) -> bool:
    """Whether a column of this type holds numbers."""
    return dtype.is_numeric()


def is_word(dtype: pl.DataType) -> bool:
    """Whether a column of this type holds categories."""
    return isinstance(dtype, WORDS)


def find_time(table: Table, given: str | None) -> str | None:
    """The column that orders the rows: the one named, else the only one of dates, else none.

    Raises:
        DataError: it holds neither dates nor numbers, or several columns of dates leave a choice.
    """
    dates = [name for name in table.columns if table.frame[name].dtype.is_temporal()]
    if given is None and len(dates) > 1:
        raise DataError(f"{table.source} has the date columns {dates}. Name one with --time.")
    name = table.need(given, "--time") if given is not None else (dates or [None])[0]
    if name is None:
        return None
    column = table.frame[name]
    if not (column.dtype.is_numeric() or isinstance(column.dtype, pl.Date | pl.Datetime)):
        raise DataError(
            f"{table.source}: --time {name} must hold numbers, or dates such as 2024-01-31 or "
            f"2024-01-31 12:00; {table.place(column.is_not_null())} holds "
            f"{column.drop_nulls()[0]!r}."
        )
    return name


def named(table: Table, names: Sequence[str], option: str) -> list[str]:
    """The columns named, each by itself or several with commas between; "none" alone is none."""
    if list(names) == ["none"] and "none" not in table.columns:
        return []
    apart = [
        part.strip()
        for name in names
        for part in ([name] if name in table.columns else name.split(","))
    ]
    return [table.need(name, option) for name in apart]


def inputs_of(table: Table, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Sort columns into numeric and categorical ones.

    Raises:
        DataError: a column of another type, one of numbers but for a few cells, or one of words
            in which hardly any word comes twice.
    """
    numeric, categorical = [], []
    for name in names:
        column = table.frame[name]
        if is_number(column.dtype):
            numeric.append(name)
        elif is_word(column.dtype):
            _check_words(table, column)
            categorical.append(name)
        else:
            raise DataError(
                f"{table.source}: column {name!r} holds {column.dtype}, neither numbers nor words. "
                f"Leave it out: name the columns to use with --covariates (or none)."
            )
    return numeric, categorical


def _check_words(table: Table, column: pl.Series) -> None:
    if column.dtype == pl.String and _numbers(column).count() * 2 > column.count():
        to_numbers(table, [column.name], "column")
    distinct, rows = column.n_unique(), len(column)
    if distinct > 100 and distinct * 2 > rows:
        raise DataError(
            f"{table.source}: column {column.name!r} holds {distinct} different words in {rows} "
            f"rows; nothing can be learnt from such. Leave it out with --covariates."
        )


def _numbers(column: pl.Series) -> pl.Series:
    return column.str.strip_chars().cast(pl.Float64, strict=False)


def to_numbers(table: Table, names: Sequence[str], what: str) -> Table:
    """The table with these columns as floats, missing values as NaN.

    Raises:
        DataError: a cell that is no number; the message names its row and what it holds.
    """
    casts = []
    for name in names:
        column = table.frame[name]
        if is_number(column.dtype):
            casts.append(column.cast(pl.Float64).fill_null(float("nan")))
            continue
        text = column if column.dtype == pl.String else column.cast(pl.String, strict=False)
        bad = _numbers(text).is_null() & column.is_not_null()
        if bad.any() or column.dtype != pl.String:
            bad = bad if bad.any() else column.is_not_null()
            raise DataError(
                f"{table.source}: {what} {name!r} must hold numbers; {table.place(bad)} holds "
                f"{text.filter(bad)[0]!r}. Mend the cell, or name another column."
            )
        casts.append(_numbers(text).fill_null(float("nan")))
    return table.with_frame(table.frame.with_columns(casts))


def to_words(table: Table, names: Sequence[str]) -> Table:
    """The table with these columns as text, missing values as null."""
    return table.with_frame(table.frame.with_columns(pl.col(n).cast(pl.String) for n in names))


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

    A filled column's first values, before there is one to carry, lose their rows.

    Raises:
        DataError: a value is missing and the policy is "error"; or no rows are left.
    """
    holes = {name: ~table.frame[name].is_finite() for name in numeric}
    holes |= {name: table.frame[name].is_null() for name in words}
    holes = {name: mask for name, mask in holes.items() if mask.any()}
    if not holes:
        return table
    if policy == "error":
        raise DataError(_missing_text(table, holes))
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


def _missing_text(table: Table, holes: dict[str, pl.Series]) -> str:
    name, mask = next(iter(holes.items()))
    cell = table.frame[name].filter(mask)[0]
    shown = "no value" if cell is None or cell != cell else str(cell)  # NaN is not itself
    return (
        f"{table.source}: column {name!r} has {shown} in {table.place(mask)}. Mend the data, or "
        f"take --missing drop (leave such rows out) or --missing fill (carry the last value on)."
    )


def check_order(table: Table, group: str | None, time: str | None) -> None:
    """Raise DataError where time stands still or goes back within a series."""
    if time is None:
        return
    columns = [ROW, time] + ([group] if group else [])
    before = pl.col(ROW, time).shift(1)
    frame = table.frame.select(columns)
    pairs = frame.with_columns(
        (before.over(group) if group else before).name.prefix("before ")
    ).filter(pl.col(time) <= pl.col("before " + time))
    if pairs.is_empty():
        return
    first = pairs.row(0, named=True)
    same = first[time] == first["before " + time]
    where = f" of {group} {first[group]!r}" if group else ""
    series = "" if group else ", or name the column that tells several series apart with --group"
    raise DataError(
        f"{table.source}: {time} must increase from row to row{where}; {table.unit} {first[ROW]} "
        f"has {first[time]} {'again' if same else 'after ' + str(first['before ' + time])}. "
        + (f"Remove the duplicate{series}." if same else f"Sort the file by {time}{series}.")
    )
