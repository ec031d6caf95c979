"""One process at a time trains a run."""

import os
import platform
import warnings
import weakref
from pathlib import Path

from bptt.errors import RunError, RunWarning


class Lock:
    """Keeps a run's folder for this process until `release`, or until it ends, however it ends.

    A file is locked, not made: what a killed process leaves locks nobody out. On Windows nothing is
    locked.

    Args:
        path: the file; whoever holds it writes who they are into it.

    Raises:
        RunError: another process holds it.

    Warns:
        RunWarning: the file system knows no locks.
    """

    def __init__(self, path: Path) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self.release = weakref.finalize(self, os.close, handle)
        if os.name != "posix":
            return
        try:
            _lock(handle)
        except BlockingIOError as error:
            raise RunError(
                f"{path.parent.parent} is being trained at this moment, by "
                f"{os.read(handle, 200).decode() or 'another process'}. Wait until it is done, or "
                "stop it first"
            ) from error
        except OSError as error:
            note = f"{path} cannot be locked ({error.strerror}): let only one process train the run"
            warnings.warn(note, RunWarning, stacklevel=2)
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {platform.node()}".encode())


def _lock(handle: int) -> None:
    import fcntl  # there is none on Windows

    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
