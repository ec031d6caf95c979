"""What the user is told before training, when it stops, and at its end."""

import shlex
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bptt.figures import count, figure, metric, shortened, visible
from bptt.folder.read import read_run
from bptt.report.verdict import compare, judge
from bptt.tasks import Evaluation
from bptt.tasks.text import Text as TextTask
from bptt.train.config import FULL
from bptt.train.job import Job
from bptt.train.run import Run
from bptt.version import __version__

LEFT_TO_REPORT = {"normalisation"}
LONGEST, MOST_ROWS = 300, 25  # of a fact in characters, of the table of figures


def show_job(console: Console, job: Job) -> None:
    """What is about to be trained, on what, and where it goes."""
    options, position = job.config.network, job.state.position
    method = job.config.training.method
    parameters = sum(p.numel() for p in job.network.parameters())
    summary = {
        name: _plain(fact)
        for name, fact in job.task.summary().items()
        if fact is not None and name not in LEFT_TO_REPORT
    }
    facts = {
        **{name.replace("_", " "): fact for name, fact in summary.items()},
        "network": f"{options.cell}, {count(options.layers, 'layer')} of "
        f"{count(options.hidden, 'unit')}, {count(parameters, 'parameter')}",
        **({} if method == FULL else {"gradient": method}),
        "run": str(job.run),
    }
    if job.checkpoint is not None:
        facts["resumed"] = f"in epoch {position.epoch + 1}, after {count(position.done, 'step')}"
        if changed := job.config.changed_versions():
            facts["changed"] = f"{_plain(changed)}: numbers may differ from an unbroken run's"
    console.print(f"bptt {__version__}", style="bold")
    show_facts(console, facts)


def show_facts(console: Console, facts: dict[str, str]) -> None:
    """Names and facts, one a line, or several lines below each other where a fact is long."""
    width = max(map(len, facts)) + 4
    for name, fact in facts.items():
        lines = Text(shortened(fact, LONGEST)).wrap(console, console.width - width, overflow="fold")
        for head, line in zip_longest([f"  {name}"], lines, fillvalue=""):
            console.print(Text.assemble((head.ljust(width), "dim"), line), soft_wrap=True)
    console.print()


def show_stop(console: Console, job: Job, *, at_once: bool) -> None:
    """Ctrl-C: where everything is, and how to go on."""
    saved = f"Stopped and saved after {count(job.state.position.done, 'step')}"
    what = "Stopped at once; the last checkpoint stands" if at_once else saved
    command = shlex.join(["bptt", "train", "--resume", str(job.run)])
    console.print(f"{what}. Go on with:  {command}", soft_wrap=True, markup=False)


def show_outcome(console: Console, job: Job, run: Run) -> None:
    """The comparison with naive rules, whether the network learnt, and what to do next."""
    found = read_run(run.folder)
    verdict = judge(found)
    best = job.state.best.epoch + 1
    console.print(f"\nTraining is over: {job.ending}. The best epoch was {best}.\n")
    if found.evaluation is not None:
        console.print(comparison(Evaluation(**found.evaluation["test"])))
    for line in (f"\n{verdict.answer}. {verdict.sentence}", *verdict.notes):
        console.print(line, markup=False)
    places = {"report": str(run.report), "next": shlex.join(_next_command(job, run))}
    console.print()
    for name, place in places.items():
        console.print(f"  {name:8}{place}", soft_wrap=True, markup=False)


def comparison(evaluation: Evaluation, title: str = "test part") -> Table:
    """The network's figures and each naive rule's: a row a metric, what decides in bold."""
    table = Table(title_justify="left", box=None, pad_edge=False, title=title)
    table.add_column("", overflow="fold")
    for name in ("the network", *evaluation.baselines):
        table.add_column(name, justify="right", overflow="fold")
    rows, above = compare(asdict(evaluation)), ""
    for row in rows[:MOST_ROWS]:
        if row.target != above:
            table.add_row(row.target)
        name = "  " * bool(row.target) + metric(row.kind)
        cells = (figure(value) for value, _ in row.cells)
        table.add_row(name, *cells, style="bold" if row.decides else "")
        above = row.target
    if len(rows) > MOST_ROWS:
        table.add_row(f"and {count(len(rows) - MOST_ROWS, 'more row')} in the report", style="dim")
    return table


def _next_command(job: Job, run: Run) -> list[str]:
    """What to try with the trained network."""
    if isinstance(job.task, TextTask):
        return ["bptt", "generate", str(run), "--prompt", job.task.prompt()]
    if job.config.options.known:  # to predict takes rows that these data need not have
        return ["bptt", "evaluate", str(run), job.config.data]
    return ["bptt", "predict", str(run), job.config.data]


def _plain(fact: Any) -> str:
    if isinstance(fact, dict):
        return "; ".join(f"{name} {_plain(value)}" for name, value in fact.items())
    if isinstance(fact, list | tuple):
        return ", ".join(map(_plain, fact))
    if isinstance(fact, float):
        return figure(fact)
    if type(fact) is int:
        return f"{fact:,}"
    return visible(fact)
