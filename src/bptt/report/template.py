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

from bptt.report.drawing import vega_lite
from bptt.report.figures import figure, metric, percent, shortened, words

FILTERS = (figure, metric, percent, shortened, vega_lite, words)


def fill(content: dict[str, Any]) -> str:
    """The page with its style, scripts and the policy that forbids all others."""
    scripts = [_asset("page.js"), _bundle()]
    return (
        _environment()
        .get_template("page.html")
        .render(
            policy=_policy(scripts),
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
    environment.tests["table"] = _is_table
    environment.tests["plain"] = _is_plain
    return environment


def _is_table(value: Any) -> bool:
    """Whether it is a list of dicts with the same keys."""
    if not (isinstance(value, list) and value and all(isinstance(row, dict) for row in value)):
        return False
    return all(row.keys() == value[0].keys() for row in value)


def _is_plain(value: Any) -> bool:
    """Whether it is a dict of values that are neither dicts nor lists."""
    return isinstance(value, dict) and not any(
        isinstance(item, dict | list) for item in value.values()
    )


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
