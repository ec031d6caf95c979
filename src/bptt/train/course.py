"""The course of training: what happens after each step, at an epoch's end, and when to stop."""

import math
import time
from typing import Any

import lightning.pytorch as lightning
from torch.optim.lr_scheduler import ReduceLROnPlateau

from bptt.tasks import Evaluation
from bptt.train import processes
from bptt.train.breakdown import GENTLER, Breakdown
from bptt.train.checkpoint import save_checkpoint
from bptt.train.generators import seed_generators
from bptt.train.interrupt import Interrupt, Stopped
from bptt.train.job import Job
from bptt.train.metrics import MetricsFile
from bptt.train.module import TrainingModule
from bptt.train.screen import Screen
from bptt.train.state import EpochSums, process_state, restore_process
from bptt.train.steps import Steps
from bptt.train.validation import evaluate, mean_loss


class Course(lightning.Callback):
    """Follows training from step to step: metrics, validation, checkpoints, early stopping.

    The first process does all that is seen, in files or on the screen; the others hear of its
    decisions, so that all stop at the same step.

    Args:
        job: what is trained, and from where; its state moves on with training.
        module: the same as Lightning sees it.
        steps: the batches still to come.
        interrupt: hears Ctrl-C.
        screen: tells the user.
    """

    def __init__(
        self,
        job: Job,
        module: TrainingModule,
        steps: Steps,
        interrupt: Interrupt,
        screen: Screen,
    ) -> None:
        self._job, self._state, self._options = job, job.state, job.config.training
        self._module, self._steps = module, steps
        self._interrupt, self._screen = interrupt, screen
        self._metrics: MetricsFile | None = None
        self._headline = ""
        self._seconds_before = job.state.position.seconds

    def on_train_start(self, trainer: lightning.Trainer, *_: Any, **__: Any) -> None:
        self._interrupt.listen()
        self._optimizer = trainer.optimizers[0]
        self._scheduler = ReduceLROnPlateau(
            self._optimizer, factor=0.5, patience=self._options.patience // 2
        )
        self._saved_at = self._begun_at = time.monotonic()
        if processes.is_first():
            self._open()
        if self._job.checkpoint is None:
            seed_generators(self._options.seed, processes.rank())
            self._save()
        else:
            self._restore(self._job.checkpoint)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any, **__: Any) -> None:
        state, module = self._state, self._module
        state.position.step += 1
        state.position.done += 1
        state.position.seconds = self._seconds_before + time.monotonic() - self._begun_at
        state.sums.add(module.loss, state.clipping)
        if self._metrics is not None:
            self._metrics.add_step(state, module.loss, self._learning_rate())
        self._screen.show_step(state, module.loss)
        if state.position.step == self._steps.per_epoch:
            self._end_epoch()
        self._heed_wishes(trainer)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self._save()
        if self._metrics is not None:
            self._metrics.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """A step that broke down is a row of its own: it tells why training ended."""
        state, module = self._state, self._module
        finite = math.isfinite(module.loss) and math.isfinite(state.clipping.norm)
        if isinstance(exception, Breakdown) and self._metrics is not None and not finite:
            state.position.done += 1
            self._metrics.add_step(state, module.loss, self._learning_rate())

    def _open(self) -> None:
        """The first process's part of the start: metrics.csv and the screen."""
        checkpoint = self._job.checkpoint
        if checkpoint is None:
            loss, evaluation = self._measure()
            self._start_showing(evaluation.headline, None)
            self._screen.show_untrained(loss, evaluation)
        else:
            self._start_showing(checkpoint["headline"], checkpoint["metrics_bytes"])

    def _start_showing(self, headline: str, length: int | None) -> None:
        self._headline = headline
        if self._job.run is not None:
            self._metrics = MetricsFile(self._job.run.metrics, headline, length)
        self._screen.start(self._state, self._steps.per_epoch, headline)

    def _end_epoch(self) -> None:
        state, epoch = self._state, self._state.position.epoch
        loss = processes.first_says(self._validate() if processes.is_first() else math.nan)
        if not math.isfinite(loss):
            raise Breakdown(
                f"training broke down in epoch {epoch + 1}: the loss in training was a number, and "
                f"on the validation part, which the weights were not fitted to, it is {loss}. "
                f"{GENTLER}"
            )
        if state.best.note(loss, epoch, self._module.network):
            self._write_weights()
        self._scheduler.step(loss)
        self._module.carried = None
        state.position.epoch, state.position.step, state.sums = epoch + 1, 0, EpochSums()

    def _validate(self) -> float:
        """The validation loss, written and shown together with the task's headline."""
        loss, evaluation = self._measure()
        if self._metrics is not None:
            headline = evaluation.metrics[evaluation.headline]
            self._metrics.add_epoch(self._state, loss, headline, self._learning_rate())
        self._screen.show_epoch(self._state, loss, evaluation, self._learning_rate())
        return loss

    def _measure(self) -> tuple[float, Evaluation]:
        of = (self._module.network, self._job.task, "validation", self._options.batch_size)
        return mean_loss(*of), evaluate(*of)

    def _heed_wishes(self, trainer: lightning.Trainer) -> None:
        """Save if it is time to; stop if anybody pressed Ctrl-C or patience is at its end."""
        late = time.monotonic() - self._saved_at >= self._options.checkpoint_every
        wishes = [float(self._interrupt.heard), float(processes.is_first() and late)]
        heard, due = processes.largest(wishes, self._module.device)
        if heard or due:
            self._save()
        if heard:
            raise Stopped(int(heard), saved=True)
        if self._state.best.stale >= self._options.patience:
            trainer.should_stop = True

    def _save(self) -> None:
        """Write a checkpoint. Every process must call, for each has a part of it."""
        parts = processes.gather(process_state(self._module))
        if self._job.run is not None and self._metrics is not None:
            content = {
                **self._state.to_checkpoint(),
                "weights": self._module.network.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "scheduler": self._scheduler.state_dict(),
                "processes": parts,
                "headline": self._headline,
                "metrics_bytes": self._metrics.length(),
            }
            save_checkpoint(self._job.run.checkpoint, content)
        self._saved_at = time.monotonic()

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        self._optimizer.load_state_dict(checkpoint["optimizer"])
        self._scheduler.load_state_dict(checkpoint["scheduler"])
        self._write_weights()
        restore_process(checkpoint["processes"], self._module, self._steps.first())

    def _write_weights(self) -> None:
        if self._job.run is not None and self._state.best.weights:
            self._job.run.write_weights(self._state.best.weights)

    def _learning_rate(self) -> float:
        return self._optimizer.param_groups[0]["lr"]
