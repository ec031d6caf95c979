"""A cell's recurrent weights, by name."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from bptt.errors import ArgumentError, CellError

# What bptt's own cells and torch.nn's call the weights that multiply the state.
RECURRENT = ("Ws", "weight_hh")


def find(cell: Any, names: str | Sequence[str] | None) -> list[str]:
    """The full names of a cell's parameters of these names.

    Args:
        cell: a module.
        names: full names, or their last parts (`"Ws"` finds `"cell.Ws"` too); a parametrized weight
            goes by its own name. None: those of `RECURRENT`.

    Raises:
        CellError: a cell that is no module.
        ArgumentError: a name that no parameter has.

    >>> find(nn.GRUCell(2, 3), None)
    ['weight_hh']
    """
    if not isinstance(cell, nn.Module):
        raise CellError(f"cell should be a module, whose weights have names, got {cell!r}")
    plain = {full: _plain(full) for full, _ in cell.named_parameters()}
    wanted = [names] if isinstance(names, str) else list(RECURRENT if names is None else names)
    found = {name: [f for f, p in plain.items() if _matches(p, name)] for name in wanted}
    missing = [name for name, full in found.items() if not full]
    if missing and (names is not None or len(missing) == len(wanted)):
        raise ArgumentError(
            f"weights should name parameters of {type(cell).__name__}, which has "
            f"{', '.join(plain.values()) or 'none'}; got {', '.join(map(repr, missing))}"
            f"{' by default' if names is None else ''}"
        )
    return list(dict.fromkeys(full for several in found.values() for full in several))


def get(cell: nn.Module, full: str) -> Tensor:
    """The tensor that a parameter is at present."""
    path, _, name = full.rpartition(".")
    weight = cell.get_submodule(path)._parameters[name]
    assert weight is not None
    return weight


def _plain(full: str) -> str:
    """`cell.parametrizations.Ws.original` is `cell.Ws`."""
    before, parametrized, after = full.rpartition("parametrizations.")
    return before + after.split(".")[0] if parametrized else full


def _matches(plain: str, name: str) -> bool:
    return plain == name or plain.endswith(f".{name}")
