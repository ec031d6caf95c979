"""A run gone on with: everything about its folder that can be wrong is said here."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from bptt.errors import RunError
from bptt.folder.damage import taken_apart
from bptt.folder.read import read_run
from bptt.tasks import open_task
from bptt.train import processes
from bptt.train.checkpoint import load_checkpoint
from bptt.train.clipping import Clipping
from bptt.train.config import Config
from bptt.train.job import Job, make_network
from bptt.train.metrics import check_metrics
from bptt.train.model import load_model
from bptt.train.run import Run
from bptt.train.source import check_data
from bptt.train.state import State


def resumed_job(folder: Path, epochs: int | None, checkpoint_every: float | None) -> Job:
    """Go on with the run in a folder, from its last checkpoint.

    Args:
        folder: the run.
        epochs: a new limit; None: the run's own. Nothing else can be changed, for the numbers would
            be those of another run.
        checkpoint_every: seconds; None: the run's own.

    Raises:
        RunError: the folder holds no run, its files are damaged or newer, its data have changed,
            another process trains it, or torchrun started another number of processes.
    """
    run = Run.open(folder)
    config = run.read_config()
    _check_processes(config.training.devices)
    changes = {"epochs": epochs, "checkpoint_every": checkpoint_every}
    config = replace(config, training=config.training.with_changes(**changes))
    with run.held() if processes.is_first() else nullcontext():
        return _resumed(run, config)


def _resumed(run: Run, config: Config) -> Job:
    checkpoint = _read_checkpoint(run)
    check_data(config)
    task = open_task(config.data, config.task, config.options, seed=config.training.seed)
    network, every_parameter_used = make_network(task, config.network, config.training)
    state = State(Clipping(config.training.clip))
    if checkpoint is not None:
        with taken_apart(run.checkpoint):
            state = State.from_checkpoint(checkpoint)
            network.load_state_dict(checkpoint["weights"])
    own = run if processes.is_first() else None
    job = Job(own, config, task, network, state, checkpoint, every_parameter_used)
    return replace(job, concluded=bool(job.ending) and _is_concluded(run))


def _read_checkpoint(run: Run) -> dict[str, Any] | None:
    """What to go on from; None for a run that was killed before its first checkpoint."""
    if not run.checkpoint.exists() and not run.weights.exists():
        return None
    checkpoint = load_checkpoint(run.checkpoint)
    with taken_apart(run.checkpoint):
        length = checkpoint["metrics_bytes"]
    if processes.is_first():
        check_metrics(run.metrics, length)
    return checkpoint


def _is_concluded(run: Run) -> bool:
    """Whether all that a finished run has is there and whole; if not, it is written anew."""
    try:
        load_model(run)
        read_run(run.folder)
    except RunError:
        return False
    return run.evaluation.exists() and run.report.exists()


def _check_processes(before: int) -> None:
    now = processes.wanted(before)
    if now != before:
        raise RunError(
            f"the run was begun with --devices {before}, and torchrun started {now} processes, "
            f"which would go on to other numbers. Start {before}, or train to a new folder"
        )
