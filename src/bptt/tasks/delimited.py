"""Tables as text, a line a row: CSV and TSV."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from bptt.errors import DataError
from bptt.tasks.dates import ISO, as_dates
from bptt.tasks.files import read_utf8

NULLS = ["", "NA", "N/A", "NULL", "null", "None"]
SEPARATORS = {".csv": ",", ".tsv": "\t"}
UNNAMED = "\x00unnamed "


def read_delimited(path: Path) -> pl.DataFrame:
    """Read a .csv or .tsv file as it is. Spaces about the names of its header do not count.

    Raises:
        DataError: no such file, not UTF-8, a header that does not name the columns, or lines that
            do not fit it.
    """
    text, separator = read_utf8(path), SEPARATORS[path.suffix.lower()]
    header = [name.strip() for name in _first_fields(text, separator)]
    _check_header(path, header, separator)
    try:
        frame = pl.read_csv(
            text.encode(), separator=separator, null_values=NULLS, infer_schema_length=None
        )
    except pl.exceptions.PolarsError as error:
        what = _fault(text, separator) or str(error).strip().split("\n")[0]
        raise DataError(f"{path} is not a readable table: {what}") from error
    frame.columns = [name or f"{UNNAMED}{place}" for place, name in enumerate(header, 1)]
    return frame


def tidy(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """The table without the columns that only a spreadsheet or a program left, and with dates.

    A column without a name is left out where it numbers the rows, as an index that was saved with
    its table does, or holds nothing.

    Raises:
        DataError: some other column has no name.
    """
    frame = frame.select(_left(path, frame))
    return frame.with_columns(as_dates(frame[name]) for name in frame.columns)


def _first_fields(text: str, separator: str) -> list[str]:
    return next(csv.reader(io.StringIO(text), delimiter=separator), [])


def _check_header(path: Path, header: Sequence[str], separator: str) -> None:
    """Raise DataError where the first line does not tell the columns apart by name."""
    other = [mark for mark in ",;\t" if mark != separator and mark in "".join(header[:1])]
    if len(header) == 1 and other:
        raise DataError(
            f"{path}: expected columns separated by {separator!r}; they seem to be separated by "
            f"{other[0]!r}. Save it with {separator!r} (and numbers as 1234.5), or name a "
            f"tab-separated file .tsv."
        )
    for place, name in enumerate(header):
        if name and name in header[:place]:
            raise DataError(
                f"{path}: columns {header.index(name) + 1} and {place + 1} of the header are both "
                f"called {name!r}. Rename one of them."
            )
    if _is_data(header):
        raise DataError(
            f"{path}: expected the columns' names on line 1; it holds {', '.join(header[:5])}. Add "
            f"a line of names above it."
        )


def _is_data(header: Sequence[str]) -> bool:
    """Whether all names are numbers or dates, and do not just count the columns."""
    if not all(re.match(rf"[-+]?[0-9.]+(e[-+]?\d+)?$|{ISO}", name) for name in header):
        return False
    counted = [str(int(header[0]) + i) for i in range(len(header))] if header[0].isdigit() else []
    return list(header) != counted


def _left(path: Path, frame: pl.DataFrame) -> list[str]:
    """The columns to read: not those without a name that are empty or number the rows."""
    left = []
    for name in frame.columns:
        if not name.startswith(UNNAMED):
            left.append(name)
        elif not (frame[name].is_null().all() or _numbers_rows(frame[name])):
            raise DataError(
                f"{path}: column {name.removeprefix(UNNAMED)} has no name in the header. Give it "
                f"one, or remove it."
            )
    return left


def _numbers_rows(column: pl.Series) -> bool:
    start = column[0] if column.dtype.is_integer() and len(column) else None
    return start is not None and column.to_list() == list(range(start, start + len(column)))


def _fault(text: str, separator: str) -> str:
    """Which line does not fit the header, or "" where none is found."""
    lines = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    width, last = len(next(lines)), 1
    try:
        for fields in lines:
            if len(fields) > width:
                return f"line {lines.line_num} has {len(fields)} fields, the header has {width}."
            last = lines.line_num
    except csv.Error:
        return f"a quotation mark on line {last + 1} stands within a cell, or is never closed."
    return ""
