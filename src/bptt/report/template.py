"""The template filled in: every name and text escaped, everything it needs within the one file."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from bptt.figures import figure, metric, percent, shortened, visible, words
from bptt.report.drawing import vega_lite
from bptt.report.map import Map
from bptt.report.map_drawing import heat_map

FILTERS = (figure, heat_map, metric, percent, shortened, vega_lite, visible, words)
SCRIPTS = ("charts.js", "maps.js", "tables.js", "page.js")


def fill(template: str, content: dict[str, Any], more_scripts: Sequence[str] = ()) -> str:
    """A page with its style, scripts and the policy that forbids all others.

    Args:
        template: its name.
        content: what the template names.
        more_scripts: that the content brings along.
    """
    scripts = ["\n".join(map(_asset, SCRIPTS)), _bundle()]
    return (
        _environment()
        .get_template(template)
        .render(
            policy=_policy([*scripts, *more_scripts]),
            style=Markup(_asset("style.css")),
            bundle=Markup(scripts[1]),
            script=Markup(scripts[0]),
            **content,
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bptt.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {function.__name__: function for function in FILTERS}
    environment.tests["plain"] = _is_plain
    environment.tests["grid"] = _is_grid
    environment.tests["map"] = _is_map
    return environment


def _is_plain(value: Any) -> bool:
    """Whether it is a dict of values that fit on a line: no dicts, no lists of lists or dicts."""
    items = value.values() if isinstance(value, dict) else [{}]
    lists = (item if isinstance(item, list) else [item] for item in items)
    return not any(isinstance(part, dict | list) for item in lists for part in item)


def _is_grid(value: Any) -> bool:
    """Whether it is a dict of plain dicts with the same names: a table with a name to each row."""
    rows = list(value.values()) if isinstance(value, dict) else []
    return bool(rows) and all(_is_plain(row) and list(row) == list(rows[0]) for row in rows)


def _is_map(value: Any) -> bool:
    return isinstance(value, Map)


def _asset(name: str) -> str:
    return (files("bptt.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def _policy(scripts: Sequence[str]) -> str:
    """What the browser may do: run these scripts and no other, load nothing from anywhere."""
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
