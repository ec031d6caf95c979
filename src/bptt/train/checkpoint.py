"""A training state on disk: written whole, read without running anything that it holds."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from bptt.folder.damage import FORMAT, check_format, damaged, missing
from bptt.folder.files import write_atomically
from bptt.version import __version__


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a state of numbers, strings, tensors, lists and dicts. Raises `RunError` on failure."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "bptt": __version__, **state}, buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Raises:
        RunError: it is missing, damaged, of a newer version, or holds anything but plain data;
            nothing that it holds is run.
    """
    _check_whole(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        what = "it holds more than numbers, so it was not read: it may run code of somebody's"
        raise damaged(path, what) from error
    except (RuntimeError, TypeError, KeyError, EOFError) as error:
        raise damaged(path, f"it is no checkpoint of a run: {error!r}") from error
    if not isinstance(state, dict):
        raise damaged(path, "it is no checkpoint of a run")
    check_format(path, state)
    return state


def _check_whole(path: Path) -> None:
    """Compare the parts of the zip file with their checksums, which torch.load does not do."""
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
    except FileNotFoundError as error:
        raise missing(path) from error
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise damaged(path, error) from error
    if wrong:
        raise damaged(path, f"{wrong} does not match its checksum")
