"""Variational dropout within the recurrence."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from bptt.errors import ArgumentError, CellError
from bptt.ready import initial_state
from bptt.remedies.products import MaskedProducts
from bptt.remedies.weights import find, get
from bptt.remedies.wrapper import Wrapper, check_probability, drawn


class RecurrentDropout(Wrapper):
    """A cell that drops the same units of its state, and inputs, at every step of a sequence.

        s_{t-1} Ws becomes (m * s_{t-1}) Ws, x_t becomes m' * x_t

    m (B, H) and m' (B, I) are Bernoulli(1 - p) / (1 - p), drawn when an unroll begins, in training;
    in evaluation nothing is dropped. The mask acts where the state is multiplied by a recurrent
    weight, not on the state itself, which a gate may carry on: `z * s_{t-1}` stays whole.

    Args:
        cell: any cell that is a module and multiplies by its recurrent weights with `@`, matmul, mm
            or functional.linear. torch.nn's cells do all in one function: take bptt.cells' instead.
        p: the probability that a unit of the state is dropped.
        inputs: the probability that a feature of x_t is dropped; the cell has an `input_size` then.
        weights: names of the recurrent weights, or last parts of them. None: `Ws` or `weight_hh`.

    Raises:
        ArgumentError: a p that is no probability, a name that no parameter has.
        CellError: a cell that does not fit; in training, a step before any `begin`.

    Source: Gal & Ghahramani 2016, "A theoretically grounded application of dropout in recurrent
    neural networks", with one mask for all gates.

    >>> import torch
    >>> from bptt.cells import GRU
    >>> from bptt import unroll
    >>> cell = RecurrentDropout(GRU(3, 5), 0.25, inputs=0.1)
    >>> outputs, state = unroll(cell, torch.zeros(7, 2, 3))
    >>> outputs.shape
    torch.Size([7, 2, 5])
    """

    def __init__(
        self,
        cell: Any,
        p: float,
        *,
        inputs: float = 0.0,
        weights: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(cell)
        check_probability("p", p)
        check_probability("inputs", inputs)
        self.p, self.inputs, self.weights = p, inputs, find(cell, weights)
        if inputs and not isinstance(getattr(self, "input_size", None), int):
            raise ArgumentError(
                f"inputs should be 0: {type(cell).__name__} has no input_size, so that a mask for "
                f"its inputs cannot be drawn; got {inputs}"
            )
        self.mask: Tensor | None = None
        self.input_mask: Tensor | None = None

    def begin(self, batch_size: int) -> None:
        """Draw the masks of a sequence."""
        super().begin(batch_size)
        self.mask = self.input_mask = None
        if not self.training:
            return
        like = pytree.tree_leaves(initial_state(self.cell, batch_size))[0]
        self.mask = drawn(like, self.p)
        if self.inputs:
            self.input_mask = drawn(like.new_empty(batch_size, self.input_size), self.inputs)

    def forward(self, x: Any, state: Any) -> Any:
        """What the cell returns, with units and inputs dropped."""
        if not self.training:
            return self.cell(x, state)
        if self.mask is None:
            raise CellError(
                "RecurrentDropout: begin(batch_size) should be called when a sequence begins in "
                "training, as bptt.unroll does; it draws the masks"
            )
        x = x if self.input_mask is None else x * self.input_mask
        weights = [get(self.cell, name) for name in self.weights]
        products = MaskedProducts(weights, self.mask, pytree.tree_leaves((x, state)))
        with products:
            result = self.cell(x, state)
        products.check()
        return result

    def extra_repr(self) -> str:
        return f"p={self.p}, inputs={self.inputs}, weights={', '.join(self.weights)}"
