"""A table as it lies in its file: read, its rows numbered, its columns found by name."""

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from bptt.errors import DataError
from bptt.tasks.delimited import SEPARATORS, read_delimited, tidy
from bptt.tasks.files import check_file, nearest

ROW = "\x00row"  # each row's number in the file, from 1; no column of a user's has this name
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


def read_table(path: Path) -> Table:
    """Read a CSV, TSV or Parquet file; rows without any value, such as empty lines, are left out.

    Raises:
        DataError: the file is missing, empty, not of such a type, broken, or has no rows.
    """
    suffix = path.suffix.lower()
    if suffix not in TABLES:
        raise DataError(f"{path} is no table: expected a file ending in {', '.join(TABLES)}.")
    check_file(path)
    written = suffix in SEPARATORS
    frame = read_delimited(path) if written else _read_parquet(path)
    rows = frame.with_row_index(ROW, offset=1)
    if frame.width > 1:  # else an empty line is a missing value
        rows = rows.filter(pl.any_horizontal(pl.exclude(ROW).is_not_null()))
    if rows.is_empty():
        raise DataError(f"{path} has a header but no rows; it must hold data.")
    return Table(tidy(rows, path) if written else rows, path.name)


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        what = str(error).strip().split("\n")[0]
        raise DataError(f"{path} is not a readable Parquet file: {what}") from error
