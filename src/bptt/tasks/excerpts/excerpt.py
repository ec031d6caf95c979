"""Stretches of data, side by side, as a network reads them and as their user knows them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bptt.tasks.task import Batch

Rows = NDArray[np.int64]
NO_CLASS = -1  # a step at which no loss is taken


class Wanted(NamedTuple):
    """Which stretches are asked for.

    Attributes:
        series: the name of one series or sequence; None: of all.
        at: what the last step of the stretch is called, a date, a number or a position; None:
            stretches evenly spread over the data.
        rows: stretches at most.
        steps: steps of each at most.
    """

    series: str | None = None
    at: str | None = None
    rows: int = 16
    steps: int = 200


class Answer(NamedTuple):
    """One thing that a network said at a step: what of, what it said, and what was to be said."""

    name: str
    said: str
    wanted: str


@dataclass(frozen=True)
class Excerpt:
    """B stretches of at most T steps.

    Attributes:
        numeric: (N, F) inputs of all rows of the data. categorical: (N, C) codes.
        lead: (B,) the first row that is read, so that a stretch does not begin in the void.
        start: (B,) its first row. stop: (B,) the row after its last.
        targets: (T, B, ...) what `loss` compares with.
        loss: from outputs (T, B, K) and targets, each step's loss (T, B, ...).
        inputs: names of the F numbers and C codes.
        outputs: names of the K outputs.
        series: (B,) names.
        label: what a row is called.
        readings: by an input's name, its value in a row as the data have it.
        answers: what a network says by its outputs (K,) at a row: `answers(row, outputs)`.
        unit: what the loss is measured in.
    """

    numeric: Tensor
    categorical: Tensor
    lead: Rows
    start: Rows
    stop: Rows
    targets: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    series: tuple[str, ...]
    label: Callable[[int], str]
    readings: Mapping[str, Callable[[int], Any]]
    answers: Callable[[int, Tensor], list[Answer]]
    unit: str

    def before(self) -> Batch:
        """What is read before the stretches, padded."""
        return self._batch(self.lead, self.start)

    def batch(self) -> Batch:
        """The stretches, padded."""
        return self._batch(self.start, self.stop)

    def counted(self) -> Tensor:
        """(T, B) whether a loss is taken at a step."""
        targets = self.targets
        counts = ~targets.isnan() if targets.is_floating_point() else targets != NO_CLASS
        return counts.flatten(2).any(-1) if counts.dim() > 2 else counts

    def _batch(self, first: Rows, end: Rows) -> Batch:
        lengths = end - first
        places = np.arange(max(lengths, default=0))[:, None]  # (T, 1)
        last = np.maximum(end - 1, 0)
        rows = torch.from_numpy(np.minimum(first + places, last))
        live = torch.from_numpy(places < lengths)[..., None]
        return Batch(
            numeric=torch.where(live, self.numeric[rows], 0.0),
            categorical=torch.where(live, self.categorical[rows], 0),
            targets=self.targets,
            lengths=None if (lengths == lengths.max()).all() else torch.from_numpy(lengths),
        )


def spread(candidates: Rows, count: int) -> Rows:
    """At most `count` of the candidates, evenly spaced.

    >>> spread(np.arange(10), 4).tolist()
    [0, 3, 6, 9]
    """
    if len(candidates) <= count:
        return candidates
    return candidates[np.linspace(0, len(candidates) - 1, count).round().astype(np.int64)]


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """(T, B) nats from scores (T, B, K) and classes (T, B); 0 where no loss is taken."""
    return torch.nn.functional.cross_entropy(
        outputs.movedim(-1, 1), targets, ignore_index=NO_CLASS, reduction="none"
    )


def likeliest(outputs: Tensor, names: Sequence[str], wanted: str, count: int = 3) -> list[Answer]:
    """The `count` classes that scores (K,) hold likeliest, and the wanted one.

    >>> for answer in likeliest(torch.tensor([2.0, 0, 1, -1]), ["a", "b", "c", "d"], "d", count=2):
    ...     print(*filter(None, answer))
    a 64.4%
    c 23.7%
    d 3.2% the right one
    """
    shares = outputs.double().softmax(-1)
    order = shares.argsort(descending=True).tolist()
    chosen = [i for place, i in enumerate(order) if place < count or names[i] == wanted]
    return [
        Answer(names[i], f"{float(shares[i]):.1%}", "the right one" if names[i] == wanted else "")
        for i in chosen
    ]
