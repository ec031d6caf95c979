"""Whether other programs have the processors that threads of one step would wait for each other on.

Such threads advance only while all of them run. Each sleeps when it has waited for long; where that
happens more often than once a step, rows are shared for the next while, or not shared at all. A
row's bits are the same either way.
"""

import time

WHILE = 1.0  # seconds
_until = 0.0


def is_crowded() -> bool:
    """Whether threads have lately waited in vain."""
    return time.monotonic() < _until


def note(naps: int, steps: int, members: int) -> None:
    """Takes down how often threads slept in a call of so many steps."""
    global _until
    if naps > (8 + steps) * (members - 1):
        _until = time.monotonic() + WHILE
