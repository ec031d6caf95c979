"""How drawings and their pages look, in light and in dark."""

from functools import cache
from pathlib import Path


@cache
def style(name: str) -> str:
    """The content of one of the style sheets beside this file."""
    return Path(__file__).with_name(f"{name}.css").read_text(encoding="utf-8")


@cache
def script(name: str) -> str:
    """The content of one of the scripts beside this file."""
    return Path(__file__).with_name(f"{name}.js").read_text(encoding="utf-8")
