"""Where the streams of several processes stand, in Lightning's checkpoints."""

from typing import Any

import torch

try:
    import lightning.pytorch as lightning
except ImportError as error:
    raise ImportError(
        "KeepStreams is for Lightning, which is not installed: pip install lightning. In one "
        "process a stream's own state_dict is all that is needed."
    ) from error

from bptt.streams.stream import Stream

KEY = "bptt.streams"


class KeepStreams(lightning.Callback):
    """Keeps where the streams of every process stand, so that training resumes where it was.

    A checkpoint has the state_dict of the first process, and every process hears rows of its own.
    With this callback it has the others' streams too. One process alone does not need it.

    >>> import lightning.pytorch as lightning
    >>> trainer = lightning.Trainer(callbacks=[KeepStreams()], logger=False)
    """

    def on_save_checkpoint(
        self, trainer: Any, pl_module: torch.nn.Module, checkpoint: dict[str, Any]
    ) -> None:
        """Gather all processes' streams: each of them is here."""
        own = {name: stream.get_extra_state() for name, stream in _streams(pl_module)}
        every: list[Any] = [None] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(every, own)
        else:
            every = [own]
        checkpoint[KEY] = every

    def on_load_checkpoint(
        self, trainer: Any, pl_module: torch.nn.Module, checkpoint: dict[str, Any]
    ) -> None:
        """Each process goes on with its own; with as many of them as there were, or afresh."""
        every = checkpoint.get(KEY, [])
        for name, stream in _streams(pl_module):
            if len(every) == trainer.world_size:
                stream.set_extra_state(every[trainer.global_rank][name])


def _streams(module: torch.nn.Module) -> list[tuple[str, Stream]]:
    return [(name, part) for name, part in module.named_modules() if isinstance(part, Stream)]
