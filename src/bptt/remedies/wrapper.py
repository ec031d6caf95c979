"""What every remedy here shares: a cell around a cell."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import dropout

from bptt import check
from bptt.errors import ArgumentError, CellError
from bptt.ready import initial_state
from bptt.step import read_protocol
from bptt.structure import Structure


class Wrapper(nn.Module):
    """A cell around a cell: the same state, sizes and start.

    Attributes:
        cell: the cell inside.
    """

    cell: Any

    def __init__(self, cell: Any) -> None:
        super().__init__()
        if not callable(cell) or isinstance(cell, type):
            raise CellError(
                f"{type(self).__name__}: cell should be a cell, as bptt.unroll takes it, got "
                f"{cell!r}"
            )
        check.one_step(cell)
        self.cell = cell

    def __getattr__(self, name: str) -> Any:
        """What the cell inside has: its sizes, and what it starts from if it says so."""
        if name in ("input_size", "hidden_size"):
            return getattr(self.cell, name)
        if name == "initial_state":
            cell = self.cell
            if hasattr(cell, name) or isinstance(cell, nn.RNNCellBase):
                return partial(initial_state, cell)
        return super().__getattr__(name)

    def begin(self, batch_size: int) -> None:
        """A sequence begins: the cell inside is told, should it want to know."""
        begin = getattr(self.cell, "begin", None)
        if begin is not None:
            begin(batch_size)


def with_state(result: Any, before: Any, change: Callable[[list[Tensor]], list[Tensor]]) -> Any:
    """What a cell returned, its new state's leaves changed.

    Args:
        result: the new state, or a pair of output and new state.
        before: the state that the step was given, whose structure says which.
        change: from the new state's leaves, in the order of that structure, to others.
    """
    structure = Structure(before)
    bare = read_protocol(result, structure).bare
    leaves = structure.flatten(result if bare else result[1])
    assert leaves is not None
    changed = structure.unflatten(change(leaves))
    return changed if bare else (result[0], changed)


def check_probability(name: str, p: Any) -> None:
    """Raise ArgumentError unless p is a number from 0 to 1."""
    if not isinstance(p, int | float) or isinstance(p, bool) or not 0 <= p <= 1:
        raise ArgumentError(f"{name} should be a probability, from 0 to 1, got {p!r}")


def drawn(like: Tensor, p: float) -> Tensor:
    """A mask in the shape of `like`: 0 with probability p, else 1 / (1 - p)."""
    return dropout(like.detach().new_ones(like.shape), p)
