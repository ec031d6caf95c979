"""A cell around a cell, which shows more of it than its output."""

from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bptt.ready import initial_state
from bptt.step import read_protocol
from bptt.structure import Structure, leaves_of


class Around(nn.Module):
    """What all of these share: the cell's start, and its sizes, which errors speak of."""

    def __init__(self, cell: Any) -> None:
        super().__init__()
        self.cell = cell
        for name in ("input_size", "hidden_size"):
            if isinstance(getattr(cell, name, None), int):
                setattr(self, name, getattr(cell, name))

    def initial_state(self, batch_size: int) -> Any:
        """What the cell starts from."""
        return initial_state(self.cell, batch_size)

    def begin(self, batch_size: int) -> None:
        """A sequence begins: the cell is told, should it want to know."""
        begin: Any = getattr(self.cell, "begin", None)
        if begin is not None:
            begin(batch_size)


class Witness(Around):
    """A cell whose outputs are the states before and after the step, leaf by leaf."""

    def forward(self, x: Any, state: Any) -> Any:
        _, after = with_output(self.cell(x, state), state)
        return (leaves_of(state), leaves_in_order(after, state)), after


class OneUnit(Around):
    """A cell whose output is one number of its new state, (B,).

    Args:
        cell: the cell.
        leaf: the number of the state's leaf.
        place: of the number in that leaf's row.
    """

    def __init__(self, cell: Any, leaf: int, place: int) -> None:
        super().__init__(cell)
        self.leaf, self.place = leaf, place

    def forward(self, x: Any, state: Any) -> tuple[Tensor, Any]:
        _, after = with_output(self.cell(x, state), state)
        return leaves_in_order(after, state)[self.leaf].flatten(1)[:, self.place], after


def leaves_in_order(after: Any, before: Any) -> list[Tensor]:
    """The leaves of a new state in the order of the old one's."""
    leaves = Structure(before).flatten(after)
    assert leaves is not None  # as `read_protocol` has seen
    return leaves


def with_output(result: Any, before: Any) -> tuple[Any, Any]:
    """What a cell returned as a pair of output and state, from a state of the given structure."""
    if read_protocol(result, Structure(before)).bare:
        return pytree.tree_leaves(result)[0], result
    return result[0], result[1]
