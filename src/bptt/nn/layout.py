"""How a module's sequences lie in memory: padded or packed, batch first or time first.

A layout turns what the user has into (T, B, ...) tensors and turns results back.
Legend: T time, B batch, N live steps of all sequences, L layers times directions.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from bptt.errors import ArgumentError
from bptt.nn.checks import check_reset
from bptt.structure import mapped


class Padded:
    """Tensors (T, B, ...), or (B, T, ...) with batch_first, or (T, ...) of one sequence alone."""

    def __init__(self, batch_first: bool, *, alone: bool = False) -> None:
        self._batch_first, self._alone = batch_first, alone
        self._batch_axis = 0 if batch_first else 1

    def batch(self, x: Tensor) -> Tensor:
        """The user's sequences with the batch axis that one alone lacks."""
        return x.unsqueeze(self._batch_axis) if self._alone else x

    def enter(self, tree: Any) -> Any:
        """The user's sequences as (T, B, ...)."""
        return mapped(lambda x: self._swap(self.batch(x)), tree)

    def leave(self, tree: Any) -> Any:
        """(T, B, ...) outputs as the user's sequences lie."""
        return self.leave_padded(tree)

    def leave_padded(self, tree: Any) -> Any:
        """(T, B, ...) sequences as the user's lie, but padded whatever those are."""
        return mapped(self._leave, tree)

    def enter_state(self, state: Any) -> Any:
        """The user's (L, B, ...) states, or (L, ...) of one sequence alone, as (L, B, ...)."""
        return mapped(lambda s: s.unsqueeze(1), state) if self._alone else state

    def leave_state(self, state: Any) -> Any:
        """(L, B, ...) states as the user has them."""
        return mapped(lambda s: s.squeeze(1), state) if self._alone else state

    def enter_lengths(self, lengths: Tensor | None) -> Tensor | None:
        """The user's lengths, which may be one number for one sequence alone, as (B,)."""
        alone = lengths is not None and self._alone
        return torch.as_tensor(lengths).reshape(-1) if alone else lengths

    def enter_reset(self, reset: Tensor, steps: int, batch_size: int) -> Tensor:
        """The user's mask as (T, B)."""
        axes = [("T", steps)] if self._alone else [("T", steps), ("B", batch_size)]
        check_reset(reset, axes[::-1] if self._batch_first else axes)
        return self._swap(self.batch(reset))

    def dropout(self, x: Tensor, p: float) -> Tensor:
        """Drop out of (T, B, ...); contiguous, so that the draws are those of torch.nn."""
        return functional.dropout(x.contiguous(), p)

    def _swap(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1) if self._batch_first else x

    def _leave(self, x: Tensor) -> Tensor:
        return self._swap(x).squeeze(self._batch_axis) if self._alone else self._swap(x)


class Packed(Padded):
    """A PackedSequence of (N, ...) data.

    It is padded and run in the user's order of the batch, so that states and masks need no sorting.
    """

    def __init__(self, sequence: PackedSequence, batch_first: bool) -> None:
        super().__init__(batch_first)
        self._sequence = sequence
        sizes, unsorted = sequence.batch_sizes, sequence.unsorted_indices
        ranks = torch.arange(int(sizes[0]))
        self._falling = (sizes[:, None] > ranks).sum(0)  # lengths in the packed order
        self._lengths = self._falling if unsorted is None else self._falling[unsorted.cpu()]

    def enter(self, tree: PackedSequence) -> Tensor:
        """The user's data as (T, B, ...), zeros where a sequence has ended."""
        return pad_packed_sequence(tree)[0]

    def leave(self, tree: Any) -> Any:
        """(T, B, ...) outputs as packed sequences with the user's batch sizes and indices."""
        return mapped(self._pack, tree)

    def enter_lengths(self, lengths: Tensor | None) -> Tensor:
        """(B,) the packed sequences' own."""
        if lengths is not None:
            raise ArgumentError(
                "lengths should be None where the input is a PackedSequence, which has its own; "
                f"got {lengths}"
            )
        return self._lengths

    def dropout(self, x: Tensor, p: float) -> Tensor:
        """Drop out of (T, B, ...), drawn for the live steps alone as torch.nn does."""
        packed = self._pack(x)
        return self.enter(packed._replace(data=functional.dropout(packed.data, p)))

    def _pack(self, x: Tensor) -> PackedSequence:
        order = self._sequence.sorted_indices
        x = x if order is None else x.index_select(1, order)
        return self._sequence._replace(data=pack_padded_sequence(x, self._falling).data)
