"""Ctrl-C: once, and training saves after the step it is in; twice, and it stops at once."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self


class Stopped(BaseException):
    """Training was stopped by Ctrl-C. Not an `Exception`, so that nothing takes it for a failure.

    Attributes:
        saved: whether the last step is in the checkpoint.
    """

    def __init__(self, *, saved: bool) -> None:
        super().__init__()
        self.saved = saved


class Interrupt:
    """Listens for Ctrl-C while it is entered.

    Args:
        acknowledge: called at the first Ctrl-C, to tell the user that it was heard.

    Attributes:
        asked: whether Ctrl-C was pressed.
    """

    def __init__(self, acknowledge: Callable[[], None]) -> None:
        self._acknowledge = acknowledge
        self._before: Any = None
        self.asked = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise Stopped(saved=False)
        self.asked = True
        self._acknowledge()
