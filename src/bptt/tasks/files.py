"""A file as it is named and as it lies on the disk."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from bptt.errors import DataError

DATA = (".csv", ".tsv", ".parquet", ".ts", ".txt")


SHIPPED = Path(__file__).parent / "data"  # the data sets that come with the package


def spoken(path: Path) -> str:
    """How messages name a data file: as the user did, also one that comes with the package.

    >>> spoken(SHIPPED / "co2.csv"), spoken(Path("shop/co2.csv"))
    ('co2', 'shop/co2.csv')
    """
    return path.stem if path.parent == SHIPPED else str(path)


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
    return _asked(path.stem, {p.stem: str(p) for p in files if p.suffix.lower() in DATA})


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
