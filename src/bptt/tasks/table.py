"""A table as it lies in its file: read, its rows numbered, its columns found by name."""

import csv
import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from bptt.errors import DataError

ROW = "\x00row"  # each row's number in the file, from 1; no column of a user's has this name
NULLS = ["", "NA", "N/A", "NULL", "null", "None"]
SEPARATORS = {".csv": ",", ".tsv": "\t"}
ISO = r"^\d{4}-\d{2}(-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?Z?)?)?$"
TABLES = (*SEPARATORS, ".parquet")


@dataclass(frozen=True)
class Table:
    """Rows and columns of a file.

    Attributes:
        frame: the columns, and `ROW`.
        source: the file's name, for messages.
        unit: what `ROW` counts: "row" of a table, or "line" of an archive.
    """

    frame: pl.DataFrame
    source: str
    unit: str = "row"

    def with_frame(self, frame: pl.DataFrame) -> "Table":
        """The same table with other rows or columns."""
        return replace(self, frame=frame)

    @property
    def columns(self) -> list[str]:
        """The user's columns."""
        return [name for name in self.frame.columns if name != ROW]

    def need(self, name: str, option: str) -> str:
        """`name`, if there is such a column.

        Raises:
            DataError: there is none; the message suggests the nearest.
        """
        if name in self.columns:
            return name
        hint, have = nearest(name, self.columns), ", ".join(map(repr, self.columns[:20]))
        raise DataError(f"{self.source} has no column {name!r} ({option}).{hint} It has {have}.")

    def place(self, mask: pl.Series) -> str:
        """Where `mask` is true: "row 17", and how many more."""
        rows = self.frame[ROW].filter(mask)
        more = f" (and in {len(rows) - 1} more)" if len(rows) > 1 else ""
        return f"{self.unit} {rows[0]}{more}"


def nearest(name: str, names: Iterable[str]) -> str:
    """A question whether the nearest of `names` was meant; "" where none is near.

    >>> nearest("temprature", ["month", "temperature"])
    " Did you mean 'temperature'?"
    """
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def check_file(path: Path) -> None:
    """Raise DataError unless `path` is a file with something in it."""
    if path.is_dir():
        raise DataError(f"{path} is a directory; a data file was expected. Name a file in it.")
    if not path.exists():
        names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, names) or " Check the name and the current directory."
        raise DataError(f"There is no file {path}.{hint}")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; it must hold data.")


def read_utf8(path: Path) -> str:
    """The text of a file.

    Raises:
        DataError: it is missing, empty, or not UTF-8 (the message gives the byte).
    """
    check_file(path)
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} is not UTF-8: byte {error.start} (0x{raw[error.start]:02x}), on line {line}, "
            f"does not fit. Save the file as UTF-8."
        ) from error


def read_table(path: Path) -> Table:
    """Read a CSV, TSV or Parquet file.

    Raises:
        DataError: the file is missing, empty, not of such a type, broken, or has no rows.
    """
    suffix = path.suffix.lower()
    if suffix not in TABLES:
        raise DataError(f"{path} is no table: expected a file ending in {', '.join(TABLES)}.")
    check_file(path)
    frame = _read_parquet(path) if suffix == ".parquet" else _read_csv(path, SEPARATORS[suffix])
    if frame.is_empty():
        raise DataError(f"{path} has a header but no rows; it must hold data.")
    return Table(frame.with_row_index(ROW, offset=1), path.name)


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} is not a readable Parquet file: {_first_line(error)}") from error


def _read_csv(path: Path, separator: str) -> pl.DataFrame:
    text = read_utf8(path)
    try:
        frame = pl.read_csv(
            text.encode(), separator=separator, null_values=NULLS, infer_schema_length=None
        )
    except pl.exceptions.PolarsError as error:
        where = _ragged_line(text, separator) or _first_line(error)
        raise DataError(f"{path} is not a readable table: {where}") from error
    other = [mark for mark in ",;\t" if mark != separator and mark in frame.columns[0]]
    if frame.width == 1 and other:
        raise DataError(
            f"{path}: expected columns separated by {separator!r}; they seem to be separated by "
            f"{other[0]!r}. Save it with {separator!r}, or name a tab-separated file .tsv."
        )
    return frame.with_columns(_dates(frame[name]) for name in frame.columns)


def _ragged_line(text: str, separator: str) -> str:
    """Which line has more fields than the header, or "" where none has."""
    lines = csv.reader(text.splitlines(), delimiter=separator)
    width = len(next(lines, []))
    for fields in lines:
        if len(fields) > width:
            return f"line {lines.line_num} has {len(fields)} fields, the header has {width}."
    return ""


def _dates(column: pl.Series) -> pl.Series:
    """Text of ISO dates, such as 2024-01-31, 2024-01 or 2024-01-31T12:00, as dates; others as is.

    Nothing but ISO: in 01/02/2024 nobody can tell the month from the day.
    """
    text = column.drop_nulls()
    if column.dtype != pl.String or text.is_empty() or not text.str.contains(ISO).all():
        return column
    whole = pl.when(column.str.len_chars() == 7).then(column + "-01").otherwise(column)
    text = pl.select(whole).to_series()
    kind = pl.Date if (text.str.len_chars() == 10).all() else pl.Datetime("us")
    parsed = text.str.replace("Z$", "").str.replace("T", " ")
    parsed = parsed.str.to_date(strict=False) if kind == pl.Date else _datetimes(parsed)
    return column if parsed.null_count() > column.null_count() else parsed.alias(column.name)


def _datetimes(text: pl.Series) -> pl.Series:
    """Dates with a time of day; seconds and their fractions may be left out."""
    forms = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
    return pl.select(
        pl.coalesce(pl.lit(text).str.to_datetime(form, strict=False) for form in forms)
    ).to_series()


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
