"""Which states to keep while a long sequence is gone through backward with room for few.

A sequence is cut into segments. To go back through one, the state that it begins with is needed.
Room for `slots` states besides the first: from the last state that is held, later ones are run
again, and some of them are held on the way, where a binomial rule says. With s slots and no segment
run more than r times, C(s + r + 1, r) segments can be gone through, and no schedule does with fewer
runs.

Source: Griewank & Walther 2000, "Algorithm 799: revolve", ACM Trans. Math. Software.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple


class Advance(NamedTuple):
    """Run segments [begin, end) for the state that they lead to, and hold it if `hold`."""

    begin: int
    end: int
    hold: bool


class Visit(NamedTuple):
    """Go back through a segment from the last state; that is let go then if `release`."""

    segment: int
    release: bool


def reach(slots: int, runs: int) -> int:
    """How many segments can be gone through.

    >>> reach(0, 3), reach(2, 1), reach(2, 2)
    (4, 4, 10)
    """
    return math.comb(slots + runs + 1, runs)


def runs_needed(segments: int, slots: int) -> int:
    """How often the segment that is run most often is, not counting the visit.

    >>> runs_needed(10, 2), runs_needed(11, 2), runs_needed(1, 0)
    (2, 3, 0)
    """
    runs = 0
    while reach(slots, runs) < segments:
        runs += 1
    return runs


def advances(segments: int, slots: int) -> int:
    """How many runs of a segment it takes in all, the first way forward included.

    >>> advances(10, 2), advances(4, 0)
    (15, 6)
    """
    runs = runs_needed(segments, slots)
    return 0 if runs == 0 else runs * segments - reach(slots + 1, runs - 1)


def _cut(segments: int, slots: int) -> int:
    """Where to hold the next state, with room for `slots` more."""
    runs = runs_needed(segments, slots)
    most = reach(slots, runs - 1)
    return max(1, min(most, segments - reach(slots - 1, runs - 1)))


def way_out(segments: int, slots: int) -> list[int]:
    """The states that the first way forward holds, besides that of segment 0.

    The last segment's is among them: the way back begins there. It takes the room that a state on
    the run has otherwise.

    >>> way_out(10, 2)
    [4, 7, 9]
    """
    held, begin = [], 0
    while begin < segments - 1 and len(held) < slots:
        begin += _cut(segments - begin, slots - len(held))
        held.append(begin)
    if segments > 1 and held[-1:] != [segments - 1]:
        held.append(segments - 1)
    return held


def way_back(segments: int, slots: int) -> Iterator[Advance | Visit]:
    """From the last segment to the first, once the way forward has held its states.

    >>> for what in way_back(3, 0):
    ...     print(what)
    Visit(segment=2, release=True)
    Advance(begin=0, end=1, hold=False)
    Visit(segment=1, release=False)
    Visit(segment=0, release=True)
    """
    held = [0, *way_out(segments, slots)]
    for segment in range(segments - 1, -1, -1):
        while held[-1] < segment and len(held) - 1 < slots:
            begin = held[-1]
            held.append(begin + _cut(segment + 1 - begin, slots - len(held) + 1))
            yield Advance(begin, held[-1], True)
        release = held[-1] == segment
        if not release:
            yield Advance(held[-1], segment, False)
        yield Visit(segment, release)
        if release:
            held.pop()
