"""What all tasks' batches share: the order of an epoch, and a process's share of a batch."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bptt.tasks.task import Batch


@lru_cache(maxsize=4)
def epoch_order(count: int, seed: int, epoch: int, *, shuffle: bool = True) -> NDArray[np.int64]:
    """The order in which an epoch reads `count` items: a function of its arguments alone.

    >>> epoch_order(5, seed=0, epoch=1).tolist() == epoch_order(5, seed=0, epoch=1).tolist()
    True
    """
    order = np.random.default_rng((seed, epoch)).permutation(count) if shuffle else np.arange(count)
    order.flags.writeable = False
    return order


def slice_of(step: int, batch_size: int) -> slice:
    """The items of batch `step`."""
    return slice(step * batch_size, (step + 1) * batch_size)


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
