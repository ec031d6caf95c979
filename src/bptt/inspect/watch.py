"""The gradient's way, logged while a network is trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from bptt.errors import ArgumentError
from bptt.inspect.look import Look, gradient_norms, is_cell
from bptt.inspect.sinks import Board, Figures, Log, Table
from bptt.listeners import LISTENERS

EVERY = 100  # training steps between looks, which then cost less than a twentieth of the time


def watch(
    model: nn.Module,
    every: int = EVERY,
    *,
    folder: str | Path | None = None,
    writer: Any = None,
    log: Log | None = None,
) -> "Watch":
    """Log how the gradient travels while a model is trained, in any training loop.

    At every N-th training step, of the model's cells: by which factor a gradient shrinks with each
    step back in time (`decay rate`) and its `half-life`, the last step's Jacobian's largest
    singular value (`jacobian norm`) and `spectral radius`, the share of units in the flat part of
    each non-linearity (`saturation`); and of each parameter the `gradient norm`, once the backward
    pass is done. A look takes a few sequences and steps, with modules as in evaluation; it takes
    no number from torch's generator, so training goes on as without it.

    Args:
        model: what is called in the loop, with modules of `bptt.nn` or calls of `bptt.unroll` in
            its forward; or a cell, with its `initial_state`, that the loop hands to `bptt.unroll`.
        every: training steps (forward passes with gradients) from one look to the next.
        folder: where `gradient.csv` is written: step, quantity, of, value.
        writer: a SummaryWriter of torch.utils.tensorboard, or a folder to make one for.
        log: called with a dict of figures, "quantity/of" to number, and the step.

    Returns:
        `Watch`: a context manager; `close()` ends it. In Lightning, `WatchCallback` does the same.

    Raises:
        ArgumentError: an `every` below 1, something that is no module.
        ImportError: a folder for TensorBoard where the package tensorboard is not installed.

    >>> import torch, bptt
    >>> model = bptt.nn.GRU(2, 4)
    >>> with watch(model, every=2, log=lambda figures, step: print(step, len(figures))):
    ...     for _ in range(4):
    ...         outputs, state = model(torch.randn(10, 3, 2))
    ...         outputs.square().mean().backward()
    1 12
    3 12
    """
    return Watch(model, every, folder=folder, writer=writer, log=log)


class Watch:
    """A watch on a model; `watch` says what it logs.

    Args:
        start: training steps that were done before.
        hooked: whether the model itself tells of its steps; else `begin` and `end` are called.

    Attributes:
        steps: training steps so far.
        last: the figures of the last look, "quantity/of" to number.
    """

    def __init__(
        self,
        model: nn.Module,
        every: int = EVERY,
        *,
        folder: str | Path | None = None,
        writer: Any = None,
        log: Log | None = None,
        start: int = 0,
        hooked: bool = True,
    ) -> None:
        _check(model, every)
        self.model, self.every, self.steps = model, every, start
        self.last: Figures = {}
        self._logs: list[Log] = [] if log is None else [log]
        self._logs += [] if folder is None else [Table(Path(folder), start)]
        self._logs += [] if writer is None else [Board(writer)]
        self._look = Look(model)
        self._figures: Figures = {}
        self._waiting: list[Any] = []
        self._hooks = self._hooked() if hooked else []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the hooks away, and write what was found last."""
        self._look.stop()
        self._send()
        for hook in self._hooks:
            hook.remove()
        for log in self._logs:
            if isinstance(log, Board):
                log.close()
        self._hooks, self._logs = [], []

    def begin(self) -> None:
        """A training step's forward pass begins."""
        self._send()
        self.steps += 1
        if (self.steps - 1) % self.every == 0:
            self._look.listen()

    def end(self) -> None:
        """Its forward pass has ended; the backward pass has yet to begin."""
        if not self._look.listens:
            return
        self._figures = self._look.figures()
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self._waiting = [p.register_post_accumulate_grad_hook(self._arrived) for p in parameters]

    def _arrived(self, _: Tensor) -> None:
        """A gradient is there: the others are, when the backward pass is done."""
        self._forget()
        torch.autograd.Variable._execution_engine.queue_callback(self._finish)

    def _finish(self) -> None:
        self._figures |= gradient_norms(self.model)
        self._send()

    def _forget(self) -> None:
        for hook in self._waiting:
            hook.remove()
        self._waiting = []

    def _send(self) -> None:
        """Log what was found, if that was not done yet."""
        self._forget()
        if self._figures:
            self.last, self._figures = self._figures, {}
            for log in self._logs:
                log(self.last, self.steps)

    def _hooked(self) -> list[Any]:
        """The model tells of its training steps: a module by hooks, a cell when it is unrolled."""
        if is_cell(self.model):
            return [_Listener(self._unrolled)]
        before = self.model.register_forward_pre_hook(lambda *_: self._called(self.begin))
        after = self.model.register_forward_hook(lambda *_: self._called(self.end))
        return [before, after]

    def _called(self, what: Callable[[], None]) -> None:
        if torch.is_grad_enabled() and self.model.training:
            what()

    def _unrolled(self, *given: Any) -> None:
        if given[0] is self.model and torch.is_grad_enabled() and self.model.training:
            self.begin()
            self._look.hear(*given)
            self.end()


class _Listener:
    """Hears all unrolls until it is removed."""

    def __init__(self, hear: Callable[..., None]) -> None:
        self._hear = hear
        LISTENERS.append(hear)

    def remove(self) -> None:
        LISTENERS.remove(self._hear)


def _check(model: Any, every: Any) -> None:
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model: expected a module, got {type(model).__name__}.")
    if not isinstance(every, int) or isinstance(every, bool) or every < 1:
        raise ArgumentError(f"every: expected a whole number of at least 1, got {every!r}.")
