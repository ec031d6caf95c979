"""Finding what a user names: a series, and a step of it."""

from collections.abc import Callable, Sequence

import numpy as np

from bptt.errors import ArgumentError
from bptt.tasks.excerpts.excerpt import Rows
from bptt.tasks.files import nearest


def find_series(name: str | None, names: Sequence[str], group: str | None) -> Rows:
    """The numbers of the series of that name; of all where none is named.

    Raises:
        ArgumentError: there is no such series, or the data are one.
    """
    if name is None:
        return np.arange(len(names))
    if group is None:
        raise ArgumentError(
            f"the data are one series, so there is no series {name!r}; leave it out"
        )
    if name not in names:
        few = ", ".join(map(repr, names[:8]))
        more = f" and {len(names) - 8:,} more" if len(names) > 8 else ""
        raise ArgumentError(
            f"there is no series {name!r} in the test part, which has {few}{more}."
            f"{nearest(name, names)}"
        )
    return np.array([list(names).index(name)])


def find_row(at: str, rows: Rows, label: Callable[[int], str], where: str) -> int:
    """The row that is called `at`, or the last one whose name begins so, as 1998-03 does.

    Args:
        at: as the user wrote it.
        rows: those that may be meant, in order.
        label: what a row is called.
        where: what they are rows of, for the message.

    Raises:
        ArgumentError: none of them is called so.
    """
    names = [label(int(row)) for row in rows]
    exact = [place for place, name in enumerate(names) if name == at]
    begins = [place for place, name in enumerate(names) if len(at) > 3 and name.startswith(at)]
    found = exact or begins
    if not found:
        raise ArgumentError(
            f"there is no step {at!r} to explain in {where}: expected one from {names[0]} to "
            f"{names[-1]}"
        )
    return int(rows[found[-1]])


def one_series(series: Rows, names: Sequence[str], at: str) -> int:
    """The single series that `at` is a step of. Raises ArgumentError where there are several."""
    if len(series) == 1:
        return int(series[0])
    few = ", ".join(map(repr, names[:8]))
    raise ArgumentError(
        f"there are {len(names):,} series, so {at!r} alone does not say which step: name the "
        f"series too, such as {few}"
    )
