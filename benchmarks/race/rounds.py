"""Clocks: ways of doing one thing, timed in turn."""

import functools
import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

PAUSE = 0.02
BLOCK = 0.05
LEAST = 3

T = TypeVar("T")
Ways = Mapping[str, Callable[[], Any]]


class Times(NamedTuple):
    """Seconds a call takes: the median of all, the best round's median, how many of both."""

    median: float
    best: float
    calls: int
    rounds: int


def in_turn(ways: Ways, budget: float) -> dict[str, Times]:
    """Time every way, A B A B ..., for about so many seconds."""
    calls = {name: functools.partial(_seconds, way) for name, way in ways.items()}
    return {name: _times(found) for name, found in turns(calls, budget, float).items()}


def turns(
    calls: Mapping[str, Callable[[], T]],
    budget: float,
    seconds: Callable[[T], float],
    most: float = math.inf,
) -> dict[str, list[list[T]]]:
    """What every call says of itself, turn by turn, A B A B ..., for about so many seconds.

    A turn is a pause, one call that does not count, and calls for 50 ms at least. Who has taken his
    share of the budget sits later turns out, but has his first three.

    Args:
        calls: by name.
        budget: seconds for all.
        seconds: that a call has taken, of what it says.
        most: seconds after which one sits out even the second and third turn.
    """
    found: dict[str, list[list[T]]] = {name: [] for name in calls}
    running, share = list(calls), budget / len(calls)
    gc.collect()
    gc.disable()
    while running:
        for name in running:
            found[name].append(_turn(calls[name], seconds))
        taken = {name: [sum(map(seconds, turn)) for turn in found[name]] for name in running}
        running = [name for name in running if _goes_on(taken[name], share, most)]
    gc.enable()
    return found


def _turn(call: Callable[[], T], seconds: Callable[[T], float]) -> list[T]:
    """The first call is dropped unless it fills the turn alone."""
    time.sleep(PAUSE)
    said = [call()]
    while sum(map(seconds, said)) < BLOCK or len(said) == 2:
        said.append(call())
    return said[1:] if len(said) > 1 else said


def _seconds(way: Callable[[], Any]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def _goes_on(taken: list[float], share: float, most: float) -> bool:
    spent = sum(taken) + PAUSE * len(taken)
    return sum(taken) < most and (len(taken) < LEAST or spent < share)


def _times(rounds: list[list[float]]) -> Times:
    calls = [seconds for block in rounds for seconds in block]
    best = min(map(statistics.median, rounds))
    return Times(statistics.median(calls), best, len(calls), len(rounds))
