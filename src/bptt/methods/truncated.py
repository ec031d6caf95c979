"""A gradient that goes back so many steps and no further."""

from dataclasses import dataclass

from torch import Tensor

from bptt.errors import ArgumentError, StructureError
from bptt.methods.spans import Spans, blocks

LOSSES = ("new", "last")


@dataclass(frozen=True)
class Truncated:
    """Truncated back-propagation through time: every k1 steps, go back k2 steps.

    At the end of each block of k1 steps, and of the sequence, the block's losses go back through
    the last k2 steps; the state before those is a constant. One `loss.backward()` gives the sum
    over blocks. Where the k2 steps reach a sequence's first one, the gradient goes on into the
    initial state, so k2 >= T is exact. Each sequence is treated as if it were alone. The final
    state's gradient enters with the last block.

    A gradient of this gradient counts how the states at the cuts depend on the weights. Where the
    loss is not linear in the outputs, what goes through the outputs once more is truncated too.

    Args:
        k1: steps of a block.
        k2: steps to go back, at least k1.
        losses: "new": all k1 losses of a block enter; "last": the one at its last step.

    Raises:
        ArgumentError: (a ValueError) k1 below 1, k2 below k1, losses of another name.
        StructureError: (a TypeError) k1 or k2 is not an integer.

    Source: Williams & Peng 1990, BPTT(k2; k1); Sutskever 2013, section 2.8.6.

    >>> import torch, bptt
    >>> w = torch.tensor(0.2, requires_grad=True)
    >>> _, state = bptt.unroll(
    ...     lambda x, h: w * h, torch.zeros(4, 1, 1), torch.tensor([[0.9]]),
    ...     method=Truncated(1, 3),
    ... )
    >>> state.sum().backward()
    >>> round(float(w.grad), 6)  # three steps of w^3 * 0.9, from a constant at t = 1
    0.0216
    """

    k1: int
    k2: int
    losses: str = "new"

    def __post_init__(self) -> None:
        for name in ("k1", "k2"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise StructureError(f"{name}: expected an integer number of steps, got {value!r}.")
        if self.k1 < 1:
            raise ArgumentError(f"k1: expected a block of at least 1 step, got {self.k1}.")
        if self.k2 < self.k1:
            raise ArgumentError(
                f"k2: expected at least k1 = {self.k1}, or losses of a block would be left out, "
                f"got {self.k2}. Go back {self.k1} steps or more, or make the blocks shorter."
            )
        if self.losses not in LOSSES:
            raise ArgumentError(
                f"losses: expected 'new' (all k1 of a block) or 'last' (the one at its end), got "
                f"{self.losses!r}."
            )

    @property
    def alike(self) -> "Truncated":
        """A hashable way with the same runs: itself."""
        return self

    def spans(self, counts: Tensor) -> Spans | None:
        """The runs back, for sequences of `counts` (B,) steps; None where there is no sequence."""
        return blocks(counts, self.k1, self.k2, self.losses) if len(counts) else None
