"""A watch on what Lightning trains."""

from pathlib import Path
from typing import Any

from torch import nn

try:
    import lightning.pytorch as lightning
except ImportError as missing:
    raise ImportError(
        "WatchCallback is for Lightning, which is not installed: pip install lightning. In a loop "
        "of your own, bptt.inspect.watch(model) does the same."
    ) from missing

from bptt.inspect.watch import EVERY, Watch


class WatchCallback(lightning.Callback):
    """What `bptt.inspect.watch` does, for a Lightning trainer: its loggers get the figures.

    Args:
        every: training steps from one look to the next.
        folder: where `gradient.csv` is written; None: the trainer's log_dir, if it has one.
        start: training steps that were done before this fit.
        model: the part of the Lightning module that is watched; None: all of it.

    In training by several processes the first one watches its own share of each batch.

    >>> import lightning.pytorch as lightning
    >>> trainer = lightning.Trainer(callbacks=[WatchCallback(every=200)], logger=False)
    """

    def __init__(
        self,
        every: int = EVERY,
        *,
        folder: str | Path | None = None,
        start: int = 0,
        model: nn.Module | None = None,
    ) -> None:
        self.every, self.folder, self.start, self.model = every, folder, start, model
        self.watch: Watch | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        place = trainer.log_dir if self.folder is None else self.folder  # every process must ask

        def log(figures: dict[str, float], _: int) -> None:
            for logger in trainer.loggers:
                logger.log_metrics(figures, step=trainer.global_step)

        if trainer.is_global_zero:
            model = pl_module if self.model is None else self.model
            self.watch = Watch(
                model, self.every, folder=place, log=log, start=self.start, hooked=False
            )

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        if self.watch is not None:
            self.watch.begin()

    def on_before_backward(self, *_: Any, **__: Any) -> None:
        if self.watch is not None:
            self.watch.end()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        if self.watch is not None:
            self.watch.close()
            self.watch = None

    def on_exception(self, *_: Any, **__: Any) -> None:
        self.on_train_end()
