"""The user's own matrices, from Python or from a file."""

import difflib
import json
import math
import tomllib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bptt.errors import ArgumentError, DataError
from bptt.lesson.sizes import AXES


def to_array(name: str, value: Any) -> Tensor:
    """One of Wx, Ws, Wy, s0, x, d as a float64 tensor.

    Args:
        name: which of them.
        value: a tensor or nested lists of numbers. A single number stands for an array of size 1,
            and for x and d a flat list stands for one number a step.

    Raises:
        ArgumentError: rows of unequal length, or something that is not a finite number.

    >>> to_array("x", [1, 2, 3]).shape, to_array("Ws", 0.5).shape
    (torch.Size([3, 1]), torch.Size([1, 1]))
    """
    if name not in AXES:
        raise ArgumentError(
            f"there is no array {name!r}; there are {', '.join(AXES)}.{_meant(name)}"
        )
    if not isinstance(value, Tensor):
        _check_numbers(name, value)
    array = torch.as_tensor(value, dtype=torch.float64).detach()
    if array.ndim == 0:
        array = array.reshape([1] * len(AXES[name]))
    return array[:, None] if array.ndim == 1 and AXES[name][0] == "t" else array


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays in a JSON or TOML file: an object with any of Wx, Ws, Wy, s0, x, d.

    Raises:
        DataError: the file is missing, cannot be read as JSON or TOML, or names something else.
    """
    values = _parse(path, _text(path))
    if not isinstance(values, dict):
        raise DataError(f"{path} holds a {type(values).__name__}; it must hold {_form(path)}")
    for name in values:
        if name not in AXES:
            raise DataError(f"{path} names {name!r}; it may name {', '.join(AXES)}.{_meant(name)}")
    if not values:
        raise DataError(f"{path} names no array; it must hold {_form(path)}")
    return values


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: byte {error.start} is not.") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from error


def _parse(path: Path, text: str) -> Any:
    readers = {".json": json.loads, ".toml": tomllib.loads}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path} must end in .json or .toml, to tell how it is to be read.")
    try:
        return readers[path.suffix.lower()](text)
    except ValueError as error:  # what both readers raise is one
        form = path.suffix[1:].upper()
        raise DataError(f"{path} is not {form}: {error}. It must hold {_form(path)}") from error


def _form(path: Path) -> str:
    if path.suffix.lower() == ".json":
        return 'an object such as {"Wx": [[0.5, -0.3]], "s0": [0, 0]}.'
    return "lines such as  Wx = [[0.5, -0.3]]  and  s0 = [0.0, 0.0]."


def _meant(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), [known.lower() for known in AXES], n=1)
    return f" Did you mean {next(k for k in AXES if k.lower() == close[0])}?" if close else ""


def _check_numbers(name: str, value: Any) -> None:
    """Refuse what torch would refuse, or take, without naming the array."""
    if isinstance(value, list | tuple):
        for item in value:
            _check_numbers(name, item)
        lengths = {len(item) if isinstance(item, list | tuple) else None for item in value}
        if len(lengths) > 1:
            raise ArgumentError(
                f"the rows of {name} differ in length: {value}. Give them all one length."
            )
    elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ArgumentError(f"{name} holds {value!r}; each of its entries must be a finite number.")
