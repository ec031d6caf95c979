"""The drawing as SVG: steps side by side, each line with what travels on it."""

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from bptt.picture.grid import Grid
from bptt.picture.numbers import shown
from bptt.picture.place import Layout
from bptt.picture.said import joined, said
from bptt.picture.shapes import RADIUS, body, line
from bptt.picture.sketch import Part, Sketch
from bptt.picture.style import style

if TYPE_CHECKING:
    from bptt.picture.unfolded import Unfolded

ABOVE = 48  # pixels for E over what it is taken of


def drawing(picture: "Unfolded") -> str:
    """The steps of the window, unfolded, at the loss time that is shown."""
    return Drawing(picture.sketch, picture.layout, shown(picture, picture.chosen)).svg()


def folded(picture: "Unfolded") -> str:
    """One step, its state led back to it."""
    return _Folded(picture.sketch, picture.layout, shown(picture, picture.chosen)).svg()


class Drawing:
    """Steps side by side.

    Args:
        sketch, layout: what is drawn of a step, and where.
        values: what `shown` gives: a column for each step that is drawn.
    """

    def __init__(self, sketch: Sketch, layout: Layout, values: dict[str, Any]) -> None:
        self.sketch, self.parts, self.layout, self.shown = sketch, sketch.parts, layout, values
        self.window = len(values["k"])
        self.grid = Grid(sketch, layout)

    def svg(self) -> str:
        columns = "".join(self._step(column) for column in range(self.window))
        width, height = self.grid.size(self.window)
        return _document(width, height, self._title(), self._start() + columns)

    def _title(self) -> str:
        t = self.shown["t"]
        last, first = self.shown["k"][-1], self.shown["k"][0]
        return (
            f"The network unfolded, steps {first} to {last}, and the gradient of E at step {t} on "
            "its way back"
        )

    def _start(self) -> str:
        """The states before the first column."""
        return "".join(self._part(n, 0) for n in self.sketch.of("before"))

    def _step(self, column: int) -> str:
        lines = "".join(self._lines(column))
        kinds = ("before",)
        parts = (n for n, part in enumerate(self.parts) if part.kind not in kinds)
        drawn = "".join(self._part(n, column) for n in parts)
        dim = " later" if self.shown["k"][column] > self.shown["t"] else ""
        return (
            f'<g class="step{dim}" data-column="{column}" data-step="{self._index(column)}">'
            f"{lines}{drawn}{self._error(column)}</g>"
        )

    def _index(self, column: int) -> int:
        """The step's number in `credit`."""
        return self.shown["index"][column]

    def _lines(self, column: int) -> Iterator[str]:
        for a, b in self.sketch.edges():
            key = f"e{a}-{b}"
            if key not in self.shown["v"]:
                key = self._outer(a, b)
            yield line(self.grid.path(a, b, column), key, self._value(key, column)[1])

    def _outer(self, a: int, b: int) -> str:
        """The key of what a line leaves or enters, where nothing is known of the inside."""
        part, target = self.parts[a], self.parts[b]
        keys = {"before": f"b{part.leaf}", "input": "x"}
        if target.kind == "output":
            return "y"
        return keys.get(part.kind) or (f"s{target.leaf}" if target.kind == "state" else "")

    def _value(self, key: str, column: int) -> tuple[str, float]:
        found = self.shown["v"].get(key)
        return tuple(found[column]) if found else ("0", 0.0)

    def _part(self, number: int, column: int) -> str:
        part = self.parts[number]
        k = self.shown["k"][column] - (part.kind == "before")
        key = self._key(part)
        text, size = self._value(key, column) if key else ("", 0.0)
        told = joined(self.shown, said(self.shown, self.sketch, number, column), column)
        name = self.shown["name"][column] if part.kind == "input" else None
        index = self._index(column) - (part.kind == "before")
        return (
            f'<g class="part {part.kind}" tabindex="-1" role="img" aria-label="{escape(told)}" '
            f'data-part="{number}" data-step="{index}" data-key="{escape(key)}" '
            f'data-value="{text}"><title>{escape(told)}</title>'
            f"{body(part, self.grid.at(number, column), k, text, size, name)}</g>"
        )

    def _key(self, part: Part) -> str:
        if part.kind == "weight" and part.parameters:
            return f"w:{part.parameters[0]}"
        keys = {"state": f"s{part.leaf}", "before": f"b{part.leaf}", "input": "x", "output": "y"}
        return keys.get(part.kind, "")

    def _error(self, column: int) -> str:
        """E_t, above what it is taken of, at the loss time alone."""
        ends = self.sketch.of("output") or self.sketch.of("state")[:1]
        x, y = self.grid.at(ends[0], column)
        top = y - ABOVE - 12
        _, size = self._value("y", column)
        here = "" if self.shown["k"][column] == self.shown["t"] else " absent"
        label = f"E at this step: {self.shown['loss']}"
        return (
            f'<g class="error{here}" role="img" aria-label="{label}"><title>{label}</title>'
            + line(f"M{x},{y - RADIUS['state']} V{top + RADIUS['error'] + 1}", "y", size)
            + body(Part("error", "E", -1), (x, top), self.shown["k"][column], "", 0.0)
            + "</g>"
        )


class _Folded(Drawing):
    """One step; a path leads from the state back to where it enters."""

    def svg(self) -> str:
        edges = self.sketch.edges()
        lines = "".join(line(self.grid.path(a, b, 0), "", 0.0) for a, b in edges)
        parts = "".join(self._plain(n) for n in range(len(self.parts)))
        width, height = self.grid.size(1)
        ways = self._way_round(height - 26)
        return _document(width + 16, height + 30, "The network, folded", lines + ways + parts)

    def _plain(self, number: int) -> str:
        part = self.parts[number]
        if part.kind == "before":
            return ""
        label = escape(", ".join(part.parameters) or part.label)
        drawn = body(part, self.grid.at(number, 0), None, "", 0.0)
        return f'<g class="part {part.kind}"><title>{label}</title>{drawn}</g>'

    def _way_round(self, low: float) -> str:
        """From each state down, back to the left, and in again: one step later."""
        paths, r = [], RADIUS["state"]
        starts = self.sketch.of("before")
        for leaf, number in enumerate(self.sketch.of("state")):
            x, y = self.grid.at(number, 0)
            right, under, left = x + r + 9 + 5 * leaf, low + 9 * leaf, 10 + 5 * leaf
            paths.append(
                f'<path class="line round" d="M{x + r},{y} H{right} V{under} H{left} V{y} '
                f'H{self.grid.at(starts[leaf], 0)[0] + r}"/>'
            )
        middle = self.grid.size(1)[0] / 2
        return (
            "".join(paths) + f'<text class="small" x="{middle}" y="{low - 8}">one step later</text>'
        )


def _document(width: float, height: float, title: str, inside: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="bptt-unfolded" role="group" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'aria-label="{escape(title)}"><style>{style("colours")}{style("drawing")}</style>'
        '<defs><marker id="bptt-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path class="tip" d="M0,0.8 L7,4 L0,7.2"/></marker></defs>'
        f'<rect class="paper" width="100%" height="100%"/>{inside}</svg>'
    )
