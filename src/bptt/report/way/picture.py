"""The unfolded network with its slider, as a page takes it in."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from markupsafe import Markup

from bptt.report.way.section import Picture, Way, said

if TYPE_CHECKING:
    from bptt.picture import Unfolded

MOST_TIMES = 32  # loss times that the slider leads through, the last ones: a page is to stay small
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def with_picture(way: Way, draw: Callable[[], Picture]) -> Way:
    """With the network unfolded, or with what kept it from being drawn."""
    try:
        return replace(way, picture=draw())
    except Exception as error:
        return replace(way, missing=[*way.missing, ("the network unfolded", said(error))])


def picture(drawn: "Unfolded", words: str) -> Picture:
    """A drawing by `bptt.picture`, which escapes all texts itself."""
    html = drawn.fragment()
    return Picture(words, Markup(html), SCRIPT.findall(html))
