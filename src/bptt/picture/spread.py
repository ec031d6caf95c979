"""A few of many loss times."""

from collections.abc import Sequence

import numpy as np


def spread(places: Sequence[int], most: int, always: int) -> list[int]:
    """So many places at most, evenly spread from the first to the last, one of them among them.

    Args:
        places: ascending.
        most: 1 or more.
        always: which of the places is kept in any case.

    >>> spread(range(10), 4, 9), spread(range(10), 3, 8), spread(range(3), 9, 0)
    ([0, 3, 6, 9], [0, 4, 8], [0, 1, 2])
    """
    if len(places) <= most:
        return list(places)
    kept = {places[i] for i in np.linspace(0, len(places) - 1, most).round().astype(int)}
    if always not in kept:
        kept.remove(min(kept, key=lambda place: abs(place - always)))
    return sorted({*kept, always})
