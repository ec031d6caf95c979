"""The shapes of a drawing: circles, boxes, lines."""

from html import escape

from bptt.picture.sketch import Part

RADIUS = {
    "before": 19, "state": 19, "output": 17, "input": 14, "draw": 18, "weight": 14, "function": 18,
    "gate": 11, "sum": 10, "error": 19,
}  # fmt: skip
CHARACTER = 7.6  # pixels of one, about
Point = tuple[float, float]


def body(
    part: Part, at: Point, k: int | None, text: str, size: float, name: str | None = None
) -> str:
    """A part: its shape, its label with the step's number set low, its number below.

    Args:
        part: what it is.
        at: its middle.
        k: the step's number; None: none is written.
        text: the number written below a state.
        size: how wide a weight's rim is.
        name: what an input's step is called; None: nothing is written.
    """
    x, y = at
    if part.kind == "weight":
        return _rim(_box(x, y, part.label), size) + _label(x, y, part.label, None)
    shape = _round(part, x, y)
    if part.kind in ("gate", "sum", "function", "draw"):
        return shape + _label(x, y, part.label, None)
    if part.kind == "input":
        called = f'<text class="small name" x="{x}" y="{y + 30}">{escape(name or "")}</text>'
        shape = _square(x, y) + ("" if name is None else called)
    label, low = part.label, "t" if k is None else str(k)
    below = f'<text class="value" x="{x}" y="{y + 33}">{text}</text>' if text else ""
    return shape + _label(x, y, label, low) + (below if part.kind in ("state", "before") else "")


def line(path: str, key: str, size: float) -> str:
    """A line from one part to another, with what travels back on it beneath.

    Args:
        path: where it goes.
        key: of what travels on it; none without.
        size: the width of that.
    """
    flow = f'<path class="flow" data-key="{escape(key)}" style="stroke-width:{size}" d="{path}"/>'
    return (flow if key else "") + f'<path class="line" marker-end="url(#bptt-tip)" d="{path}"/>'


def width_of(part: Part) -> float:
    """Pixels from side to side."""
    if part.kind == "weight":
        return max(30.0, CHARACTER * len(part.label) + 12)
    if part.kind in ("function", "draw"):
        return max(36.0, 0.9 * CHARACTER * len(part.label) + 10)
    return 2.0 * RADIUS[part.kind]


def _box(x: float, y: float, label: str) -> tuple[float, float, float, float]:
    wide = width_of(Part("weight", label, -1))
    return round(x - wide / 2, 1), y - 13, round(wide, 1), 26


def _rim(box: tuple[float, float, float, float], size: float) -> str:
    x, y, wide, high = box
    place = f'x="{x}" y="{y}" width="{wide}" height="{high}" rx="7"'
    return f'<rect class="rim" style="stroke-width:{size}" {place}/><rect class="shape" {place}/>'


def _round(part: Part, x: float, y: float) -> str:
    """A circle, or something longer with round ends."""
    r, wide = RADIUS[part.kind], width_of(part)
    return (
        f'<rect class="shape" x="{x - wide / 2:.1f}" y="{y - r}" width="{wide:.1f}" '
        f'height="{2 * r}" rx="{r}"/>'
    )


def _square(x: float, y: float) -> str:
    return f'<rect class="shape" x="{x - 15}" y="{y - 13}" width="30" height="26" rx="3"/>'


def _label(x: float, y: float, label: str, low: str | None) -> str:
    sub = f'<tspan class="low" dy="4">{low}</tspan>' if low is not None else ""
    return f'<text x="{x}" y="{y + 4.5}">{escape(label)}{sub}</text>'
