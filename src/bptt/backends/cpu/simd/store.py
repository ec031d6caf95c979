"""Where object files are kept between processes.

A file holds a checksum and an object; the source that it was made from lies beside it, to be read.
Files are written whole: under another name first, so that neither a killed process nor two at once
leave half of one. Where none can be written, everything works, but each process compiles anew.
"""

import contextlib
import functools
import hashlib
import os
import tempfile
import time
import warnings
from pathlib import Path

KEPT = 1000  # object files
STALE = 3600  # seconds after which a file that was being written is a dead process's


def read(key: str) -> bytes | None:
    """The object of a key; None if there is none, or if it is damaged."""
    try:
        whole = (folder() / f"{key}.o").read_bytes()
    except (OSError, RuntimeError):
        return None
    size = hashlib.sha256().digest_size
    return whole[size:] if hashlib.sha256(whole[size:]).digest() == whole[:size] else None


def write(key: str, code: bytes, source: str) -> None:
    """Keeps an object and its source; warns once in a process if that cannot be done."""
    try:
        place = folder()
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(place / f"{key}.py", source.encode())
        _write(place / f"{key}.o", hashlib.sha256(code).digest() + code)
        _clear(place)
    except (OSError, RuntimeError) as error:
        _warn(str(error).rstrip("."))


def folder() -> Path:
    """`BPTT_CACHE`, else `bptt` in `XDG_CACHE_HOME`, else in `~/.cache`.

    Raises:
        RuntimeError: if none is set and there is no home.
    """
    if given := os.environ.get("BPTT_CACHE"):
        return Path(given)
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (shared if shared.is_absolute() else Path.home() / ".cache") / "bptt"


def _write(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _clear(place: Path) -> None:
    """Removes the oldest fifth when there are too many, and what killed processes left."""
    objects = list(place.glob("*.o"))
    old = []
    if len(objects) > KEPT:
        old = sorted(objects, key=_age, reverse=True)[: len(objects) - KEPT * 4 // 5]
        old += [path.with_suffix(".py") for path in old]
    for path in (*old, *(part for part in place.glob("*.part") if _age(part) > STALE)):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            path.unlink()


def _age(path: Path) -> float:
    """Seconds since a file was written; none if it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


@functools.cache
def _warn(reason: str) -> None:
    warnings.warn(
        "compiled kernels could not be kept, so that every process compiles them anew: "
        f"{reason}. Set BPTT_CACHE to a directory that can be written.",
        stacklevel=2,
    )
