"""The stream of batches from where training stands to its end, and each process's share of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from bptt.tasks import Batch, Batches, take_rows
from bptt.train import processes


@dataclass
class Position:
    """Where training stands: what is to be done next.

    Attributes:
        epoch: from 0.
        step: within the epoch, from 0.
        done: steps done since the start.
        seconds: of training so far, over all sittings.
    """

    epoch: int = 0
    step: int = 0
    done: int = 0
    seconds: float = 0.0


class Steps:
    """This process's rows of every batch from a position to the end of the last epoch.

    One stream over all epochs, so that Lightning, for which it is a single epoch, need not be told
    how far into one training had come.
    """

    def __init__(self, batches: Batches, seed: int, epochs: int, start: Position) -> None:
        self._batches, self._seed = batches, seed
        self.per_epoch = len(batches)
        self._numbers = range(start.epoch * self.per_epoch + start.step, epochs * self.per_epoch)

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Batch]:
        return map(self._share, self._numbers)

    def first(self) -> Batch:
        """This process's rows of the very first batch: an example of what is to come."""
        return self._share(0)

    def _share(self, number: int) -> Batch:
        batch = self._batches.batch(self._seed, *divmod(number, self.per_epoch))
        return take_rows(batch, processes.rank(), processes.world())
