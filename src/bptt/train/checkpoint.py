"""A training state on disk: written whole, read without running anything that it holds."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from bptt.errors import RunError
from bptt.train.config import FORMAT, check_format
from bptt.train.files import write_atomically
from bptt.version import __version__

MEND = "This run cannot go on; its model.safetensors still works. Train again to a new folder"


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
        check_format(state)
    except pickle.UnpicklingError as error:
        raise RunError(
            f"{path} holds more than numbers, so it was not read: it may run code that somebody "
            f"else put there. {MEND}"
        ) from error
    except RunError as error:
        raise RunError(f"{path} cannot be used: {error}") from error
    except (RuntimeError, TypeError, KeyError, EOFError) as error:
        raise RunError(f"{path} is no checkpoint of a run: {error!r}. {MEND}") from error
    return state


def _check_whole(path: Path) -> None:
    """Compare the parts of the zip file with their checksums, which torch.load does not do."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except FileNotFoundError as error:
        raise RunError(
            f"there is no checkpoint {path}, so there is nothing to go on from. {MEND}"
        ) from error
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise RunError(f"{path} is damaged or no checkpoint at all: {error}. {MEND}") from error
    if damaged:
        raise RunError(f"{path} is damaged: {damaged} does not match its checksum. {MEND}")
