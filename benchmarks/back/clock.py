"""A clock for ways that tell how much of their time the way back took."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

PAUSE = 0.02
BLOCK = 0.05
LEAST, ENOUGH = 3, 60.0


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
    """Milliseconds of every way, taken A B A B ... for about so many seconds.

    A turn is a pause, one call that does not count, and calls for 50 ms at least; three turns at
    least. A way that has taken its share of the budget sits later turns out, and one that has
    taken a minute sits out all but one.
    """
    found: dict[str, list[list[Spent]]] = {name: [] for name in ways}
    running, share = list(ways), budget / len(ways)
    gc.collect()
    gc.disable()
    while running:
        for name in running:
            found[name].append(_block(ways[name]))
        running = [name for name in running if _goes_on(found[name], share)]
    gc.enable()
    return {name: _milliseconds(blocks) for name, blocks in found.items()}


def _block(way: Way) -> list[Spent]:
    time.sleep(PAUSE)
    calls = [way()]
    while sum(call.both for call in calls) < BLOCK or len(calls) == 2:
        calls.append(way())
    return calls[1:] if len(calls) > 1 else calls


def _goes_on(blocks: list[list[Spent]], share: float) -> bool:
    taken = sum(call.both for block in blocks for call in block)
    return taken < ENOUGH and (len(blocks) < LEAST or taken + PAUSE * len(blocks) < share)


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
