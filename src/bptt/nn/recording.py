"""A cell that also gives its states away."""

from typing import Any

from torch import nn
from torch.utils import _pytree as pytree

from bptt.step import read_protocol
from bptt.structure import Structure
from bptt.unroll import initial_state


class Recording(nn.Module):
    """A cell whose output is `(y_t, s_t)`, so that an unroll returns the states of all steps."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def initial_state(self, batch_size: int) -> Any:
        return initial_state(self.cell, batch_size)

    def begin(self, batch_size: int) -> None:
        begin: Any = getattr(self.cell, "begin", None)
        if begin is not None:
            begin(batch_size)

    def forward(self, x: Any, state: Any) -> Any:
        result = self.cell(x, state)
        if read_protocol(result, Structure(state)).bare:
            return (pytree.tree_leaves(result)[0], result), result
        return result, result[1]
