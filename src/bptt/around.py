"""A cell around a cell, which shows more of it than its output."""

from typing import Any

from torch import nn
from torch.utils import _pytree as pytree

from bptt.ready import initial_state
from bptt.step import read_protocol
from bptt.structure import Structure


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


def with_output(result: Any, before: Any) -> tuple[Any, Any]:
    """What a cell returned as a pair of output and state, from a state of the given structure."""
    if read_protocol(result, Structure(before)).bare:
        return pytree.tree_leaves(result)[0], result
    return result[0], result[1]
