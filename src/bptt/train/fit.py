"""Training from the first step to the verdict, on Lightning."""

import logging
import signal
import warnings
from dataclasses import asdict

import lightning.pytorch as lightning
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy, Strategy

from bptt.inspect.callback import WatchCallback
from bptt.tasks import Evaluation
from bptt.train import processes
from bptt.train.cells import explained_cell
from bptt.train.course import Course
from bptt.train.interrupt import Interrupt
from bptt.train.job import Job
from bptt.train.module import TrainingModule
from bptt.train.run import Run
from bptt.train.screen import Screen
from bptt.train.steps import Steps
from bptt.train.validation import evaluate

# Units from which a step's products gain from more than one thread. Below, threads only wait for
# each other, and on a busy machine that made training many times slower.
WORTH_THREADS = 256


def fit(job: Job, screen: Screen) -> None:
    """Train to the end. What is left on disk is a checkpoint and the best epoch's weights.

    A resumed run has the numbers of an unbroken one bit by bit on one machine with one version of
    torch, on a GPU as far as torch's operations there are deterministic.

    Args:
        job: what to train, and from where.
        screen: where to tell of it.

    Raises:
        Stopped: Ctrl-C was pressed.
        Breakdown: a loss or gradient became infinite or NaN.
        RunError: the disk is full.
        CellError: the user's own cell raised an error.
    """
    training = job.config.training
    _quieten_lightning()
    if job.run is not None:
        job.run.clear_verdict()
        job.describe(job.run)
    batches = job.task.batches("train", training.batch_size)
    steps = Steps(batches, training.seed, training.epochs, job.state.position)
    cell, clipping = job.config.network.cell, job.state.clipping
    module = TrainingModule(job.network, job.task, clipping, training, cell)
    with Interrupt(screen.stopping, together=training.devices > 1) as interrupt:
        course = Course(job, module, steps, interrupt, screen)
        if job.config.network.hidden < WORTH_THREADS:
            torch.set_num_threads(1)
        unused = not job.every_parameter_used
        trainer = _make_trainer(training.devices, course, _watching(job), find_unused=unused)
        try:
            with explained_cell(cell):
                trainer.fit(module, steps)
        except BaseException:
            _end_siblings(trainer)
            raise
        finally:
            screen.stop()
            if job.run is not None:
                job.run.release()


def conclude(job: Job, run: Run) -> dict[str, Evaluation]:
    """Measure the best epoch's network on validation and test part; write its figures."""
    job.describe(run)
    run.write_weights(job.state.best.weights)
    job.network.load_state_dict(job.state.best.weights)
    job.network.to("cuda" if torch.cuda.is_available() else "cpu")
    size = job.config.training.batch_size
    found = {part: evaluate(job.network, job.task, part, size) for part in ("validation", "test")}
    content = {part: asdict(evaluation) for part, evaluation in found.items()}
    run.write_json(run.evaluation, {**content, "summary": job.task.summary()})
    return found


def _watching(job: Job) -> list[WatchCallback]:
    """The first process's look at the gradient's way, if it is wanted."""
    every = job.config.training.watch
    if job.run is None or not every:
        return []
    done = job.state.position.done
    return [WatchCallback(every, folder=job.run.folder, start=done, model=job.network)]


def _make_trainer(
    devices: int, course: Course, watching: list[WatchCallback], *, find_unused: bool
) -> lightning.Trainer:
    """A trainer for one pass over a stream of steps; all else about an epoch is the course's."""
    on_gpu, nodes = torch.cuda.is_available(), processes.nodes()
    here = devices // nodes
    if not on_gpu:
        torch.set_num_threads(max(1, torch.get_num_threads() // here))
    strategy: str | Strategy = "auto"
    if devices > 1:
        strategy = DDPStrategy(find_unused_parameters=find_unused)
    by_torchrun = processes.launched_by_torchrun()
    return lightning.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=here,
        num_nodes=nodes,
        strategy=strategy,
        # Named, for Lightning would else guess from what a cluster's job sets in the environment.
        plugins=[TorchElasticEnvironment() if by_torchrun else LightningEnvironment()],
        max_epochs=1,
        callbacks=[course, *watching],
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _end_siblings(trainer: lightning.Trainer) -> None:
    """Processes that this one started wait for it in vain once it fails."""
    launcher = trainer.strategy.launcher
    if launcher is not None:
        launcher.kill(signal.SIGKILL)


def _quieten_lightning() -> None:
    """What Lightning says of GPUs, tips and loaders is nothing that our user can act upon."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.")
