"""What a table's columns are for, and that each can be: numbers, categories, group and time."""

from collections.abc import Sequence

import polars as pl

from bptt.errors import DataError
from bptt.tasks.dates import are_dates, look_like_dates
from bptt.tasks.table import ROW, Table

LEAVE_OUT = "To leave the column out, name those to use with --covariates (or none)."
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
        raise DataError(_no_time(table, column))
    return name


def _no_time(table: Table, column: pl.Series) -> str:
    """Why a column cannot order the rows: a few cells of it, or all."""
    text = column.cast(pl.String, strict=False)
    dates, figures = are_dates(text), _numbers(text).is_not_null()
    fit, what = (dates, "dates") if dates.sum() > figures.sum() else (figures, "numbers")
    if column.dtype == pl.String and _mostly(fit, text):
        return f"{table.source}: the time column {_all_but(table, text, fit, what)} Mend the cell."
    return (
        f"{table.source}: the time column {column.name!r} must hold numbers, or dates such as "
        f"2024-01-31 or 2024-01-31 12:00; {_held(table, text, column.is_not_null())}."
    )


def _mostly(fit: pl.Series, column: pl.Series) -> bool:
    return int(fit.sum()) * 2 > column.count()


def _all_but(table: Table, column: pl.Series, fit: pl.Series, what: str) -> str:
    return f"{column.name!r} holds {what}, but {_held(table, column, ~fit & column.is_not_null())}."


def _held(table: Table, column: pl.Series, mask: pl.Series) -> str:
    """What the first of these cells holds, and where."""
    return f"{table.place(mask)} holds {column.filter(mask)[0]!r}"


def named(table: Table, names: Sequence[str], option: str) -> list[str]:
    """The columns named, each by itself or several with commas between; "none" alone is none.

    Raises:
        DataError: the table lacks one of them, or one is named twice.
    """
    if list(names) == ["none"] and "none" not in table.columns:
        return []
    apart = [
        part.strip()
        for name in names
        for part in ([name] if name in table.columns else name.split(","))
    ]
    twice = next((name for name in apart if apart.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{table.source}: {option} names {twice!r} twice. Name each column once.")
    return [table.need(name, option) for name in apart]


def check_apart(parts: dict[str, str | None]) -> None:
    """Raise DataError where one column is to play two parts, given by the options' names."""
    played: dict[str, str] = {}
    for option, name in parts.items():
        if name is not None and name in played:
            raise DataError(f"{name!r} cannot be --{played[name]} and --{option} at once.")
        if name is not None:
            played[name] = option


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
            held = f"{column.dtype}, neither numbers nor words" if column.count() else "nothing"
            raise DataError(f"{table.source}: column {name!r} holds {held}. {LEAVE_OUT}")
    return numeric, categorical


def _check_words(table: Table, column: pl.Series) -> None:
    if column.dtype == pl.String:
        _check_text(table, column)
    distinct, rows = column.n_unique(), len(column)
    if distinct > 100 and distinct * 2 > rows:
        raise DataError(
            f"{table.source}: column {column.name!r} holds {distinct} different words in {rows} "
            f"rows; nothing can be learnt from such. {LEAVE_OUT}"
        )


def _check_text(table: Table, column: pl.Series) -> None:
    """Raise DataError where words are no words, but numbers or dates that could not be read."""
    if _mostly(_numbers(column).is_not_null(), column):
        to_numbers(table, [column.name], "column")
    dates = are_dates(column)
    if _mostly(dates, column):
        whole = _all_but(table, column, dates, "dates")
        raise DataError(
            f"{table.source}: column {whole} Mend the cell for them to order the rows. {LEAVE_OUT}"
        )
    others = look_like_dates(column)
    if _mostly(others, column):
        raise DataError(
            f"{table.source}: column {column.name!r} looks like dates in a form that is not read; "
            f"{_held(table, column, others)}. Write it as 2024-01-31 for dates to order the rows. "
            f"{LEAVE_OUT}"
        )


def _numbers(column: pl.Series) -> pl.Series:
    return column.str.strip_chars().cast(pl.Float64, strict=False)


def has_numbers(column: pl.Series) -> bool:
    """Whether a column holds some numbers, be it as text."""
    return is_number(column.dtype) or (
        column.dtype == pl.String and _numbers(column).is_not_null().any()
    )


def mostly_numbers(column: pl.Series) -> bool:
    """Whether a column holds numbers, but for a few cells."""
    return is_number(column.dtype) or (
        column.dtype == pl.String and _mostly(_numbers(column).is_not_null(), column)
    )


def to_numbers(table: Table, names: Sequence[str], what: str) -> Table:
    """The table with these columns as floats, missing values as NaN.

    Raises:
        DataError: a cell that is no number; the message names its row and what it holds.
    """
    casts = []
    for name in names:
        column = table.frame[name]
        if is_number(column.dtype) or column.dtype == pl.Boolean:
            casts.append(column.cast(pl.Float64).fill_null(float("nan")))
            continue
        text = column if column.dtype == pl.String else column.cast(pl.String, strict=False)
        bad = _numbers(text).is_null() if column.dtype == pl.String else column.is_not_null()
        bad &= column.is_not_null()
        if bad.any():
            raise DataError(
                f"{table.source}: {what} {name!r} must hold numbers, written as 1234.5; "
                f"{_held(table, text, bad)}. Mend the cell, or name another column."
            )
        casts.append(_numbers(text).fill_null(float("nan")))
    return table.with_frame(table.frame.with_columns(casts))


def to_words(table: Table, names: Sequence[str]) -> Table:
    """The table with these columns as text, missing values as null."""
    return table.with_frame(table.frame.with_columns(pl.col(n).cast(pl.String) for n in names))


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
