"""Modules of bptt.nn as one cell: all layers in one step, the read-out inside."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.utils import _pytree as pytree

from bptt.around import Around, with_output
from bptt.nn.drop_in import DropIn
from bptt.nn.network import Network
from bptt.nn.recurrent import Recurrent
from bptt.ready import initial_state


class Stacked(nn.Module):
    """Layers on top of each other as one cell, whose state is a tuple over layers.

    Args:
        model: a module of `bptt.nn` of one direction; its parameters are shared.
    """

    def __init__(self, model: DropIn | Recurrent) -> None:
        super().__init__()
        self.model = _without_flat_weights(model) if isinstance(model, DropIn) else model

    def initial_state(self, batch_size: int) -> tuple:
        """What each layer starts from."""
        return tuple(initial_state(cell, batch_size) for cell in self._cells())

    def begin(self, batch_size: int) -> None:
        """A sequence begins: layers are told, should they want to know."""
        for cell in self._cells():
            begin: Any = getattr(cell, "begin", None)
            if begin is not None:
                begin(batch_size)

    def forward(self, x: Any, state: Sequence) -> tuple[Any, tuple]:
        """The last layer's output, and all layers' states."""
        p = self.model.dropout if self.model.training else 0.0
        after = []
        for depth, (cell, before) in enumerate(zip(self._cells(), state, strict=True)):
            if depth and p:
                x = pytree.tree_map(lambda leaf: dropout(leaf, p), x)
            x, new = with_output(cell(x, before), before)
            after.append(new)
        return x, tuple(after)

    def _cells(self) -> list[nn.Module]:
        return [cell for (cell,) in self.model.layers()]


class ReadOut(Around):
    """A cell and a network's read-out of it as one cell, whose output is the network's scores."""

    def __init__(self, cell: Any, network: Network) -> None:
        super().__init__(cell)
        self.Wy, self.by = network.Wy, network.by

    def forward(self, x: Any, state: Any) -> tuple[Tensor, Any]:
        """s_t Wy + by, and s_t."""
        read, after = with_output(self.cell(x, state), state)
        scores = read @ self.Wy
        return scores if self.by is None else scores + self.by, after


def _without_flat_weights(model: DropIn) -> DropIn:
    """The same module, parameters shared, less the list of weights that torch keeps beside them.

    Where a weight is computed from others, that list holds what it was at some earlier time.
    """
    shared = object.__new__(type(model))
    shared.__dict__ = {**vars(model), "_flat_weights": [], "_flat_weight_refs": []}
    return shared
