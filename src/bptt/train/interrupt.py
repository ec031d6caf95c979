"""Ctrl-C: once, and training saves after the step it is in; twice, and it stops at once."""

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

ECHO = 1.0  # seconds; torchrun passes on to its processes a Ctrl-C that the terminal sent them too


class Stopped(BaseException):
    """Training was stopped by a signal. No `Exception`, so that nothing takes it for a failure.

    Attributes:
        saved: whether the last step is in the checkpoint.
        code: what a shell expects a process to exit with that the signal stopped.
    """

    def __init__(self, number: int, *, saved: bool) -> None:
        super().__init__()
        self.saved, self.code = saved, 128 + number


class Interrupt:
    """Listens for Ctrl-C, and for SIGTERM, with which clusters and `kill` ask a process to end.

    Until `listen` is called there is no step to save after. SIGTERM ends the process at once then,
    and where several start together Ctrl-C does too: they wait for each other where Python hears no
    signal, and if one fails, torchrun ends the others by SIGTERM.

    Args:
        acknowledge: called at the first signal, to tell the user that it was heard.
        together: whether several processes train.

    Attributes:
        heard: the first signal's number; 0: there was none.
    """

    def __init__(self, acknowledge: Callable[[], None], *, together: bool = False) -> None:
        self._acknowledge, self._together = acknowledge, together
        self._before: dict[int, Any] = {}
        self._heard_at = 0.0
        self.heard = 0

    def __enter__(self) -> Self:
        self._before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
        signal.signal(signal.SIGINT, signal.SIG_DFL if self._together else self._hear)
        return self

    def listen(self) -> None:
        """Listen for both, in the place of Lightning, which has a handler of its own."""
        for number in self._before:
            signal.signal(number, self._hear)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.heard:
            self.heard, self._heard_at = number, now
            self._acknowledge()
        elif now - self._heard_at > ECHO:
            raise Stopped(number, saved=False)
