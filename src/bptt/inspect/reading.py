"""What a model makes of the outputs of its recurrent part: the rest of its forward, and the loss.

Legend: T time, B batch.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bptt.errors import ArgumentError
from bptt.structure import describe


@dataclass(frozen=True, eq=False)
class Reading:
    """The rest of a model's forward on some of the steps and sequences of a batch.

    Attributes:
        rest: called with outputs and final state of the recurrent part; what the model returns.
        outputs: (T, B, ...) per leaf, what the part puts out on the whole batch, without a graph.
        final: its final state.
        ends: (B,) the step that each sequence's final state comes from.
        with_states: whether the part's cell shows its states beside its outputs, `(y_t, s_t)`, for
            the model reads the final state.
        batch_first: whether the part's sequences are (B, T, ...).
        start: the first of the steps that are looked at.
        chosen: the sequences that are looked at; None: all.
    """

    rest: Callable[[Any, Any], Any]
    outputs: Any
    final: Any
    ends: Tensor
    with_states: bool
    batch_first: bool
    start: int = 0
    chosen: Tensor | None = None

    def sequences(self, chosen: Tensor) -> "Reading":
        """Some of those that are looked at."""
        return replace(self, chosen=chosen if self.chosen is None else self.chosen[chosen])

    def steps(self, start: int) -> "Reading":
        """Those from `start` on, of those that are looked at."""
        return replace(self, start=self.start + start)

    def loss(self, loss: Callable[..., Tensor] | None, targets: Any) -> Callable[[Any], Tensor]:
        """E_t of what is looked at, as a function of the part's outputs there.

        Args:
            loss: of the model's outputs, and targets where there are some; None: the squared error.
            targets: of the whole batch, handed to the loss as they are.
        """
        given = () if targets is None else (targets,)
        read = squared_error if loss is None else loss

        def rows(outputs: Any) -> Tensor:
            found = self._by_step(read(self.rest(*self._results(outputs)), *given))[self.start :]
            return found if self.chosen is None else found[:, self.chosen]

        return rows

    def _results(self, outputs: Any) -> tuple[Any, Any]:
        """Outputs and final state on the whole batch, from the outputs of what is looked at."""
        if not self.with_states:
            return self._put(outputs, self.outputs), self.final
        outputs, states = outputs
        rows = torch.arange(len(self.ends)) if self.chosen is None else self.chosen
        last = self.ends[rows] - self.start
        final = pytree.tree_map(
            lambda whole, part: _with_rows(whole, rows, part[last, torch.arange(len(rows))]),
            self.final,
            states,
        )
        return self._put(outputs, self.outputs), final

    def _put(self, outputs: Any, whole: Any) -> Any:
        if self.chosen is None and not self.start:
            return outputs
        return pytree.tree_map(self._put_leaf, outputs, whole)

    def _put_leaf(self, part: Tensor, whole: Tensor) -> Tensor:
        copy = whole.clone()
        rows = slice(None) if self.chosen is None else self.chosen
        copy[self.start :, rows] = part
        return copy

    def _by_step(self, found: Any) -> Tensor:
        """(T, B) from a loss of each step and sequence, or of each sequence alone, at its end."""
        steps, batch = pytree.tree_leaves(self.outputs)[0].shape[:2]
        shape = found.shape[:2] if isinstance(found, Tensor) else None
        if shape in ((steps, batch), (batch, steps)):
            rows = found.flatten(2).sum(2) if found.dim() > 2 else found
            across = shape == (batch, steps) and (steps != batch or self.batch_first)
            return rows.transpose(0, 1) if across else rows
        if shape is None or found.dim() not in (1, 2) or len(found) != batch:
            raise ArgumentError(
                "loss: expected one number for each step and sequence of the model's recurrent "
                f"part, (T, B) = ({steps}, {batch}) or (B, T), or one for each sequence, "
                f"({batch},), which counts at its last step; got "
                f"{describe(found) if shape is None else tuple(found.shape)}. Leave out the sum or "
                "mean over steps and sequences (torch's losses do with reduction='none')."
            )
        rows = found if found.dim() == 1 else found.sum(1)
        return rows.new_zeros(steps, batch).scatter(0, self.ends[None], rows[None])


def _with_rows(whole: Tensor, rows: Tensor, part: Tensor) -> Tensor:
    copy = whole.clone()
    copy[rows] = part
    return copy


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """(d - y)^2, number by number.

    Raises:
        ArgumentError: outputs that are no tensor, targets of another shape.
    """
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        raise ArgumentError(
            f"loss: expected one for a model that returns {describe(outputs)}; the squared error "
            "is of one tensor and its targets. Pass `loss(outputs, targets)`."
        )
    if outputs.shape != targets.shape:
        raise ArgumentError(
            f"targets: expected the outputs' shape {tuple(outputs.shape)} for the squared error, "
            f"got {tuple(targets.shape)}."
        )
    return (targets - outputs).square()
