"""The section of a page that shows the gradient's way: findings, charts, and what is missing."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from bptt.report.folders import without_folders
from bptt.report.map import Map
from bptt.report.plot import Plot
from bptt.report.way.blame import credit_map
from bptt.report.way.fading import decay_curve, truncation_curve
from bptt.report.way.flat import Flats, flats
from bptt.report.way.flow import exponents_curve, jacobian_curve, settling_curve
from bptt.report.way.labels import Labels
from bptt.report.way.memory import memory_curve, memory_map

if TYPE_CHECKING:
    from bptt.inspect import Diagnosis, Finding
    from bptt.picture import Unfolded

Chart = Plot | Map
ROOM = 300_000  # bytes of a picture's numbers
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


@dataclass(frozen=True)
class Picture:
    """A drawing that stands in a page.

    Attributes:
        words: what is drawn.
        drawn: the drawing; it escapes all texts itself.
        room: bytes that the numbers of its loss times may take.
    """

    words: str
    drawn: "Unfolded"
    room: int = ROOM

    @cached_property
    def html(self) -> Markup:
        """The drawing with its slider."""
        return Markup(self.drawn.fragment(self.room))

    @property
    def scripts(self) -> list[str]:
        """What it runs, which the page's policy must allow."""
        return SCRIPT.findall(self.html)


@dataclass(frozen=True)
class Way:
    """What of a page tells the gradient's way.

    Attributes:
        about: what was looked at, in a sentence.
        findings: the diagnosis, what weighs most first.
        charts: in the order of the page.
        flats: the non-linearities and how flat they are; None: unknown.
        missing: what could not be had, and why.
        picture: the network unfolded; None: not drawn.
    """

    about: str
    findings: list["Finding"] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    flats: Flats | None = None
    missing: list[tuple[str, str]] = field(default_factory=list)
    picture: Picture | None = None

    @property
    def weightiest(self) -> list["Finding"]:
        """Two findings for the answer: what is wrong, if anything is."""
        return (self._wrong or self.findings)[:2]

    @property
    def advice(self) -> str:
        """What to try first; "" where nothing is wrong."""
        return next((found.advice for found in self._wrong if found.advice), "")

    @property
    def _wrong(self) -> list["Finding"]:
        return [found for found in self.findings if found.severity in ("problem", "warning")]

    @property
    def scripts(self) -> list[str]:
        """What its parts run."""
        return self.picture.scripts if self.picture else []


# By a result's name in the diagnosis: what the page calls it, and the charts of it.
PARTS: dict[str, tuple[str, Callable[[Any, Labels], list[Chart | None]]]] = {
    "credit": ("which steps an error is blamed on", lambda r, of: [credit_map(r, of)]),
    "decay": ("how the error fades", lambda r, _: [decay_curve(r)]),
    "truncation": ("what going back less far costs", lambda r, _: [truncation_curve(r)]),
    "lyapunov": ("Lyapunov exponents", lambda r, _: [exponents_curve(r), settling_curve(r)]),
    "jacobians": ("what one step does to the error", lambda r, of: [jacobian_curve(r, of)]),
    "saturation": ("saturation", lambda r, _: []),  # a table
    "memory": ("memory of inputs", lambda r, of: [memory_curve(r), memory_map(r, of.inputs)]),
}


def way_of(found: "Diagnosis", about: str, labels: Labels) -> Way:
    """A diagnosis and the results that it rests on, as they go onto the page."""
    charts, missing = [], []
    for name, (title, draw) in PARTS.items():
        result = getattr(found, name)
        if result is None:
            missing.append((title, found.missing.get(name, "")))
            continue
        drawn = [chart for chart in draw(result, labels) if chart is not None]
        charts += [chart for chart in drawn if not _empty(chart)]
        missing += [(chart.title, chart.words) for chart in drawn if _empty(chart)]
    return Way(
        about=about,
        findings=[_for_a_page(finding) for finding in found.findings],
        charts=charts,
        flats=None if found.saturation is None else flats(found.saturation),
        missing=missing,
    )


def _empty(chart: Chart) -> bool:
    return isinstance(chart, Plot) and not chart.known


def said(error: Exception) -> str:
    """What went wrong, to someone who reads a page."""
    known = type(error).__module__ == "bptt.errors"
    return without_folders(str(error) if known else f"{type(error).__name__}: {error}")


def _for_a_page(finding: "Finding") -> "Finding":
    """Its files without their folders, and a step that it names counted from 1, as on the page."""
    told = finding.counted_from(1)
    return told._replace(statement=without_folders(told.statement))
