"""A trained network as the verbs use it."""

import shlex
import warnings
from pathlib import Path
from typing import NamedTuple

import torch

from bptt.errors import RunWarning
from bptt.tasks import Forward, Task
from bptt.train.model import load_model
from bptt.train.network import forward_of
from bptt.train.run import Run


class Trained(NamedTuple):
    """A run's network, ready to be called, and its task without data."""

    forward: Forward
    task: Task


def load_trained(folder: Path) -> Trained:
    """The best network of a run.

    Raises:
        RunError: as `Run.open` and `load_model` do.

    Warns:
        RunWarning: training has not come to its end.
    """
    run = Run.open(folder)
    network, task = load_model(run)
    note_unfinished(run)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Trained(forward_of(network.to(device), device), task)


def note_unfinished(run: Run) -> None:
    """Give a `RunWarning` where training has not come to its end."""
    if not run.evaluation.exists():
        note = f"{run} has not been trained to its end; this is the best network so far"
        mend = f"Go on with: bptt train --resume {shlex.quote(str(run))}"
        warnings.warn(f"{note}. {mend}", RunWarning, stacklevel=3)
