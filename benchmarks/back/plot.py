"""Memory against time, drawn from what was measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt

OURS, THEIRS = "bptt", "jax, equinox"
LABELLED = ("full", "256kB", "1MB", "8MB", "64MB")  # others lie so close that words would meet
COLOURS = ["#1f5fa8", "#b3541e"]


def points(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A point per method: megabytes held, seconds, whose it is, what it is called."""
    rows = []
    for name, who in (("long", OURS), ("jax", THEIRS)):
        part = found.get(name) or {"held": {}}
        for words, held in part["held"].items():
            label = {OURS: "Full", THEIRS: "lax.scan"}[who] if words == "full" else words
            seconds = part["times"][words]["best ms"] / 1e3
            label = label if words in LABELLED else ""
            rows.append({"held": max(held, 0.1), "seconds": seconds, "who": who, "label": label})
    return rows


def draw(found: Mapping[str, Any], path: Path) -> None:
    """An SVG of the points, both axes logarithmic."""
    base = alt.Chart(alt.Data(values=points(found))).encode(
        x=alt.X("held:Q", title="held beyond the caller's tensors, MB", scale=_LOG),
        y=alt.Y("seconds:Q", title="forward and backward, seconds", scale=_LOG),
        color=alt.Color("who:N", title=None, scale=alt.Scale(domain=[OURS, THEIRS], range=COLOURS)),
    )
    lines = base.mark_line(strokeWidth=1.25, opacity=0.5)
    dots, words = base.mark_point(filled=True, size=45), base.mark_text(dy=-10, fontSize=10)
    chart = alt.layer(lines, dots, words.encode(text="label:N"))
    look = {"background": "white", "view": {"stroke": None}, "axis": {"gridColor": "#e4e4e4"}}
    title = f"{found['long']['steps']:,} steps of an Elman network with 64 units"
    chart.properties(width=560, height=300, title=title).configure(**look).save(path)


_LOG = alt.Scale(type="log", nice=False, padding=24)
