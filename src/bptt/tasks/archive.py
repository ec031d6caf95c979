"""The `.ts` files of the UCR and UEA archives of time series classification.

A header of lines such as `@univariate false`, then `@data`, then a sequence a line: its dimensions
separated by colons, each a comma-separated row of values, `?` where one is missing, and the class
label last. Sequences may differ in length. The format is that of Bagnall et al., "The UEA
multivariate time series classification archive", 2018.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from bptt.errors import DataError
from bptt.tasks.files import nearest, read_utf8
from bptt.tasks.table import ROW, Table

SEQUENCE, LABEL = "sequence", "label"
KNOWN = (
    "@problemname", "@timestamps", "@missing", "@univariate", "@dimension", "@dimensions",
    "@equallength", "@serieslength", "@classlabel", "@targetlabel", "@data",
)  # fmt: skip


def pair_of(path: Path) -> tuple[Path, Path] | None:
    """The archive's own TRAIN and TEST files, given either; None where a file has no partner."""
    for mine, other in (("_TRAIN", "_TEST"), ("_TEST", "_TRAIN")):
        partner = path.with_name(path.stem.removesuffix(mine) + other + path.suffix)
        if path.stem.endswith(mine) and partner.exists():
            return (path, partner) if mine == "_TRAIN" else (partner, path)
    return None


def read_archive(path: Path) -> Table:
    """Read a `.ts` file as a long table: sequence, one column for each dimension, label.

    Raises:
        DataError: the file is missing, not UTF-8, or not such a file; the message names the line.
    """
    lines = read_utf8(path).splitlines()
    head, first = _header(path, lines)
    frames = list(_sequences(path, lines, head, first))
    if not frames:
        raise DataError(f"{path} has no sequence after its @data line; it must hold data.")
    widths = [frame.width for frame in frames]
    for frame, width in zip(frames, widths, strict=True):
        if width != widths[0]:
            raise DataError(
                f"{path}, line {frame[ROW][0]}: expected {widths[0] - 3} dimensions separated by "
                f"colons and a label, as on line {frames[0][ROW][0]}; got {width - 3} dimensions."
            )
    return Table(pl.concat(frames), path.name, unit="line")


def _header(path: Path, lines: list[str]) -> tuple[dict[str, list[str]], int]:
    """The words after each @name, and the index of the line after @data."""
    head: dict[str, list[str]] = {}
    for number, line in enumerate(lines):
        words = line.split()
        if not words or line.startswith(("#", "%")):
            continue
        name = words[0].lower()
        if name not in KNOWN:
            raise DataError(
                f"{path}, line {number + 1}: expected a header line such as @classLabel, or @data; "
                f"got {words[0][:40]!r}.{nearest(name, KNOWN)}"
            )
        head[name] = words[1:]
        if name == "@data":
            _check_header(path, head)
            return head, number + 1
    raise DataError(f"{path} has no @data line; a .ts file has one before its sequences.")


def _check_header(path: Path, head: dict[str, list[str]]) -> None:
    if _says(head, "@timestamps"):
        raise DataError(f"{path}: @timeStamps true is not read. Save it with values alone.")
    if not _says(head, "@classlabel"):
        raise DataError(
            f"{path} has no class labels (@classLabel true a b ...), which classify needs."
        )


def _says(head: dict[str, list[str]], name: str) -> bool:
    """Whether a header line says true."""
    return [word.lower() for word in head.get(name, [])[:1]] == ["true"]


def _check_promises(where: str, head: dict[str, list[str]], frame: pl.DataFrame) -> None:
    """The header's numbers against those of the first sequence."""
    found = {"@dimensions": frame.width - 3, "@dimension": frame.width - 3}
    if _says(head, "@equallength"):
        found["@serieslength"] = len(frame)
    for name, count in found.items():
        said = " ".join(head.get(name, [str(count)]))
        if said != str(count):
            what = "steps" if name == "@serieslength" else "of them, separated by colons"
            raise DataError(
                f"{where}: the header says {name} {said}; this sequence has {count} {what}. "
                "Mend the header, or the data."
            )
    if _says(head, "@univariate") and frame.width - 3 > 1:
        raise DataError(
            f"{where}: the header says @univariate true; this sequence has {frame.width - 3} "
            "dimensions separated by colons. Mend the header, or the data."
        )


def _sequences(
    path: Path, lines: list[str], head: dict[str, list[str]], first: int
) -> Iterator[pl.DataFrame]:
    """A table for each sequence."""
    labels = head["@classlabel"][1:]
    equal = _says(head, "@equallength")
    size = None
    for number, line in enumerate(lines[first:], first + 1):
        if not line.strip() or line.startswith(("#", "%")):
            continue
        frame = _sequence(path, number, line, labels)
        if size is None:
            size = len(frame)
            _check_promises(f"{path}, line {number}", head, frame)
        if equal and len(frame) != size:
            raise DataError(
                f"{path}, line {number}: the header says @equalLength true and the first sequence "
                f"has {size} steps; this one has {len(frame)}."
            )
        yield frame


def _sequence(path: Path, number: int, line: str, labels: list[str]) -> pl.DataFrame:
    where = f"{path}, line {number}"
    *dimensions, label = line.strip().split(":")
    if not dimensions:
        raise DataError(f"{where}: expected values, a colon and a class label; found no colon.")
    if labels and label.strip() not in labels:
        raise DataError(
            f"{where}: the label {label.strip()!r} is not among those of the header's @classLabel: "
            f"{', '.join(labels[:20])}."
        )
    values = [_values(where, d, text) for d, text in enumerate(dimensions, 1)]
    for d, row in enumerate(values, 1):
        if len(row) != len(values[0]):
            raise DataError(
                f"{where}: every dimension of a sequence has as many steps; dimension 1 has "
                f"{len(values[0])}, dimension {d} has {len(row)}."
            )
    return pl.DataFrame(
        {ROW: number, SEQUENCE: f"{path.name}:{number}"}
        | {f"dimension_{d}": row for d, row in enumerate(values, 1)}
        | {LABEL: label.strip()}
    )


def _values(where: str, dimension: int, text: str) -> list[float]:
    """The numbers of one dimension; NaN for `?`."""
    values = []
    for cell in text.split(","):
        try:
            values.append(float("nan") if cell.strip() == "?" else float(cell))
        except ValueError:
            raise DataError(
                f"{where}: dimension {dimension} must hold numbers, or ? where one is missing; "
                f"it holds {cell.strip()[:40]!r}."
            ) from None
    return values
