"""Long sequences in the rows of a batch, a window of each row at a time."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import IterableDataset, get_worker_info

from bptt.errors import ArgumentError
from bptt.streams.check import check_counts, check_sequences, check_state
from bptt.streams.layout import Cut, Layout, pieces_of
from bptt.structure import leaves_of


class Window(NamedTuple):
    """The next steps of every row.

    Attributes:
        inputs: pytree of (W, B, ...), zeros where a row has ended. An epoch's last window may have
            fewer steps than the others.
        targets: likewise, or None.
        reset: (W, B) bool, true where a sequence begins.
        lengths: (B,) int64, steps that count; fewer than W in a row that has ended, and in that
            row's windows after it none.
    """

    inputs: Any
    targets: Any
    reset: Tensor
    lengths: Tensor

    @property
    def mask(self) -> Tensor:
        """(W, B) bool, true where a step counts."""
        return torch.arange(len(self.reset))[:, None].to(self.lengths.device) < self.lengths


def lay(
    sequences: Sequence[Any],
    targets: Sequence[Any] | None = None,
    *,
    batch_size: int,
    window: int,
    shuffle: bool = True,
    seed: int = 0,
    longest: int | None = None,
    shard: tuple[int, int] = (0, 1),
) -> "Rows":
    """Lay sequences end to end into the rows of a batch, to be read a window at a time.

    A sequence longer than the window goes on in the next window of the same row, so the state of
    one window is what the next starts from, and `reset` cuts it where another sequence begins:

        state = None
        for window in bptt.streams.lay(sequences, targets, batch_size=32, window=64):
            outputs, state = bptt.unroll(
                cell, window.inputs, state, reset=window.reset, lengths=window.lengths
            )
            ...  # loss at window.mask, backward, step
            state = state.detach()

    The state may be carried on into the next epoch: every row begins with a reset.

    Args:
        sequences: N of them, each a tensor (T_i, ...) or a pytree of such; those of no steps are
            left out. They are read where they lie, window by window, and may be mapped from disk.
        targets: for each sequence what its steps should give, (T_i, ...) or a pytree of such.
        batch_size: B, rows.
        window: W, steps of a row that are read at once.
        shuffle: whether each epoch has an order of its own, else the sequences' own.
        seed: decides the orders, together with the epoch alone.
        longest: cut longer sequences into pieces of so many steps, each started afresh, where a few
            sequences are so long that rows would be of unequal length. None: none is cut.
        shard: (rank, world): of several processes that share each batch this one takes rows
            rank, rank + world, rank + 2 world ...

    Raises:
        ArgumentError: sizes out of range, sequences that differ in more than their length, fewer
            sequences than rows.

    >>> three = [torch.arange(5), torch.arange(10, 12), torch.arange(20, 23)]
    >>> for window in lay(three, batch_size=2, window=3, shuffle=False):
    ...     print(window.inputs.T.tolist(), window.reset.T.int().tolist(), window.lengths.tolist())
    [[0, 1, 2], [10, 11, 20]] [[1, 0, 0], [1, 0, 1]] [3, 3]
    [[3, 4], [21, 22]] [[0, 0], [0, 0]] [2, 2]
    """
    check_counts(batch_size, window, seed, longest, shard)
    pieces = pieces_of(check_sequences(sequences, targets), longest)
    if len(pieces) < batch_size:
        raise ArgumentError(
            f"batch_size: expected at most a row for each of the {len(pieces)} sequences that have "
            f"steps, got {batch_size}. Take fewer rows, or cut sequences into pieces with longest="
        )
    layout = Layout(pieces, batch_size, seed if shuffle else None)
    parts = (sequences,) if targets is None else (sequences, targets)
    return Rows(parts, layout, window, shard)


class Rows(IterableDataset):
    """What `lay` gives: an epoch's windows, again and again, each epoch in its own order.

    Iterating goes on from where it stands: after the last window with the next epoch, after a
    `break` with the window that follows, and so it does after `load_state_dict`. torch's DataLoader
    takes it with `batch_size=None`; its workers iterate copies, so where there are any tell each
    epoch by `set_epoch`. Lightning takes it as it is, in place of a DataLoader, and keeps where it
    stands in its checkpoints.

    Args:
        parts: the sequences, and their targets if there are any.
        layout: what lies where.
        window: W, steps that are read at once.
        shard: (rank, world) of this process.

    Attributes:
        epoch: the epoch that is being read, from 0.
        position: the window that is next.
    """

    def __init__(
        self, parts: tuple[Sequence[Any], ...], layout: Layout, window: int, shard: tuple[int, int]
    ) -> None:
        self._parts, self._layout, self._window, self._shard = parts, layout, window, shard
        self.epoch = self.position = 0

    def __len__(self) -> int:
        """Windows in each epoch."""
        return -(-self._layout.steps // self._window)

    def __iter__(self) -> Iterator[Window]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        if self.position == len(self):
            self.set_epoch(self.epoch + 1)
        start = self.position
        while self.position < len(self):
            self.position += 1  # before the window is given: whoever has it goes on with the next
            if (self.position - 1 - start) % workers == number:
                yield self.at(self.epoch, self.position - 1)

    @property
    def filled(self) -> float:
        """Share of the rows' steps that count; the others lie after the end of shorter rows."""
        return self._layout.live() / (self._layout.steps * self._layout.count)

    def at(self, epoch: int, position: int) -> Window:
        """A window of an epoch: a function of these, of the seed and of the sequences alone."""
        if not (epoch >= 0 and 0 <= position < len(self)):
            raise ArgumentError(
                f"expected an epoch of 0 or more and a window below {len(self)}, got epoch {epoch} "
                f"and window {position}."
            )
        rank, world = self._shard
        rows = self._layout.rows(epoch)[rank::world]
        first = position * self._window
        steps = min(self._window, self._layout.steps - first)
        cuts = [list(row.cuts(first, first + steps)) for row in rows]
        inputs, *others = (_gather(part, cuts, steps) for part in self._parts)
        reset = torch.zeros(steps, len(rows), dtype=torch.bool)
        for place, inside in enumerate(cuts):
            reset[[cut.at for cut in inside if cut.fresh], place] = True
        lengths = torch.tensor([sum(cut.steps for cut in inside) for inside in cuts])
        device = pytree.tree_leaves(inputs)[0].device
        targets = others[0] if others else None
        return Window(inputs, targets, reset.to(device), lengths.to(device))

    def set_epoch(self, epoch: int) -> None:
        """Read this epoch next: from its start, or go on with it if it is half read."""
        if epoch != self.epoch or self.position == len(self):
            self.epoch, self.position = epoch, 0

    @property
    def sampler(self) -> "Rows":
        """What Lightning tells each epoch's number: it looks for `set_epoch` here."""
        return self

    def state_dict(self) -> dict[str, int | None]:
        """Where iterating stands, and what the rows were made of."""
        return {"epoch": self.epoch, "position": self.position, **self._made_of()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where iterating stood when `state_dict` was called.

        Raises:
            ArgumentError: that was over other sequences, or they were laid in another way.
        """
        check_state(state, self._made_of(), len(self))
        self.epoch, self.position = state["epoch"], state["position"]

    def _made_of(self) -> dict[str, int | None]:
        layout = self._layout
        own: dict[str, int | None] = {"batch_size": layout.count, "window": self._window}
        return own | {"seed": layout.seed, "pieces": len(layout.pieces), "steps": layout.live()}


def _gather(trees: Sequence[Any], cuts: Sequence[Sequence[Cut]], steps: int) -> Any:
    """(W, B, ...) what the rows' cuts name, zeros elsewhere."""
    shape = steps, len(cuts)
    window = pytree.tree_map(lambda leaf: leaf.new_zeros((*shape, *leaf.shape[1:])), trees[0])
    leaves = pytree.tree_leaves(window)
    for row, inside in enumerate(cuts):
        for cut in inside:
            into = slice(cut.at, cut.at + cut.steps)
            read = slice(cut.start, cut.start + cut.steps)
            for leaf, whole in zip(leaves, leaves_of(trees[cut.sequence]), strict=True):
                leaf[into, row] = whole[read]
    return window
