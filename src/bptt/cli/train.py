"""`bptt train`."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import ArgumentCollection, Group, Parameter
from rich.console import Console

from bptt.errors import RunError
from bptt.tasks import DataOptions
from bptt.train.config import NetworkOptions, Recipe, TrainingOptions
from bptt.train.interrupt import Stopped

if TYPE_CHECKING:  # Lightning takes seconds to import, so it is imported once something is shown
    from bptt.train.job import Job

MISTAKEN, INTERRUPTED = 2, 130
WITH_RESUME = {"--resume", "--epochs", "--checkpoint-every"}


def _check_given(arguments: ArgumentCollection) -> None:
    """What the options cannot check one by one."""
    given = {argument.name: argument for argument in arguments if argument.tokens}
    for name, argument in given.items():
        value = argument.tokens[0].value
        if argument.hint is int and not value.lstrip("-").isdecimal():
            raise ValueError(f'Invalid value "{value}" for {name}: expected a whole number.')
    others = sorted(set(given) - WITH_RESUME)
    if "--resume" in given and others:
        raise ValueError(
            f"--resume goes on with the run's own settings, and {', '.join(others)} would make it "
            "another run. Leave that out, or start a new run without --resume."
        )


DATA_DEFAULTS, NETWORK_DEFAULTS, RECIPE_DEFAULTS = DataOptions(), NetworkOptions(), Recipe()
CHECKED = Group("options", show=False, validator=_check_given)
DATA, NETWORK, TRAINING, RUN = (
    (Group(title, sort_key=order), CHECKED)
    for order, title in enumerate(("Data", "Network", "Training", "Run"))
)


def train(
    data: Annotated[str | None, Parameter(group=DATA)] = None,
    /,
    *,
    task: Annotated[Literal["forecast", "classify", "text"] | None, Parameter(group=DATA)] = None,
    options: Annotated[DataOptions, Parameter(name="*", group=DATA)] = DATA_DEFAULTS,
    network: Annotated[NetworkOptions, Parameter(name="*", group=NETWORK)] = NETWORK_DEFAULTS,
    recipe: Annotated[Recipe, Parameter(name="*", group=TRAINING)] = RECIPE_DEFAULTS,
    epochs: Annotated[int | None, Parameter(group=TRAINING)] = None,
    checkpoint_every: Annotated[float | None, Parameter(group=RUN)] = None,
    watch: Annotated[int | None, Parameter(group=RUN)] = None,
    out: Annotated[Path | None, Parameter(group=RUN)] = None,
    overwrite: Annotated[bool, Parameter(group=RUN)] = False,
    resume: Annotated[Path | None, Parameter(group=RUN)] = None,
) -> int:
    """Train a network on a table, on sequences or on a text.

    Parameters
    ----------
    data
        A file (.csv, .tsv, .parquet, .ts, .txt) or a name that `bptt datasets` lists. Without it, a
        data set that comes with bptt.
    task
        What to learn; without it, what the file is for.
    epochs
        Times to go through the training part, at most (30).
    checkpoint_every
        Seconds between checkpoints (30); 0: after every step.
    watch
        Steps from one look at the gradient's way back through time, kept in the run's gradient.csv,
        to the next (100); 0: none.
    out
        Folder for the run; without it, the next free runs/DATA-CELL-N.
    overwrite
        Replace the run in that folder.
    resume
        Go on with the run in this folder as if it had never stopped. --epochs sets a new limit.
    """
    changes = {"epochs": epochs, "checkpoint_every": checkpoint_every, "watch": watch}
    training = TrainingOptions(**asdict(recipe)).with_changes(**changes)
    from bptt.train import processes

    console = Console(quiet=not processes.is_first(), highlight=False)
    with console.status("Reading the data ..."):
        from bptt.train.job import new_job
        from bptt.train.resume import resumed_job

        if resume is not None:
            job = resumed_job(resume, epochs, checkpoint_every)
        else:
            command = shlex.join(["bptt", *sys.argv[1:]])
            place = {"out": out, "overwrite": overwrite}
            job = new_job(data, task, options, network, training, command=command, **place)
    return _carry_out(job, console)


def _carry_out(job: "Job", console: Console) -> int:
    from bptt.cli.outcome import show_job, show_outcome, show_stop
    from bptt.report import write_report
    from bptt.train import processes
    from bptt.train.breakdown import Breakdown
    from bptt.train.fit import conclude, fit
    from bptt.train.screen import Screen

    if job.ending and job.concluded:
        message = f"{job.run} is finished: {job.ending}. Nothing is left to resume."
        console.print(message, soft_wrap=True)
        return 0
    show_job(console, job)
    try:
        if not job.ending:
            fit(job, Screen(console))
        if job.run is not None:
            with console.status("Measuring the best network, writing the report ..."):
                conclude(job, job.run)
                write_report(job.run.folder)
            show_outcome(console, job, job.run)
    except Breakdown as error:
        if job.run is None:
            return MISTAKEN
        raise RunError(f"{error}. How far it came: {write_report(job.run.folder)}") from error
    except (Stopped, KeyboardInterrupt) as stopped:
        show_stop(console, job, at_once=isinstance(stopped, Stopped) and not stopped.saved)
        code = stopped.code if isinstance(stopped, Stopped) else INTERRUPTED
        return code if processes.is_first() else 0
    return 0
