"""Whether other programs have the processors that threads of one step would wait for each other on.

Such threads advance only while all of them run. Where one has waited in vain for long, it goes on
alone (`meeting.py`), and rows are shared for the next while, or not shared at all. The first while
is short, for a processor is taken for a moment now and then on any machine; each is twice as long
as the one before if threads wait in vain again soon after it. A row's bits are the same either way.
"""

import time

SHORTEST, LONGEST = 0.03, 1.0  # seconds
SOON = 4  # so many times the last while after its end

_until, _while = 0.0, 0.0


def is_crowded() -> bool:
    """Whether threads have lately waited in vain."""
    return time.monotonic() < _until


def note() -> None:
    """Takes down that one of a call's threads had to go on alone."""
    global _until, _while
    now = time.monotonic()
    again = now < _until + SOON * _while
    _while = min(2 * _while, LONGEST) if again else SHORTEST
    _until = now + _while
