"""Cells by name: the package's own, and the user's as module:Class."""

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import TypeGuard

import torch
from torch import Tensor, nn

from bptt import cells
from bptt.cells.parts import Cell
from bptt.errors import CellError
from bptt.tasks.table import nearest
from bptt.unroll import unroll

LIBRARIES = (Path(torch.__file__).parent, Path(cells.__file__).parent.parent)


def _fits(kind: object) -> TypeGuard[type[nn.Module]]:
    """Whether it is a cell that two sizes make, and that takes one tensor at a step."""
    if not (isinstance(kind, type) and issubclass(kind, Cell)):
        return False
    needed = [p for p in signature(kind).parameters.values() if p.default is p.empty]
    x = list(signature(kind.forward).parameters.values())[1]
    return len(needed) == 2 and x.annotation is Tensor


def _name(kind: type) -> str:
    """What the user calls a cell: its file's name, as layer-norm-lstm."""
    return kind.__module__.rpartition(".")[2].replace("_", "-")


NAMED = {_name(kind): kind for kind in map(vars(cells).get, cells.__all__) if _fits(kind)}


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
    if not (hasattr(one, "initial_state") or isinstance(one, nn.RNNCellBase)):
        raise CellError(
            f"the cell {cell} does not say what it starts from. Give {type(one).__name__} a method"
            "\n\n    def initial_state(self, batch_size):\n        return "
            f"torch.zeros(batch_size, {hidden})  # or whatever its state is\n"
        )
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
        if cell in NAMED or type(error).__module__.partition(".")[0] == __name__.partition(".")[0]:
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
        return NAMED[cell]
    module, colon, name = cell.partition(":")
    if not (module and colon and name):
        known = ", ".join(sorted(NAMED))
        raise CellError(
            f"there is no cell {cell!r}.{nearest(cell, NAMED)} Expected {known}, or your own as "
            "module:Class or file.py:Class"
        )
    found = _import(cell, module)
    kind = getattr(found, name, None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        what = "nothing of that name" if kind is None else f"{kind!r} there"
        hint = nearest(name, vars(found)) if kind is None else ""
        raise CellError(
            f"expected {name} to be a class derived from torch.nn.Module in {found.__file__}; "
            f"found {what}.{hint}"
        )
    return kind


def _import(cell: str, module: str) -> ModuleType:
    """A user's module, by its name or by its file's."""
    if module.endswith(".py"):
        path = Path(module)
        if not path.is_file():
            raise CellError(f"there is no file {module} for the cell {cell}")
        folder, module = str(path.parent), path.stem
    else:
        folder = ""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise CellError(_failure(cell, f"importing {module} failed", error)) from error
        raise CellError(
            f"there is no module {module} for the cell {cell}: expected "
            f"{module.replace('.', '/')}.py below this folder, or an installed package of that name"
        ) from error
    except Exception as error:
        raise CellError(_failure(cell, f"importing {module} failed", error)) from error


def _construct(cell: str, kind: type[nn.Module], input_size: int, hidden: int) -> nn.Module:
    try:
        return kind(input_size, hidden)
    except Exception as error:
        if cell in NAMED:
            raise
        call = f"{kind.__name__}({input_size}, {hidden})"
        what = f"{call} failed, which is Class(input_size, hidden_size),"
        raise CellError(_failure(cell, what, error)) from error


def _failure(cell: str, what: str, error: Exception) -> str:
    """What went wrong in the user's code, and in which line of it."""
    told, place = str(error), ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not any(map(Path(f.filename).is_relative_to, LIBRARIES))]
    if isinstance(error, SyntaxError):
        told, code = error.msg, (error.text or "").strip()
        place = f"\n  {error.filename}, line {error.lineno}:  {code}"
    elif own:
        place = f"\n  {own[-1].filename}, line {own[-1].lineno}:  {own[-1].line}"
    return f"the cell {cell} could not be used: {what} with {type(error).__name__}: {told}{place}"
