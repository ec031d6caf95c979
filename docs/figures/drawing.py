"""How pictures look, and where they come from."""

import math
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import altair as alt
import torch
import vl_convert

FOLDER = Path(__file__).parent
WIDTH, HEIGHT = 440, 220
INK, FAINT = "var(--ink)", "var(--faint)"
LINES = ["var(--one)", "var(--two)", "var(--three)", "var(--four)", "var(--five)"]

# Of a picture by itself; inside a page the page's own style says them (static/site.css).
COLOURS = (
    "<style>:root{--ink:#1f2328;--faint:#d8dee4;--one:#0969da;--two:#bc4c00;--three:#1a7f37;"
    "--four:#8250df;--five:#6e7781}@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;"
    "--faint:#30363d;--one:#58a6ff;--two:#f0883e;--three:#3fb950;--four:#bc8cff;--five:#8b949e}}"
    "</style>"
)
FONT = "system-ui, sans-serif"
LOOK: dict[str, Any] = {
    "font": FONT,
    "background": "transparent",
    "aria": False,
    "view": {"stroke": None},
    "axis": {
        "domainColor": FAINT,
        "tickColor": FAINT,
        "gridColor": FAINT,
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 12,
        "title": None,
        "orient": "top",
        "symbolOpacity": 1,
        "columns": 2,
        "columnPadding": 24,
    },
    "text": {"fill": INK, "fontSize": 12},
    "title": {"color": INK, "fontSize": 12, "fontWeight": "normal"},
    "header": {"labelColor": INK, "titleColor": INK, "labelFontSize": 12},
}


def names() -> list[str]:
    """All pictures there are."""
    return sorted(p.stem for p in FOLDER.glob("*.py") if "\ndef draw()" in p.read_text())


@cache
def drawn(name: str) -> str:
    """A picture as SVG, with the colours of a light and of a dark page."""
    torch.manual_seed(0)
    picture = import_module(f"figures.{name}").draw()
    return picture if isinstance(picture, str) else _svg(picture)


def _svg(chart: alt.TopLevelMixin) -> str:
    svg = vl_convert.vegalite_to_svg(chart.configure(**LOOK).to_dict())
    return svg.replace(">", f">{COLOURS}", 1)


def curves(
    rows: list[dict[str, Any]],
    x: str,
    y: str,
    *,
    log: bool = True,
    order: list[str],
    labels: dict[str, float] | None = None,
) -> alt.Chart:
    """Lines of `y` over `x`, one for each `line`, in the order given."""
    scale = alt.Scale(type="log") if log else alt.Scale(zero=True)
    axis = y_axis([row["y"] for row in rows], log)
    colour = alt.Color("line:N", sort=order, scale=alt.Scale(domain=order, range=LINES))
    chart = alt.Chart(alt.Data(values=rows), width=WIDTH, height=HEIGHT)
    return chart.mark_line(strokeWidth=2).encode(
        x=alt.X("x:Q", title=x, axis=alt.Axis(grid=False)),
        y=alt.Y("y:Q", title=y, scale=scale, axis=axis),
        color=colour,
    )


def y_axis(values: list[float], log: bool) -> alt.Axis:
    """Ticks at powers of ten, or as they come."""
    if not log:
        return alt.Axis(format="~g", tickCount=6)
    low, high = (math.floor(math.log10(end(values))) for end in (min, max))
    return alt.Axis(format="~g", values=[10.0**power for power in range(low, high + 2)])


def heat(sizes: Any, title: str) -> alt.Chart:
    """Sizes (n, T) of what loss time t gets from step k, on a log scale of four decades."""
    largest = float(sizes.max())
    rows = [
        {"t": t, "k": k, "size": float(size)}
        for t, row in enumerate(sizes)
        for k, size in enumerate(row)
        if size > 1e-3 * largest
    ]
    chart = alt.Chart(alt.Data(values=rows), width=220, height=220, title=title)
    shade = alt.Scale(type="log", domain=[1e-3 * largest, largest], range=[0.0, 1.0])
    axis = alt.Axis(values=list(range(0, len(sizes), 5)), grid=False, labelAngle=0)
    return chart.mark_rect(color=LINES[0]).encode(
        x=alt.X("k:O", title="step k", axis=axis, scale=alt.Scale(domain=list(range(len(sizes))))),
        y=alt.Y(
            "t:O", title="loss time t", axis=axis, scale=alt.Scale(domain=list(range(len(sizes))))
        ),
        opacity=alt.Opacity("size:Q", scale=shade, legend=None),
    )
