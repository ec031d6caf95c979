"""What a task is to the rest of the program: data in, batches out, a verdict at the end.

A task owns the data and everything learnt from the training part of it (normalisation, vocabulary,
labels). It knows nothing of networks, optimisers or files of a run; those know nothing of columns.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

from torch import Tensor

from bptt.errors import DataError

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Batch:
    """One batch, time first.

    Attributes:
        numeric: (T, B, F) float inputs; F may be 0.
        categorical: (T, B, C) integer codes, column c below `NetworkShape.categories[c]`; C may be
            0. Code 0 is "unknown": it does not occur in training, so a network reads it as zeros.
        targets: what the task's loss compares with: (B,) where the last step is read, else
            (T, B, ...).
        lengths: (B,) steps that count, or None where all do.
        reset: (T, B) start afresh before this step, or None.
    """

    numeric: Tensor
    categorical: Tensor
    targets: Tensor
    lengths: Tensor | None = None
    reset: Tensor | None = None


@dataclass(frozen=True)
class NetworkShape:
    """The network a task needs: what goes in, what comes out, and where it is read."""

    numeric: int
    categories: tuple[int, ...]
    outputs: int
    read: Literal["every step", "last step"]


class Batches(ABC):
    """The batches of one part: a pure function of (seed, epoch, step), no generator's state.

    That is what makes a resumed run see what an unbroken one would have seen, and what lets each of
    several processes take its own rows of the same batch.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Batches in one epoch."""

    @abstractmethod
    def batch(self, seed: int, epoch: int, step: int) -> Batch:
        """Batch `step` of `epoch`, all rows of it. `take_rows` gives a process its share."""


@dataclass(frozen=True)
class Evaluation:
    """What a trained network achieved on one part, beside what naive rules achieve there.

    Attributes:
        part: where it was measured.
        headline: the metric that decides, a key of `metrics`.
        lower_is_better: which way all metrics point.
        metrics: the network's figures by name, such as {"mae": 1.2, "rmse": 1.9}.
        baselines: the same figures for each naive rule, by the rule's name.
        details: what the report draws, JSON-able; its keys are the task's own.
        chance: how often chance alone would give a lead over the best naive rule as large as this
            (`sign_flip_test`); None where nobody asked.
    """

    part: Part
    headline: str
    lower_is_better: bool
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]
    details: dict[str, Any] = field(default_factory=dict)
    chance: float | None = None


# (batch, state) -> (outputs, state). Outputs are (T, B, K), or (B, K) where the last step is read.
Forward = Callable[[Batch, Any], tuple[Tensor, Any]]


class Learnt(Protocol):
    """What a task learnt from the training part, kept with the model."""

    def describe(self) -> dict[str, Any]:
        """JSON-able."""

    @classmethod
    def restore(cls, description: dict[str, Any]) -> Self:
        """What `describe` gave."""


L = TypeVar("L", bound=Learnt)
D = TypeVar("D")


class Task(ABC, Generic[L, D]):
    """Forecast, classify or text.

    Args:
        learnt: what was learnt from the training part.
        data: what is trained on or measured; None for a restored task until it loads some.
    """

    name: ClassVar[str]
    carries_state: ClassVar[bool] = False  # text: the state goes on from one batch to the next

    def __init__(self, learnt: L, data: D | None = None) -> None:
        self.learnt = learnt
        self._data = data

    @property
    def data(self) -> D:
        """The data; DataError where the task was restored without any."""
        if self._data is None:
            raise DataError("This model was restored without data. Give it some with load(path).")
        return self._data

    @property
    @abstractmethod
    def shape(self) -> NetworkShape:
        """The network that this task needs."""

    @abstractmethod
    def batches(self, part: Part, batch_size: int) -> Batches:
        """The batches of a part."""

    @abstractmethod
    def loss(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, int]:
        """Sum of the loss terms of a batch and how many terms there are.

        A sum and a count, not a mean, so that processes and ragged batches weigh each term alike.
        """

    @abstractmethod
    def evaluate(self, forward: Forward, part: Part, batch_size: int) -> Evaluation:
        """The network's figures on a part, in the data's own units, beside the baselines'."""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """What the data are and how they were split, JSON-able, for the screen and the report."""

    def describe(self) -> dict[str, Any]:
        """All that is needed to read new data the same way, JSON-able; goes into model.json."""
        return {"task": self.name, **self.learnt.describe()}

    @classmethod
    @abstractmethod
    def restore(cls, description: dict[str, Any]) -> Self:
        """The task of a trained model, without data: predicts, generates, loads new data."""

    @abstractmethod
    def load(self, path: str | Path) -> Self:
        """This task, with all that it learnt, over new data that are its "test" part as a whole."""
