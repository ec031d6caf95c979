"""Layers and directions: what a stack of one-direction cells computes."""

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bptt.errors import StructureError
from bptt.methods import Full, Method
from bptt.nn.layout import Padded
from bptt.nn.recording import Recording
from bptt.structure import describe, leaves_of, mapped
from bptt.unroll import unroll

EXACT = Full()


class Pass:
    """One run through layers on top of each other, one or two directions each.

    Args:
        layout: how the user's sequences lie.
        inputs: (T, B, ...) tensors.
        lengths, reset: the user's, or None.
        method: how the gradient goes back through time.
        dropout: probability with which an output of every layer but the last is zeroed.
        all_states: whether the states of all steps are wanted.
    """

    def __init__(
        self,
        layout: Padded,
        inputs: Any,
        *,
        lengths: Tensor | None,
        reset: Tensor | None,
        method: Method,
        dropout: float,
        all_states: bool,
    ) -> None:
        steps, self.batch_size = leaves_of(inputs)[0].shape[:2]
        self.layout, self.inputs, self.method = layout, inputs, method
        self.dropout, self.all_states = dropout, all_states
        self.lengths = layout.enter_lengths(lengths)
        self.reset = None if reset is None else layout.enter_reset(reset, steps, self.batch_size)

    def run(self, layers: Iterable[Sequence[nn.Module]], states: Iterable) -> tuple:
        """Outputs, final states and, if wanted, all states, as the user's sequences lie.

        Args:
            layers: per layer, its cells: forward and, where there is one, reverse.
            states: an initial state for every cell, layer by layer, forward before reverse.
        """
        x, finals, every, states = self.inputs, [], [], iter(states)
        for depth, cells in enumerate(layers):
            if depth and self.dropout:
                x = mapped(lambda leaf: self.layout.dropout(leaf, self.dropout), x)
            ways = [self._unroll(cell, x, next(states), bool(i)) for i, cell in enumerate(cells)]
            outputs, ends, *between = zip(*ways, strict=True)
            x = _side_by_side(outputs)
            finals += ends
            every += [self.layout.leave_padded(stack(seen, dim=2)) for seen in between]
        results = self.layout.leave(x), self.layout.leave_state(stack(finals))
        return (*results, every) if self.all_states else results

    def _unroll(self, cell: nn.Module, inputs: Any, state: Any, reverse: bool) -> tuple:
        """One direction's outputs, final state and, if wanted, states of all steps."""
        outputs, final = unroll(
            Recording(cell) if self.all_states else cell,
            inputs,
            state,
            lengths=self.lengths,
            reset=self._starts_backwards() if reverse else self.reset,
            reverse=reverse,
            method=self.method,
        )
        return (outputs[0], final, outputs[1]) if self.all_states else (outputs, final)

    def _starts_backwards(self) -> Tensor | None:
        """Episode starts as a reverse direction needs them (T, B).

        Going back, the state enters step t from step t + 1, and is to be cut there if an episode
        starts at t + 1. A start at or beyond a sequence's length is none.
        """
        if self.reset is None:
            return None
        shifted = torch.cat([self.reset[1:], torch.zeros_like(self.reset[:1])])
        if self.lengths is None:
            return shifted
        following = torch.arange(1, len(shifted) + 1, device=shifted.device)
        return shifted & (following[:, None] < torch.as_tensor(self.lengths).to(shifted.device))


def stack(states: Sequence, dim: int = 0) -> Any:
    """Several states as one, their leaves stacked."""
    if len(states) == 1:
        return mapped(lambda leaf: leaf.unsqueeze(dim), states[0])
    if len({tuple(leaf.shape for leaf in leaves_of(state)) for state in states}) > 1:
        raise StructureError(
            "the states of all layers and directions should have one shape, got "
            f"{'; '.join(map(describe, states))}. Give every cell the same hidden size, or call "
            "bptt.unroll layer by layer"
        )
    return pytree.tree_map(lambda *leaves: torch.stack(leaves, dim), *states)


def unstack(state: Any, count: int) -> list:
    """The opposite of `stack`."""
    return [mapped(operator.itemgetter(i), state) for i in range(count)]


def _side_by_side(outputs: Sequence) -> Any:
    """Directions' outputs, features side by side."""
    if len(outputs) == 1:
        return outputs[0]
    return pytree.tree_map(lambda *ways: torch.cat(ways, -1), *outputs)
