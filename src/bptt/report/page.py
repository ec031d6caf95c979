"""The page: what of a run goes where."""

from pathlib import Path
from typing import Any

from bptt.figures import count, duration, figure, meanings, metric
from bptt.folder.read import Run
from bptt.report.confusion import read_confusion
from bptt.report.curves import best_epoch, gradient_curve, headline_curve, loss_curves
from bptt.report.folders import portable, without_folders
from bptt.report.forecasts import forecast_plots, horizon_plots
from bptt.report.template import fill
from bptt.report.verdict import compare, judge, known
from bptt.report.watched import rate_curve
from bptt.report.way import Way
from bptt.version import __version__

SAMPLES = 10  # texts shown; a task gives a few


def render(run: Run, way: Way | None = None) -> str:
    """The report of a run as HTML: the answer, the gradient's way, and how it all came about."""
    content = _result(run) | _details(run.evaluation) | _training(run) | _facts(run)
    content |= {"way": way}
    content |= {"contents": _contents(content), "version": __version__}
    return fill("page.html", content, way.scripts if way else [])


def _result(run: Run) -> dict[str, Any]:
    """The answer first."""
    found = run.evaluation
    test = found["test"] if found else None
    return {
        "name": run.folder.resolve().name,
        "subtitle": _subtitle(run.config),
        "verdict": judge(run),
        "comparisons": compare(test) if test else [],
        "validation": compare(found["validation"])[0] if found else None,
        "rules": list(test["baselines"]) if test else [],
        "meanings": meanings([*test["metrics"], *test["baselines"]]) if test else [],
        "deciding": metric(test["headline"]) if test else "",
        "lower_is_better": bool(test and test["lower_is_better"]),
    }


def _details(evaluation: dict[str, Any] | None) -> dict[str, Any]:
    """What the network did on the test part, shown in the task's own way."""
    details = evaluation["test"]["details"] if evaluation else {}
    series, rule = details.get("series", []), details.get("baseline", "naive rule")
    labels = details.get("labels")
    return {
        "forecasts": forecast_plots(series, rule),
        "series": len(series),
        "horizons": horizon_plots(details.get("horizon", []), rule),
        "confusion": read_confusion(labels, details["confusion"]) if labels else None,
        "samples": details.get("samples", [])[:SAMPLES],
    }


def _training(run: Run) -> dict[str, Any]:
    """How training went, as far as it has come."""
    curves = [loss_curves(run)] if any(known(row.loss) for row in run.steps) else []
    if any(known(row.headline) for row in run.epochs):
        curves.append(headline_curve(run))
    clip = run.config["training"]["clip"]
    if any(known(row.gradient_norm) for row in run.steps):
        curves.append(gradient_curve(run, clip))
    if len(run.rates) > 1:
        curves.append(rate_curve(run.rates))
    return {"effort": _effort(run), "curves": curves}


def _effort(run: Run) -> str:
    seconds = max((row.seconds for row in (*run.steps, *run.epochs)), default=0.0)
    work = (
        f"{count(len(run.steps), 'step')} in {count(len(run.epochs), 'complete epoch')}, "
        f"{duration(seconds)} of training."
    )
    best, options = best_epoch(run), run.config["training"]
    if best is None:
        return work
    work = f"{work} The weights kept are those after epoch {best.epoch:,}."
    stale = run.epochs[-1].epoch - best.epoch
    if stale < options["patience"] or run.epochs[-1].epoch >= options["epochs"]:
        return work
    return f"{work} Training stopped early, {count(stale, 'epoch')} after the best."


def _facts(run: Run) -> dict[str, Any]:
    """The sections that are lists of facts."""
    config = run.config
    asked = {name: fact for name, fact in config["data"].items() if name != "fingerprint"}
    summary = dict(run.evaluation["summary"]) if run.evaluation else asked
    return {
        "parts": summary.pop("split", {}),
        "data": summary | {"data": Path(asked["data"]).name},
        "model": config["network"] | {"cell": _cell(config)} | _network(run.model),
        "training": config["training"] | _with_units(config["training"]),
        "command": portable(config["command"]),
        "origin": {
            "seed": config["training"]["seed"],
            "started": f"{config['started']:%Y-%m-%d %H:%M:%S} UTC",
            "data fingerprint": config["data"]["fingerprint"],
            "versions": config["versions"],
        },
    }


def _network(model: dict[str, Any]) -> dict[str, Any]:
    """How large the network is, and what goes in and out."""
    size = {name: model[name] for name in ("parameters",) if name in model}
    if not (shape := model.get("shape")):
        return size
    inputs = [count(shape["numeric"], "number")] if shape["numeric"] else []
    inputs += [f"one of {count(codes, 'code')}" for codes in shape["categories"]]
    return size | {"inputs": inputs, "outputs": f"{shape['outputs']:,}, at {shape['read']}"}


def _with_units(training: dict[str, Any]) -> dict[str, Any]:
    """The training options that mean little without their units."""
    patience = f"{count(training['patience'], 'epoch')} without a lower validation loss"
    options = {
        "epochs": f"{training['epochs']:,} at most",
        "clip": f"norms above {figure(training['clip'])}" if training["clip"] else "off",
        "patience": patience,
    }
    every = training.get("checkpoint_every")
    if every is not None:
        options["checkpoint_every"] = f"{figure(every)} s" if every else "step"
    return options


def _subtitle(config: dict[str, Any]) -> str:
    """One line under the run's name: what was trained, on what, when."""
    network, data = config["network"], config["data"]
    return (
        f"{data['task']} · {Path(data['data']).name} · {_cell(config)}, "
        f"{count(network['layers'], 'layer')} of {count(network['hidden'], 'unit')} · "
        f"{config['started']:%d %B %Y, %H:%M} UTC"
    )


def _cell(config: dict[str, Any]) -> str:
    """The cell's name; of one in a file, without the file's folder."""
    return without_folders(config["network"]["cell"])


def _contents(content: dict[str, Any]) -> list[tuple[str, str]]:
    """The sections that this report has, as (id, title)."""
    sections = [
        ("detail", "Forecasts and truth", content["forecasts"]),
        ("detail", "Confusion of labels", content["confusion"]),
        ("detail", "Samples", content["samples"]),
        ("way", "The gradient's way", content["way"]),
        ("unfolded", "The network unfolded", content["way"] and content["way"].picture),
        ("curves", "Training", content["curves"]),
        ("data", "Data and split", True),
        ("model", "Model and training", True),
        ("again", "Do it again", True),
    ]
    return [(name, title) for name, title, there in sections if there]
