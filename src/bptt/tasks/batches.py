"""What all tasks' batches share: the order of an epoch, and a process's share of a batch."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bptt.tasks.task import Batch, Batches


@lru_cache(maxsize=4)
def epoch_order(count: int, seed: int, epoch: int, *, shuffle: bool = True) -> NDArray[np.int64]:
    """The order in which an epoch reads `count` items: a function of its arguments alone.

    >>> epoch_order(5, seed=0, epoch=1).tolist() == epoch_order(5, seed=0, epoch=1).tolist()
    True
    """
    order = np.random.default_rng((seed, epoch)).permutation(count) if shuffle else np.arange(count)
    order.flags.writeable = False
    return order


class ItemBatches(Batches):
    """Batches of items such as windows or sequences, shuffled anew each epoch or in their order.

    Args:
        count: of the items.
        batch_size: items in a batch; the last may have fewer.
        shuffle: whether each epoch has an order of its own.
    """

    def __init__(self, count: int, batch_size: int, *, shuffle: bool) -> None:
        self.count = count
        self.batch_size = batch_size
        self.shuffle = shuffle

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def batch(self, seed: int, epoch: int, step: int) -> Batch:
        """The items whose turn it is in this epoch's order, as `take` gives them."""
        order = epoch_order(self.count, seed, epoch, shuffle=self.shuffle)
        return self.take(order[step * self.batch_size : (step + 1) * self.batch_size])

    @abstractmethod
    def take(self, chosen: NDArray[np.int64]) -> Batch:
        """The chosen items, numbers below `count`, as one batch."""

    def in_order(self) -> Iterator[NDArray[np.int64]]:
        """The numbers of all items, a batch of them at a time."""
        for start in range(0, self.count, self.batch_size):
            yield np.arange(start, min(start + self.batch_size, self.count))


def take_rows(batch: Batch, rank: int, world: int) -> Batch:
    """The rows rank, rank + world, rank + 2 world ... of a batch: a process's share.

    The shares of all ranks are the batch. Where the batch has fewer rows than there are processes
    some shares are empty (B = 0); the loss of an empty share is a sum of 0 over 0 terms.
    """
    mine = slice(rank, None, world)

    def second(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[:, mine]

    one_axis = batch.targets.dim() == 1
    return replace(
        batch,
        numeric=batch.numeric[:, mine],
        categorical=batch.categorical[:, mine],
        targets=batch.targets[mine] if one_axis else batch.targets[:, mine],
        lengths=None if batch.lengths is None else batch.lengths[mine],
        reset=second(batch.reset),
    )
