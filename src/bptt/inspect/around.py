"""Cells around a cell: what they show of it."""

from typing import Any

from torch import Tensor

from bptt.around import Around, with_output
from bptt.structure import Structure, leaves_of


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
