"""A table as it lies in its file: read, its rows numbered, its columns found by name."""

import csv
import difflib
import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from bptt.errors import DataError
from bptt.tasks.dates import as_dates

ROW = "\x00row"  # each row's number in the file, from 1; no column of a user's has this name
NULLS = ["", "NA", "N/A", "NULL", "null", "None"]
SEPARATORS = {".csv": ",", ".tsv": "\t"}
TABLES = (*SEPARATORS, ".parquet")
FILES = (*TABLES, ".ts", ".txt")


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

    >>> nearest("Temprature", ["month", "temperature"]), nearest("id", ["kind"])
    (" Did you mean 'temperature'?", '')
    """
    return _asked(name, {other: other for other in names})


def nearest_file(path: Path) -> str:
    """A question whether a data file beside `path`, of nearly its name, was meant; or ""."""
    folder = path.parent
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return _asked(path.stem, {p.stem: str(p) for p in files if p.suffix.lower() in FILES})


def _asked(name: str, meant: dict[str, str]) -> str:
    folded = {key.casefold(): key for key in meant}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.7)
    return f" Did you mean {meant[folded[near[0]]]!r}?" if near else ""


def check_file(path: Path) -> None:
    """Raise DataError unless `path` is a file with something in it."""
    if path.is_dir():
        raise DataError(f"{path} is a directory; a data file was expected. Name a file in it.")
    if not path.exists():
        hint = nearest_file(path) or " Check the name and the current directory."
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
    _check_header(path, text, separator)
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
    return frame.with_columns(as_dates(frame[name]) for name in frame.columns)


def _check_header(path: Path, text: str, separator: str) -> None:
    """Raise DataError where two columns have one name: which is meant could not be told."""
    header = next(csv.reader(io.StringIO(text), delimiter=separator), [])
    for place, name in enumerate(header):
        if name in header[:place]:
            raise DataError(
                f"{path}: columns {header.index(name) + 1} and {place + 1} of the header are both "
                f"called {name!r}. Rename one of them."
            )


def _ragged_line(text: str, separator: str) -> str:
    """Which line has more fields than the header, or "" where none has."""
    lines = csv.reader(text.splitlines(), delimiter=separator)
    width = len(next(lines, []))
    for fields in lines:
        if len(fields) > width:
            return f"line {lines.line_num} has {len(fields)} fields, the header has {width}."
    return ""


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
