"""A clock for ways that tell how much of their time the way back took."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from race import rounds

ENOUGH = 60.0


class Spent(NamedTuple):
    """Seconds of forward and backward together, and of backward alone."""

    both: float
    backward: float


Way = Callable[[], Spent]
Result = dict[str, Any]


class Watch:
    """Seconds, and those of them spent in `backward()` blocks.

    >>> watch = Watch()
    >>> with watch.backward():
    ...     pass
    >>> 0 < watch.spent().backward < watch.spent().both
    True
    """

    def __init__(self) -> None:
        self._back, self._start = 0.0, time.perf_counter()

    @contextmanager
    def backward(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._back += time.perf_counter() - start

    def spent(self) -> Spent:
        return Spent(time.perf_counter() - self._start, self._back)


def in_turn(ways: Mapping[str, Way], budget: float) -> dict[str, Result]:
    """Milliseconds of every way, taken in turn for about so many seconds; see `race.rounds`.

    A way that has taken a minute sits out all turns but one.
    """
    found = rounds.turns(ways, budget, lambda spent: spent.both, ENOUGH)
    return {name: _milliseconds(turns) for name, turns in found.items()}


def _milliseconds(blocks: list[list[Spent]]) -> Result:
    calls = [call for block in blocks for call in block]
    return {
        "ms": 1e3 * statistics.median(call.both for call in calls),
        "best ms": 1e3 * min(statistics.median(c.both for c in block) for block in blocks),
        "backward ms": 1e3 * statistics.median(call.backward for call in calls),
        "backward best ms": 1e3
        * min(statistics.median(c.backward for c in block) for block in blocks),
        "calls": len(calls),
    }
