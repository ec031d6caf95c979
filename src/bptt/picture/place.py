"""Where the parts of a step are drawn.

From left to right: the state as the step takes it, what makes the next one of it, that one. What
depends on the inputs alone comes from below, what is read out goes up. The next step begins where
this one ends, so that steps can be set side by side.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from bptt.picture.sketch import Sketch

ROUNDS = 24  # of moving each part towards those that it is joined to
APART = 1.0  # rows between parts of one column, at least
LINE = 0.7  # rows between a line that passes and its neighbours

Edge = tuple[int, int]


class Place(NamedTuple):
    """Where a part is: columns to the right, rows down."""

    column: float
    row: float


class Layout(NamedTuple):
    """Where all parts are.

    Attributes:
        places: of each part; states before the step are in column 0, those after it in `columns`.
        bends: places that a line passes between its ends, from left to right.
        columns: of a step.
        top, bottom: rows from and to.
    """

    places: tuple[Place, ...]
    bends: dict[Edge, list[Place]]
    columns: int
    top: float
    bottom: float


class Passing(NamedTuple):
    """A line on its way through a column."""

    edge: Edge
    column: int


Item = int | Passing


def arrange(sketch: Sketch) -> Layout:
    """Find a place for each part of a step."""
    return _Arranger(sketch).run()


class _Arranger:
    def __init__(self, sketch: Sketch) -> None:
        self.parts, self.edges = sketch.parts, sketch.edges()
        self.before, self.after = sketch.of("before"), sketch.of("state")
        self.users: dict[int, list[int]] = {n: [] for n in range(len(self.parts))}
        for source, target in self.edges:
            self.users[source].append(target)
        self.waiting, self.leading = self._below(self.before), self._above(self.after)

    def run(self) -> Layout:
        columns = self._columns()
        last = columns[self.after[0]]
        items = self._with_passing(columns)
        rows = self._rows(items)
        places = {n: Place(float(columns[n]), rows[n]) for n in columns}
        top = self._read_out(places, last)
        bottom = self._inputs(places, max(rows.values()))
        bends: dict[Edge, list[Place]] = {}
        for item, column in sorted(items.items(), key=lambda pair: pair[1]):
            if isinstance(item, Passing):
                bends.setdefault(item.edge, []).append(Place(float(column), rows[item]))
        ordered = tuple(places[n] for n in range(len(self.parts)))
        return Layout(ordered, bends, last, min(top, *rows.values()), bottom)

    def _below(self, roots: Sequence[int]) -> set[int]:
        """All that is made of the roots."""
        found = set(roots)
        for number, part in enumerate(self.parts):
            if found.intersection(part.sources):
                found.add(number)
        return found

    def _above(self, roots: Sequence[int]) -> set[int]:
        """All that the roots are made of."""
        found = set(roots)
        for number in reversed(range(len(self.parts))):
            if found.intersection(self.users[number]):
                found.add(number)
        return found

    def _columns(self) -> dict[int, int]:
        """How many parts of the loop come before each; the states come last."""
        columns = dict.fromkeys(self.before, 0)
        for number, part in enumerate(self.parts):
            inside = number in self.waiting and number in self.leading
            if inside and number not in columns and number not in self.after:
                known = [columns[a] for a in part.sources if a in columns]
                columns[number] = 1 + max(known, default=0)
        return columns | dict.fromkeys(self.after, 1 + max(columns.values()))

    def _with_passing(self, columns: dict[int, int]) -> dict[Item, int]:
        """All in the loop's columns, lines that pass a column among them."""
        items: dict[Item, int] = dict(columns.items())
        for edge in self.edges:
            if edge[0] in columns and edge[1] in columns:
                between = range(columns[edge[0]] + 1, columns[edge[1]])
                items |= {Passing(edge, column): column for column in between}
        return items

    def _rows(self, items: dict[Item, int]) -> dict[Item, float]:
        """Items of one column apart from each other, otherwise near to those they are joined to."""
        crowd = max(list(items.values()).count(c) for c in set(items.values()))
        step = max(1.6, crowd / max(1, len(self.before)))
        order = self._leaf_order()
        fixed: dict[Item, float] = {
            n: -step * order.index(self.parts[n].leaf) for n in (*self.before, *self.after)
        }
        rows = {item: fixed.get(item, 0.0) for item in items}
        near = self._near(items)
        free = sorted({c for item, c in items.items() if item not in fixed})
        for turn in range(ROUNDS):
            for column in free if turn % 2 == 0 else reversed(free):
                inside = [i for i, c in items.items() if c == column and i not in fixed]
                rows |= _spread({i: sum(rows[j] for j in near[i]) / len(near[i]) for i in inside})
        return rows

    def _leaf_order(self) -> list[int]:
        """Leaves of the state from below: the one that is read out is the highest."""
        read = {a for n, part in enumerate(self.parts) if n not in self.leading
                for a in part.sources if self.parts[a].kind == "state"}  # fmt: skip
        leaves = sorted(self.parts[n].leaf for n in self.after)
        top = max((self.parts[a].leaf for a in read), default=0)
        return [leaf for leaf in leaves if leaf != top] + [top]

    def _near(self, items: dict[Item, int]) -> dict[Item, list[Item]]:
        """What each item is joined to, column by column; at least itself."""
        near: dict[Item, list[Item]] = {item: [] for item in items}
        for edge in self.edges:
            if edge[0] in items and edge[1] in items:
                way = [edge[0], *_passings(edge, items), edge[1]]
                for a, b in pairwise(way):
                    near[a].append(b)
                    near[b].append(a)
        return {item: joined or [item] for item, joined in near.items()}

    def _read_out(self, places: dict[int, Place], last: int) -> float:
        """What no state is made of, in a column above the states; its highest row."""
        top = min(place.row for place in places.values())
        taken: dict[float, int] = {}
        for number in range(len(self.parts)):
            if number in places or number not in self.waiting:
                continue
            known = [places[a].row for a in self.parts[number].sources if a in places]
            row = min(top, *known) - APART if known else top - APART
            places[number] = Place(last - 0.9 * taken.get(row, 0), row)
            taken[row] = taken.get(row, 0) + 1
        return min(place.row for place in places.values())

    def _inputs(self, places: dict[int, Place], bottom: float) -> float:
        """What depends on inputs alone, below its users; the lowest row."""
        free = [n for n in range(len(self.parts)) if n not in places]
        depth: dict[int, int] = {}
        taken: dict[tuple[int, int], int] = {}
        for number in reversed(free):
            users = self.users[number]
            depth[number] = 1 + max((depth.get(u, 0) for u in users), default=0)
            columns = [places[u].column for u in users if u in places] or [1.0]
            column = columns[0] if len(columns) == 1 else max(1.0, min(columns) - 1)
            key = (depth[number], round(column))
            column += taken.get(key, 0)
            taken[key] = taken.get(key, 0) + 1
            places[number] = Place(column, bottom + APART * depth[number])
        return max(bottom, *(place.row for place in places.values()))


def _passings(edge: Edge, items: Iterable[Item]) -> list[Passing]:
    found = [item for item in items if isinstance(item, Passing) and item.edge == edge]
    return sorted(found, key=lambda item: item.column)


def _spread(wished: dict[Item, float]) -> dict[Item, float]:
    """Rows as near to the wished ones as being apart allows, in the wished order."""
    order = sorted(wished, key=lambda item: (wished[item], str(item)))
    rows: dict[Item, float] = {}
    for before, item in zip([None, *order], order, strict=False):
        lines = isinstance(item, Passing) or isinstance(before, Passing)
        gap = LINE if lines else APART
        rows[item] = wished[item] if before is None else max(wished[item], rows[before] + gap)
    shift = sum(rows[i] - wished[i] for i in order) / max(1, len(order))
    return {item: row - shift for item, row in rows.items()}
