"""Keeping a page small: what takes room gives way, and the page says so."""

from collections.abc import Callable
from dataclasses import replace

from bptt.report.map import Map
from bptt.report.way import Way
from bptt.report.way.section import Chart

LIMIT = 2_000_000  # bytes of a page: it travels by mail and opens on a phone
SHARES = (1.0, 0.6, 0.3, 0.1)  # of the room that maps and the picture may take at most


def fit(way: Way, render: Callable[[Way], str], limit: int = LIMIT) -> str:
    """The page with the finest maps and the most loss times that keep it within the limit.

    Args:
        way: what takes the room.
        render: the page with it.
        limit: bytes. The rest of a page is far below; maps and the picture may be left out for it.
    """
    for share in SHARES:
        page = render(_within(way, share))
        if len(page.encode()) <= limit:
            return page
    return render(_without(way, limit))


def _within(way: Way, share: float) -> Way:
    """With maps of larger cells and a slider of fewer loss times; both say so."""
    charts = [
        replace(chart, room=int(share * chart.room)) if isinstance(chart, Map) else chart
        for chart in way.charts
    ]
    picture = way.picture and replace(way.picture, room=int(share * way.picture.room))
    return replace(way, charts=charts, picture=picture)


def _without(way: Way, limit: int) -> Way:
    why = f"it would take the page beyond {limit / 1e6:g} MB. bptt.inspect gives its numbers"
    maps = [chart.title for chart in way.charts if isinstance(chart, Map)]
    gone = maps + (["the network unfolded"] if way.picture else [])
    charts: list[Chart] = [chart for chart in way.charts if not isinstance(chart, Map)]
    missing = [*way.missing, *((title, why) for title in gone)]
    return replace(way, charts=charts, picture=None, missing=missing)
