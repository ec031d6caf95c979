"""Clocks: ways of doing one thing, timed in turn."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

PAUSE = 0.02
BLOCK = 0.05
LEAST = 3

Ways = Mapping[str, Callable[[], Any]]


class Times(NamedTuple):
    """Seconds a call takes: the median of all, the best round's median, how many of both."""

    median: float
    best: float
    calls: int
    rounds: int


def in_turn(ways: Ways, budget: float) -> dict[str, Times]:
    """Time every way, A B A B ..., for about so many seconds.

    A way whose share of the budget is spent sits the later rounds out, but has its first three.
    """
    found: dict[str, list[list[float]]] = {name: [] for name in ways}
    share = budget / len(ways)
    running = list(ways)
    gc.collect()
    gc.disable()
    while running:
        for name in running:
            found[name].append(_block(ways[name]))
        running = [name for name in running if _goes_on(found[name], share)]
    gc.enable()
    return {name: _times(rounds) for name, rounds in found.items()}


def _block(way: Callable[[], Any]) -> list[float]:
    """Seconds of calls in a row, after a pause; the first is dropped unless it fills the block."""
    time.sleep(PAUSE)
    times = [_seconds(way)]
    while sum(times) < BLOCK or len(times) == 2:
        times.append(_seconds(way))
    return times[1:] if len(times) > 1 else times


def _seconds(way: Callable[[], Any]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def _goes_on(rounds: list[list[float]], share: float) -> bool:
    return len(rounds) < LEAST or sum(map(sum, rounds)) + PAUSE * len(rounds) < share


def _times(rounds: list[list[float]]) -> Times:
    calls = [seconds for block in rounds for seconds in block]
    best = min(map(statistics.median, rounds))
    return Times(statistics.median(calls), best, len(calls), len(rounds))
