"""DropConnect on recurrent weights."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.func import functional_call

from bptt.errors import CellError
from bptt.remedies.weights import find, get
from bptt.remedies.wrapper import Wrapper, check_probability, drawn


class WeightDrop(Wrapper):
    """A cell some of whose weights are zero, by chance, for a whole sequence.

        W' = m * W / (1 - p), m Bernoulli(1 - p), drawn when an unroll begins; in evaluation W' = W

    Args:
        cell: any cell that is a module.
        p: the probability that an element of a weight is zeroed.
        weights: names of the cell's parameters, or last parts of them; a parametrized weight is
            zeroed before its parametrization. None: `Ws` or `weight_hh`, the recurrent weights of
            bptt's cells and of torch.nn's.

    Raises:
        ArgumentError: a p that is no probability, a name that no parameter has.
        CellError: a cell that is no module; in training, a step before any `begin`.

    Source: Merity, Keskar & Socher 2018, "Regularizing and optimizing LSTM language models".

    >>> import torch
    >>> from bptt import unroll
    >>> cell = WeightDrop(torch.nn.LSTMCell(3, 5), 0.5)
    >>> outputs, state = unroll(cell, torch.zeros(7, 2, 3))
    >>> outputs.sum().backward()
    >>> cell.cell.weight_hh.grad.shape
    torch.Size([20, 5])
    """

    def __init__(self, cell: Any, p: float, *, weights: str | Sequence[str] | None = None) -> None:
        super().__init__(cell)
        check_probability("p", p)
        self.p, self.weights = p, find(cell, weights)
        self.masks: dict[str, Tensor] | None = None

    def begin(self, batch_size: int) -> None:
        """Draw the masks of a sequence."""
        super().begin(batch_size)
        names = self.weights if self.training else []
        self.masks = {name: drawn(get(self.cell, name), self.p) for name in names}

    def forward(self, x: Any, state: Any) -> Any:
        """What the cell returns with its weights masked."""
        if not self.training:
            return self.cell(x, state)
        if not self.masks:
            raise CellError(
                "WeightDrop: begin(batch_size) should be called when a sequence begins in "
                "training, as bptt.unroll does; it draws the masks"
            )
        masked = {name: get(self.cell, name) * mask for name, mask in self.masks.items()}
        return functional_call(self.cell, masked, (x, state))

    def extra_repr(self) -> str:
        return f"p={self.p}, weights={', '.join(self.weights)}"
