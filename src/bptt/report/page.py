"""The page: a run's plain data put into the template, every name and text escaped."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from bptt.report.confusion import read_confusion
from bptt.report.curves import gradient_curve, headline_curve, loss_curves
from bptt.report.figures import count, duration, figure, metric, shortened, words
from bptt.report.forecasts import forecast_plots, horizon_plots
from bptt.report.read import Run, read_run
from bptt.report.verdict import best_rule, columns, judge, known, predictors
from bptt.version import __version__

SAMPLES = 10


def write_report(run: Path) -> Path:
    """Write `report.html` into a run's folder: one file that opens offline.

    Args:
        run: the folder of a run, finished or still training.

    Returns:
        Where the report is.

    Raises:
        RunError: a file of the run is missing or broken, or the report cannot be written.
    """
    # Here, for training itself writes reports: imported above, each would wait for the other.
    from bptt.train.files import write_atomically

    report = run / "report.html"
    write_atomically(report, render(read_run(run)).encode())
    return report


def render(run: Run) -> str:
    """The report of a run as HTML."""
    style, script, bundle = (Markup(text) for text in (_asset("style.css"), _asset("page.js"), _bundle()))
    return _template().render(
        policy=_policy([script, bundle]),
        style=style,
        script=script,
        bundle=bundle,
        version=__version__,
        **_result(run),
        **_details(run.evaluation),
        **_training(run),
        **_facts(run),
    )


def _result(run: Run) -> dict[str, Any]:
    evaluation = run.evaluation
    return {
        "name": run.folder.resolve().name,
        "verdict": judge(run),
        "columns": columns(evaluation) if evaluation else [],
        "predictors": predictors(evaluation) if evaluation else [],
        "deciding": metric(evaluation["test"]["headline"]) if evaluation else "",
        "lower_is_better": bool(evaluation and evaluation["test"]["lower_is_better"]),
    }


def _details(evaluation: dict[str, Any] | None) -> dict[str, Any]:
    """What the network did on the test part, by the task's own way of showing it."""
    details = evaluation["test"]["details"] if evaluation else {}
    rule = best_rule(evaluation["test"]) if evaluation else None
    series = details.get("series", [])
    named = rule[0] if rule else "naive rule"
    labels = details.get("labels")
    return {
        "forecasts": forecast_plots(series, named),
        "series": len(series),
        "horizons": horizon_plots(details.get("horizon", []), named),
        "confused": read_confusion(labels, details["confusion"]) if labels else None,
        "samples": details.get("samples", [])[:SAMPLES],
    }


def _training(run: Run) -> dict[str, Any]:
    clip = run.config["training"]["clip"]
    curves = [loss_curves(run)] if any(known(row.loss) for row in run.steps) else []
    if any(known(row.headline) for row in run.epochs):
        curves.append(headline_curve(run))
    measured = any(known(row.gradient_norm) for row in run.steps)
    return {
        "effort": _effort(run),
        "curves": curves,
        "gradient": gradient_curve(run, clip) if measured else None,
    }


def _effort(run: Run) -> str:
    seconds = max((row.seconds for row in (*run.steps, *run.epochs)), default=0.0)
    return (
        f"{count(len(run.steps), 'step')} in {count(len(run.epochs), 'complete epoch')}, "
        f"{duration(seconds)} of training."
    )


def _facts(run: Run) -> dict[str, Any]:
    """The sections that are lists of facts."""
    config = run.config
    data = {name: fact for name, fact in config["data"].items() if name != "fingerprint"}
    summary = run.evaluation["summary"] if run.evaluation else {}
    return {
        "headline": _headline(config),
        "contents": _contents(run),
        "data": {**data, **summary},
        "model": {**config["network"], **config["training"]},
        "command": config["command"],
        "origin": {
            "seed": config["training"]["seed"],
            "started": config["started"],
            "data fingerprint": config["data"]["fingerprint"],
            "versions": config["versions"],
        },
    }


def _headline(config: dict[str, Any]) -> str:
    """One line under the run's name: what was trained, on what, when."""
    network, data = config["network"], config["data"]
    layers = count(network["layers"], "layer")
    return (
        f"{data['task']} · {Path(data['data']).name} · {network['cell']}, {layers} of "
        f"{network['hidden']} units · {config['started']:%d %B %Y, %H:%M} UTC"
    )


def _contents(run: Run) -> list[tuple[str, str]]:
    """The sections that this report has, as (id, title)."""
    sections = [
        ("detail", "On the test part", run.evaluation),
        ("curves", "Learning curves", run.steps),
        ("gradient", "Gradient", run.steps),
        ("data", "Data and split", True),
        ("model", "Model and training", True),
        ("again", "Do it again", True),
    ]
    return [(id, title) for id, title, there in sections if there]


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bptt.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "sort_keys": True}
    environment.filters |= {
        "figure": figure,
        "metric": metric,
        "shortened": shortened,
        "words": words,
    }
    environment.tests["table"] = _is_table
    return environment.get_template("page.html")


def _is_table(it: object) -> bool:
    """Whether it is a list of dicts with the same keys."""
    if not (isinstance(it, list) and it and all(isinstance(row, dict) for row in it)):
        return False
    return all(row.keys() == it[0].keys() for row in it)


def _asset(name: str) -> str:
    return (files("bptt.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, which takes vl-convert two seconds."""
    return vl_convert.javascript_bundle()


def _policy(scripts: Sequence[str]) -> str:
    """What the browser may do: run these scripts and no other, load nothing from anywhere."""
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    allowed = " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
