"""What is inspected: a model as one cell, and a batch as `unroll` takes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bptt.errors import ArgumentError
from bptt.inspect.reading import Reading
from bptt.unroll import unroll

Lengths = Tensor | Sequence[int] | None


@dataclass(frozen=True, eq=False)
class Subject:
    """A model's cell and a batch, time first.

    Attributes:
        model: as given.
        cell: the model as one cell.
        inputs: (T, B, ...) per leaf.
        state: the first state in the cell's structure, or None.
        lengths, reset, reset_state, reverse, backend: as `unroll` takes them.
        batch_first: whether the model's sequences, hence the targets too, are (B, T, ...).
        reading: what a model of the user's own makes of the cell's outputs; None for others.
    """

    model: Any
    cell: Any
    inputs: Any
    state: Any = None
    lengths: Lengths = None
    reset: Tensor | None = None
    reset_state: Any = None
    reverse: bool = False
    backend: str = "auto"
    batch_first: bool = False
    reading: Reading | None = None

    @property
    def steps(self) -> int:
        """T."""
        return pytree.tree_leaves(self.inputs)[0].shape[0]

    @property
    def batch(self) -> int:
        """B."""
        return pytree.tree_leaves(self.inputs)[0].shape[1]

    def arguments(self) -> dict[str, Any]:
        """What `unroll` takes besides the cell and a method."""
        names = ("inputs", "state", "lengths", "reset", "reset_state", "reverse", "backend")
        return {name: getattr(self, name) for name in names}

    def unroll(self, cell: Any = None, **more: Any) -> tuple[Any, Any]:
        """Outputs and final state of the cell, or of another on the same batch."""
        return unroll(self.cell if cell is None else cell, **{**self.arguments(), **more})

    def counts(self) -> Tensor:
        """(B,) steps that count in each sequence."""
        if self.lengths is None:
            return torch.full((self.batch,), self.steps)
        return torch.as_tensor(self.lengths).to(torch.int64)

    def names(self) -> dict[int, str]:
        """What the model calls its parameters, by identity."""
        if not isinstance(self.model, nn.Module):
            return {}
        return {id(parameter): name for name, parameter in self.model.named_parameters()}


def chosen(times: Sequence[int] | None, steps: int) -> list[int]:
    """Loss times, ascending, each once; negative ones count from the end.

    Raises:
        ArgumentError: one beyond the sequence.

    >>> chosen([-1, 0], 5)
    [0, 4]
    """
    if times is None:
        return list(range(steps))
    wanted = whole_numbers(times)
    if not wanted or not all(-steps <= t < steps for t in wanted):
        raise ArgumentError(
            f"times: expected steps of the sequence, whole numbers from 0 to {steps - 1}, or from "
            f"-{steps} to -1 counted from its end, got {times}."
        )
    return sorted({t % steps for t in wanted})


def whole_numbers(given: Any) -> list[int]:
    """A whole number, or several, as a list; empty for anything else.

    >>> whole_numbers(3), whole_numbers(torch.arange(2)), whole_numbers([0.5]), whole_numbers("a")
    ([3], [0, 1], [], [])
    """
    try:
        found = torch.as_tensor(given).reshape(-1)
    except (TypeError, ValueError, RuntimeError):  # torch's ways to say that these are no numbers
        return []
    kinds = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    return found.tolist() if found.dtype in kinds else []
