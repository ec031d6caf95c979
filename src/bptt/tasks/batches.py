"""What all tasks' batches share: the order of an epoch, and a process's share of a batch."""

from bptt.tasks.task import Batch


def take_rows(batch: Batch, rank: int, world: int) -> Batch:
    """The rows rank, rank + world, rank + 2 world ... of a batch: a process's share.

    The shares of all ranks are the batch. Where the batch has fewer rows than there are processes
    some shares are empty (B = 0), and loss of an empty share is (0, 0).
    """
    raise NotImplementedError
