"""What a run was asked to do: the options, and the config.toml that keeps them."""

import platform
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Self

from bptt.errors import ArgumentError
from bptt.folder.damage import FORMAT
from bptt.tasks import DataOptions
from bptt.train.method import make_method
from bptt.version import __version__

FULL = "full"


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """The recurrent network.

    Attributes:
        cell: elman, gru, lstm or another of bptt.cells, such as leaky or layer-norm-lstm; or your
            own as module:Class or file.py:Class, made by Class(input_size, hidden_size).
        hidden: units in each layer's state.
        layers: layers, one above the other.
        dropout: share of a layer's outputs that are zeroed on the way to the next layer.
    """

    cell: str = "gru"
    hidden: int = 64
    layers: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _at_least(self, hidden=1, layers=1, dropout=0)
        if self.dropout >= 1:
            raise ArgumentError(
                f"expected --dropout to be below 1, the share to zero; got {self.dropout}"
            )
        if self.dropout and self.layers == 1:
            raise ArgumentError(
                f"--dropout acts between layers, and there is one; got {self.dropout}. "
                "Take --layers 2, or leave --dropout out"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What decides the numbers of training, so that it stays as it is when a run is resumed.

    Attributes:
        batch_size: sequences, windows or streams in one step; all processes together.
        learning_rate: Adam's step size; halved when the validation loss has not fallen for half as
            many epochs as patience.
        clip: longest gradient; a longer one is scaled down to this norm. 0: no clipping.
        method: how the gradient goes back through time: full, exactly; truncated:K1,K2, every K1
            steps back through the last K2; checkpointed:MEMORY, such as checkpointed:64MB, exactly
            and within this much memory for states.
        patience: stop after this many epochs without a lower validation loss.
        seed: decides initial weights, order of the data and dropout.
        devices: processes that share each batch: GPUs where there are any, else on the CPU.
    """

    batch_size: int = 32
    learning_rate: float = 3e-3
    clip: float = 1.0
    method: str = FULL
    patience: int = 5
    seed: int = 0
    devices: int = 1

    def __post_init__(self) -> None:
        _at_least(self, batch_size=1, clip=0, patience=1, seed=0, devices=1)
        if not 0 < self.learning_rate < float("inf"):
            raise ArgumentError(f"expected --learning-rate to be above 0; got {self.learning_rate}")
        if self.method != FULL:  # which needs no check: help is to come without torch
            make_method(self.method)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Recipe):
    """How the network is trained: the recipe, and how far and how carefully to follow it.

    Attributes:
        epochs: times to go through the training part, at most.
        checkpoint_every: seconds between checkpoints; 0: after every step.
        watch: steps from one look at the gradient's way back through time, written to
            gradient.csv, to the next; 0: none. At 100 it takes less than 5 % of the time.
    """

    epochs: int = 30
    checkpoint_every: float = 30.0
    watch: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, epochs=1, checkpoint_every=0, watch=0)

    def with_changes(self, **changes: float | None) -> Self:
        """The same with what is not None put in."""
        given = {name: value for name, value in changes.items() if value is not None}
        return replace(self, **given)


def _versions() -> dict[str, str]:
    packages = ("torch", "lightning", "numpy", "polars")
    return {
        "bptt": __version__,
        "python": platform.python_version(),
        **{p: version(p) for p in packages},
    }


@dataclass(frozen=True, kw_only=True)
class Config:
    """All that is needed to do a run again.

    Attributes:
        data: absolute path of the data, or a shipped data set's name.
        task: forecast, classify or text.
        options: which columns play which part, as the task settled it.
        network: the network.
        training: how it is trained.
        fingerprint: of the data's files, so that a resumed run refuses changed data.
        command: the command line that started the run.
        versions: of all that decides the numbers.
        started: when.
    """

    data: str
    task: str
    options: DataOptions
    network: NetworkOptions
    training: TrainingOptions
    fingerprint: dict[str, str | int]
    command: str
    versions: dict[str, str] = field(default_factory=_versions)
    started: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    def changed_versions(self) -> dict[str, str]:
        """Packages that are not what they were when the run began, with both versions."""
        now = _versions()
        return {p: f"{v}, now {now[p]}" for p, v in self.versions.items() if now.get(p, v) != v}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for config.toml; what was left to the task is not in it."""
        return {
            "format": FORMAT,
            "command": self.command,
            "started": self.started,
            "versions": self.versions,
            "data": {
                "data": self.data,
                "task": self.task,
                **self.options.given(),
                "fingerprint": self.fingerprint,
            },
            "network": asdict(self.network),
            "training": asdict(self.training),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """The config that `to_dict` gave.

        Raises:
            KeyError, TypeError, AttributeError, ValueError: it did not give this.
        """
        data: dict[str, Any] = {k: _tupled(v) for k, v in content["data"].items()}
        return cls(
            data=data.pop("data"),
            task=data.pop("task"),
            fingerprint=data.pop("fingerprint"),
            options=DataOptions(**data),
            network=NetworkOptions(**content["network"]),
            training=TrainingOptions(**content["training"]),
            command=content["command"],
            versions=content["versions"],
            started=content["started"],
        )


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _at_least(options: NetworkOptions | Recipe, **lowest: float) -> None:
    for name, bound in lowest.items():
        value = getattr(options, name)
        if not bound <= value < float("inf"):
            option = "--" + name.replace("_", "-")
            raise ArgumentError(f"expected {option} to be {bound} or more; got {value}")
