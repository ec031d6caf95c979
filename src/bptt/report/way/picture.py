"""The unfolded network with its slider, as a page takes it in."""

from collections.abc import Callable
from dataclasses import replace

from bptt.report.way.section import Picture, Way, said


def with_picture(way: Way, draw: Callable[[], Picture]) -> Way:
    """With the network unfolded, or with what kept it from being drawn."""
    try:
        drawn = replace(way, picture=draw())
        _ = drawn.scripts  # written in here, so that what fails is told
    except Exception as error:
        return replace(way, missing=[*way.missing, ("the network unfolded", said(error))])
    return drawn
