"""A trained network as the verbs use it."""

from pathlib import Path
from typing import NamedTuple

import torch

from bptt.tasks import Forward, Task
from bptt.train.model import load_model
from bptt.train.network import forward_of
from bptt.train.run import Run


class Trained(NamedTuple):
    """A run's network, ready to be called, and its task without data."""

    forward: Forward
    task: Task


def load_trained(folder: Path) -> Trained:
    """The best network of a run. Raises `RunError` as `Run.open` and `load_model` do."""
    network, task = load_model(Run.open(folder))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Trained(forward_of(network.to(device), device), task)
