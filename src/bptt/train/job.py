"""A training job made ready: everything that can fail for the user's reasons fails here."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bptt.figures import count
from bptt.tasks import Task, data_name, fingerprint, open_task
from bptt.tasks.opening import find_source
from bptt.train import processes
from bptt.train.breakdown import check_gradient, check_loss
from bptt.train.cells import explained_cell, short_name
from bptt.train.clipping import Clipping, gradient_norm
from bptt.train.config import Config, DataOptions, NetworkOptions, TrainingOptions
from bptt.train.generators import seed_generators
from bptt.train.method import make_method
from bptt.train.model import describe_model
from bptt.train.network import Network
from bptt.train.run import Run, check_place, make_run
from bptt.train.state import State


@dataclass
class Job:
    """What `fit` needs.

    Attributes:
        run: the folder; in processes but the first None, for they write nothing.
        config: what was asked for.
        task: the data.
        network: with the weights to start from.
        state: where training stands.
        checkpoint: what to go on from; None: a fresh start.
        every_parameter_used: whether a step gives each parameter a gradient.
        concluded: whether the run was trained to its end and measured before.
    """

    run: Run | None
    config: Config
    task: Task
    network: Network
    state: State
    checkpoint: dict | None
    every_parameter_used: bool
    concluded: bool = False

    @property
    def ending(self) -> str:
        """Why there is no step left to do, in words; empty where there is one."""
        training, epoch = self.config.training, self.state.position.epoch
        if self.state.best.stale >= training.patience:
            return f"no lower validation loss for {count(training.patience, 'epoch')}"
        return f"the limit of {count(epoch, 'epoch')}" if epoch >= training.epochs else ""

    def describe(self, run: Run) -> None:
        """Write what was asked for and what the network is."""
        run.write_config(self.config)
        run.write_json(run.model, describe_model(self.network, self.task, self.config.network))


def new_job(
    data: str | None,
    task_name: str | None,
    options: DataOptions,
    network_options: NetworkOptions,
    training: TrainingOptions,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    command: str = "",
) -> Job:
    """Read the data, make the network, try one step of it, and only then make the run's folder.

    Raises:
        DataError, CellError, ArgumentError, RunError: something does not fit, or the first step's
            loss or gradient is no number; nothing was written.
    """
    if processes.is_first():
        check_place(out, overwrite=overwrite)
    training = replace(training, devices=processes.wanted(training.devices))
    task = open_task(data, task_name, options, seed=training.seed)
    network, every_parameter_used = make_network(task, network_options, training)
    config = Config(
        data=_lasting_name(data, task.name),
        task=task.name,
        options=_settled(options.over(find_source(data, task_name).options), task),
        network=network_options,
        training=training,
        fingerprint=fingerprint(data, task.name),
        command=command,
    )
    run = None
    if processes.is_first():
        name = f"{data_name(data, task.name)}-{short_name(network_options.cell)}"
        run = make_run(out, name, overwrite=overwrite)
    state = State(Clipping(training.clip))
    job = Job(run, config, task, network, state, None, every_parameter_used)
    if run is not None:
        with run.held():
            job.describe(run)
    return job


def make_network(
    task: Task, options: NetworkOptions, training: TrainingOptions
) -> tuple[Network, bool]:
    """The network with its initial weights, and whether a step reaches all of them."""
    seed_generators(training.seed, 0)
    with explained_cell(options.cell):
        network = Network(task.shape, options)
        return network, _try_step(network, task, training, options.cell)


def _try_step(network: Network, task: Task, training: TrainingOptions, cell: str) -> bool:
    """One step forward and back, thrown away: what cannot work should not begin."""
    batch = task.batches("train", training.batch_size).batch(training.seed, 0, 0)
    outputs, _ = network(batch, method=make_method(training.method))
    total, terms = task.loss(outputs, batch)
    check_loss(total.item() / max(1, terms), network, cell, 1)
    total.backward()
    check_gradient(gradient_norm(network.parameters()).item(), network, cell, 1)
    reached = all(p.grad is not None for p in network.parameters() if p.requires_grad)
    network.zero_grad(set_to_none=True)
    return reached


def _settled(options: DataOptions, task: Task) -> DataOptions:
    """The options as the task took them: with the sizes that it chose, and a name for each column.

    A run that is resumed is given these, so that it reads its data as before.
    """
    learnt: Any = task.learnt
    sizes = {name: vars(learnt)[name] for name in ("window", "horizon") if name in vars(learnt)}
    columns = asdict(learnt.columns) if hasattr(learnt, "columns") else {}
    used = {name for part in columns.values() if isinstance(part, tuple) for name in part}
    settled: dict[str, Any] = options.given() | sizes
    for option, value in settled.items():
        if isinstance(value, tuple):
            settled[option] = _apart(value, used)
    return DataOptions(**settled)


def _apart(names: tuple[str, ...], used: set[str]) -> tuple[str, ...]:
    """Column names that may have been written with commas between."""
    lists = ([name] if name in used else name.split(",") for name in names)
    return tuple(name.strip() for names in lists for name in names)


def _lasting_name(data: str | None, task: str) -> str:
    """The data as any later process finds them, whatever folder it starts in."""
    if data is not None and Path(data).is_file():
        return str(Path(data).resolve())
    return data_name(data, task)
