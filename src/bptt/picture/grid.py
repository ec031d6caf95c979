"""A layout in pixels."""

from itertools import pairwise

from bptt.picture.place import Layout, Place
from bptt.picture.shapes import RADIUS, width_of
from bptt.picture.sketch import Sketch

ROW = 54
GAP = 24  # between parts of neighbouring columns, at least
LEFT, TOP, RIGHT, BOTTOM = 40, 84, 44, 46

Point = tuple[float, float]


class Grid:
    """Where parts and lines are drawn.

    Attributes:
        step: pixels from one step to the next.
    """

    def __init__(self, sketch: Sketch, layout: Layout) -> None:
        self.parts, self.layout = sketch.parts, layout
        self.middles = self._middles()
        self.step = self.middles[layout.columns]

    def size(self, steps: int) -> Point:
        """Width and height of so many steps."""
        reach = max(self._x(place.column) for place in self.layout.places) - self.step
        wide = LEFT + RIGHT + self.step * steps + max(0.0, reach)
        return wide, TOP + BOTTOM + ROW * (self.layout.bottom - self.layout.top)

    def at(self, part: int, column: int) -> Point:
        """The middle of a part in one of the steps."""
        return self._point(self.layout.places[part], column)

    def path(self, a: int, b: int, column: int) -> str:
        """A line from part to part: level within the loop, upright where it comes from beside."""
        start, stop = self.at(a, column), self.at(b, column)
        half = [width_of(self.parts[n]) / 2 for n in (a, b)]
        high = [RADIUS[self.parts[n].kind] for n in (a, b)]
        if abs(start[0] - stop[0]) < 12:
            up = -1 if stop[1] < start[1] else 1
            return f"M{start[0]},{start[1] + up * high[0]} V{stop[1] - up * (high[1] + 1)}"
        if self._from_below(a, b):
            turn = f"{stop[0]},{start[1]} {stop[0]},{start[1]}"
            return f"M{start[0] + half[0]},{start[1]} C{turn} {stop[0]},{stop[1] + high[1] + 1}"
        bends = [self._point(place, column) for place in self.layout.bends.get((a, b), ())]
        way = [(start[0] + half[0], start[1]), *bends, (stop[0] - half[1] - 1, stop[1])]
        curves = (_curve(p, q) for p, q in pairwise(way))
        return f"M{way[0][0]:.1f},{way[0][1]:.1f} " + " ".join(curves)

    def _from_below(self, a: int, b: int) -> bool:
        """Whether a line comes from beneath the loop to a column that is not the next."""
        start, stop = self.layout.places[a], self.layout.places[b]
        outside = (a, b) not in self.layout.bends and stop.column - start.column > 1.01
        return outside and start.row > stop.row and self.parts[a].kind != "before"

    def _middles(self) -> list[float]:
        """The middle of each column, as wide as what is in it needs."""
        columns = range(self.layout.columns + 1)
        wide = [0.0 for _ in columns]
        for part, place in zip(self.parts, self.layout.places, strict=True):
            column = min(round(place.column), self.layout.columns)
            wide[column] = max(wide[column], width_of(part))
        middles = [0.0]
        for left, right in pairwise(wide):
            middles.append(middles[-1] + max(46.0, (left + right) / 2 + GAP))
        return middles

    def _x(self, column: float) -> float:
        low = min(int(column), self.layout.columns)
        high = min(low + 1, self.layout.columns)
        between = self.middles[low] + (column - low) * (self.middles[high] - self.middles[low])
        return between if column <= self.layout.columns else between + 46 * (column - high)

    def _point(self, place: Place, column: int) -> Point:
        x = LEFT + self.step * column + self._x(place.column)
        return round(x, 1), round(TOP + ROW * (place.row - self.layout.top), 1)


def _curve(a: Point, b: Point) -> str:
    (x1, y1), (x2, y2) = a, b
    if abs(y1 - y2) < 2:
        return f"L{x2:.1f},{y2:.1f}"
    bend = max(8.0, min(46.0, (x2 - x1) / 2))
    return f"C{x1 + bend:.1f},{y1:.1f} {x2 - bend:.1f},{y2:.1f} {x2:.1f},{y2:.1f}"
