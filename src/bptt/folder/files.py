"""Files that are either whole or not there."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bptt.errors import RunError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that, killed at any moment, the old one or the new one is there, whole.

    Raises:
        RunError: the disk is full, or the folder cannot be written. The old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with explained(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong in writing a file into a `RunError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(
                f"the disk is full: {path} could not be written. Files written before are whole. "
                f"Free some space; a run that had begun goes on with --resume"
            ) from error
        raise RunError(f"{path} could not be written: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    # Without it a file renamed just before the power fails may be under neither name.
    if os.name != "posix":
        return  # Windows neither needs it nor opens folders
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
