"""Cells by name: the package's own, and the user's as module:Class."""

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from bptt import cells, errors
from bptt.errors import CellError
from bptt.unroll import unroll

LIBRARIES = (Path(torch.__file__).parent, Path(cells.__file__).parent.parent)
NAMED = {
    "elman": "Elman",
    "gru": "GRU",
    "lstm": "LSTM",
    "leaky": "Leaky",
    "mgu": "MGU",
    "ugrnn": "UGRNN",
    "indrnn": "IndRNN",
    "rhn": "RHN",
    "layer-norm-gru": "LayerNormGRU",
    "layer-norm-lstm": "LayerNormLSTM",
    "peephole-lstm": "PeepholeLSTM",
    "slstm": "SLSTM",
}


def make_cell(cell: str, hidden: int) -> Callable[[int], nn.Module]:
    """A function from input size to a new cell, for a cell's name or module:Class.

    The module is looked for in the current folder first, then where Python looks.

    Raises:
        CellError: there is no such cell, or it cannot be made.

    >>> make_cell("elman", 5)(3).hidden_size
    5
    """
    kind = _find(cell)
    return lambda input_size: _construct(cell, kind, input_size, hidden)


def output_size(cell: str, hidden: int, input_size: int) -> int:
    """Features of a cell's outputs, found by one step on zeros.

    Raises:
        CellError: the step failed, or its output is not one tensor (B, K).

    >>> output_size("lstm", 5, 3)
    5
    """
    one = make_cell(cell, hidden)(input_size)
    with explained_cell(cell), torch.no_grad():
        outputs, _ = unroll(one, torch.zeros(1, 1, input_size))
    if not isinstance(outputs, Tensor) or outputs.dim() != 3:
        raise CellError(f"expected the cell {cell} to give one tensor (B, K) at a step")
    return outputs.shape[-1]


@contextmanager
def explained_cell(cell: str) -> Iterator[None]:
    """Turn what a user's own cell raises as it runs into a `CellError` with the line it came from.

    The package's errors pass as they are: they say what they have to say.
    """
    try:
        yield
    except Exception as error:
        if cell in NAMED or type(error).__module__ == errors.__name__:
            raise
        raise CellError(_failure(cell, "a step failed", error)) from error


def short_name(cell: str) -> str:
    """A cell's name for a run's folder.

    >>> short_name("gru"), short_name("my.cells:LeakyUnit")
    ('gru', 'leakyunit')
    """
    return cell.rpartition(":")[2].lower()


def _find(cell: str) -> type[nn.Module]:
    if cell in NAMED:
        return getattr(cells, NAMED[cell])
    module, colon, name = cell.partition(":")
    if not (module and colon and name):
        raise CellError(
            f"expected the cell to be {', '.join(NAMED)}, or your own as module:Class; got {cell!r}"
        )
    kind = getattr(_import(cell, module), name, None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        what = "nothing of that name" if kind is None else f"{kind!r} there"
        raise CellError(
            f"expected {cell} to be a class derived from torch.nn.Module in module {module}; "
            f"found {what}"
        )
    return kind


def _import(cell: str, module: str) -> object:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] and error.name != module:
            raise CellError(_failure(cell, f"importing {module} failed", error)) from error
        raise CellError(
            f"there is no module {module} for the cell {cell}: expected {module}.py in this "
            "folder, or an installed package of that name"
        ) from error
    except Exception as error:
        raise CellError(_failure(cell, f"importing {module} failed", error)) from error


def _construct(cell: str, kind: type[nn.Module], input_size: int, hidden: int) -> nn.Module:
    try:
        return kind(input_size, hidden)
    except Exception as error:
        call = f"{kind.__name__}({input_size}, {hidden})"
        raise CellError(_failure(cell, f"{call} failed", error)) from error


def _failure(cell: str, what: str, error: Exception) -> str:
    """What went wrong in the user's code, and in which line of it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not any(map(Path(f.filename).is_relative_to, LIBRARIES))]
    line = (own or frames)[-1]
    return (
        f"the cell {cell} could not be used: {what} with {type(error).__name__}: {error} "
        f"({line.filename}, line {line.lineno}). Expected a cell made by "
        "Class(input_size, hidden_size), with step cell(x_t, state)"
    )
