"""metrics.csv: a row for each training step, and one for each look at the validation part."""

import os
from pathlib import Path

from bptt.folder.damage import damaged
from bptt.folder.files import explained
from bptt.folder.read import read_metrics
from bptt.train.state import State
from bptt.train.steps import Position

STEP = "step,epoch,seconds,train_loss,gradient_norm,clipped,learning_rate"


class MetricsFile:
    """Rows are added at the end; resuming cuts off those that came after the checkpoint.

    Args:
        path: where it lies.
        headline: the task's deciding metric; the last column is validation_<headline>.
        length: bytes to keep of a file that exists; None: start a new one.

    Raises:
        RunError: the file cannot be written.
    """

    def __init__(self, path: Path, headline: str, length: int | None = None) -> None:
        self._path = path
        with explained(path):
            self._file = path.open("wb" if length is None else "r+b")
        if length is None:
            self._write(f"{STEP},validation_loss,validation_{headline}\n")
        else:
            self._file.truncate(length)
            self._file.seek(length)

    def add_step(self, state: State, loss: float, learning_rate: float) -> None:
        """One training step: mean loss of its batch, norm of its gradient before clipping."""
        clipping = state.clipping
        self._write(
            f"{_when(state.position)},{loss:.9g},{clipping.norm:.9g},{clipping.was_clipped:d},"
            f"{learning_rate:.9g},,\n"
        )

    def add_epoch(self, state: State, loss: float, headline: float, learning_rate: float) -> None:
        """One look at the validation part, after an epoch's last step."""
        self._write(f"{_when(state.position)},,,,{learning_rate:.9g},{loss:.9g},{headline:.9g}\n")

    def length(self) -> int:
        """Bytes so far, which no crash of the machine takes back."""
        with explained(self._path):
            os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        self._file.close()

    def _write(self, row: str) -> None:
        with explained(self._path):
            self._file.write(row.encode())
            self._file.flush()


def check_metrics(path: Path, length: int) -> None:
    """Raise `RunError` unless the file is whole as far as training can go on from."""
    read_metrics(path)
    size = path.stat().st_size
    if size < length:
        raise damaged(path, f"it has {size} bytes, and had {length} at the last checkpoint")


def _when(position: Position) -> str:
    return f"{position.done},{position.epoch + 1},{position.seconds:.3f}"
