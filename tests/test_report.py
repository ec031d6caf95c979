"""The report: what a user opens after training."""

import base64
import csv
import hashlib
import io
import json
import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jinja2
import pytest
import vl_convert
from rich.cells import cell_len
from rich.console import Console

from bptt.cli.outcome import comparison, show_facts
from bptt.errors import RunError
from bptt.figures import figure
from bptt.folder.read import read_run
from bptt.report import write_report
from bptt.report.forecasts import forecast_plots
from bptt.report.template import fill
from bptt.report.verdict import compare, judge
from bptt.tasks import Evaluation
from pages import Page
from runs import (
    HOSTILE,
    MEASURED,
    classify,
    forecast,
    make_run,
    several_targets,
    text,
    write_evaluation,
)


def report(folder: Path) -> Page:
    return Page(write_report(folder))


@pytest.mark.parametrize("task", MEASURED)
def test_page_loads_nothing_and_runs_only_its_own_scripts(tmp_path: Path, task: str) -> None:
    page = report(make_run(tmp_path / "run", task=task))
    assert len(page.source.encode()) < 2_000_000
    links = page.attributes("src", "href", "srcset", "action", "data", "poster")
    assert links
    assert all(link.startswith(("#", "data:text/csv")) for link in links)
    assert not {"link", "iframe", "img", "object", "base"} & {tag for tag, _ in page.elements}
    style = next(data for tag, data in page.texts if tag == "style")
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] for _, a in page.elements if "http-equiv" in a) or ""
    scripts = re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert policy.startswith("default-src 'none'")
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == set(digests)


@pytest.mark.parametrize("task", MEASURED)
def test_numbers_are_those_of_the_files(tmp_path: Path, task: str) -> None:
    measured = MEASURED[task]()
    page = report(make_run(tmp_path / "run", measured, task=task))
    shown = page.attributes("value")
    for figures in (measured["metrics"], *measured["baselines"].values()):
        assert {str(value) for value in figures.values()} <= set(shown)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["train_loss"]) for row in rows if row["train_loss"]]
    looks = [float(row["validation_loss"]) for row in rows if row["validation_loss"]]
    norms = [float(row["gradient_norm"]) for row in rows if row["gradient_norm"]]
    assert [row["network"] for row in page.rows("curve-1")] == losses
    assert [r["validation"] for r in page.rows("curve-1") if "validation" in r] == looks
    assert [row["network"] for row in page.rows("curve-3")] == norms
    clipped = sum(row["clipped"] == "1" for row in rows)
    assert f"was clipped, in {clipped} of 60 steps ({100 * clipped / 60:.1f} %)" in page.words


def test_every_chart_has_words_and_a_table(tmp_path: Path) -> None:
    page = report(make_run(tmp_path / "run"))
    names = page.attributes("id")
    assert len(names) == len(set(names))
    plots = [attributes for _, attributes in page.elements if "data-chart" in attributes]
    assert len(plots) == len(page.charts) == 5
    for plot in plots:
        assert plot["role"] == "img"
        assert {plot["aria-labelledby"], plot["aria-describedby"], plot["data-chart"]} <= set(names)
    tables = [a["href"] or "" for _, a in page.elements if "download" in a]
    assert len(tables) == 5
    loss = list(csv.reader(io.StringIO(unquote(tables[2].partition(",")[2]))))
    assert loss[0] == ["training step", "in words", "training", "validation"]
    assert loss[4][:2] == ["4", "step 4, epoch 1"]
    assert len(loss) == 61


def test_every_line_is_drawn(tmp_path: Path) -> None:
    page = report(make_run(tmp_path / "run"))
    drawn = {
        name: vl_convert.vegalite_to_svg(spec | {"width": 600})
        for name, spec in page.charts.items()
    }
    for name, colours in {
        "detail-1": {"truth": 119, "network": 119, "rule": 118},
        "detail-2": {"network": 5, "rule": 5},
        "curve-1": {"network": 59, "validation": 11},
        "curve-2": {"validation": 11},
        "curve-3": {"network": 59},
    }.items():
        for colour, pieces in colours.items():
            paths = re.findall(rf'd="([^"]*)" stroke="var\(--{colour}\)"', drawn[name])
            assert pieces in [path.count("L") for path in paths]


@pytest.mark.parametrize(
    ("own", "rule", "lower_is_better", "answer", "best"),
    [
        (1.0, 2.0, True, "The network learnt", 1),
        (1.99, 2.0, True, "The network hardly beats a naive rule", 1),
        (2.0, 2.0, True, "The network did not beat a naive rule", 2),
        (0.9, 0.5, False, "The network learnt", 1),
        (0.4, 0.5, False, "The network did not beat a naive rule", 1),
        (math.nan, 0.5, False, "The training broke down", 1),
        (0.9, None, False, "There is nothing to compare with", 0),
    ],
)
def test_the_answer_and_the_best_figure(
    tmp_path: Path, own: float, rule: float | None, lower_is_better: bool, answer: str, best: int
) -> None:
    rules = {} if rule is None else {"a rule": {"score": rule}, "no number": {"score": math.nan}}
    measured = {
        "headline": "score",
        "lower_is_better": lower_is_better,
        "metrics": {"score": own, "another": 7.0},
        "baselines": rules,
        "details": {},
    }
    assert judge(read_run(make_run(tmp_path / "run", measured))).answer == answer
    deciding, other = compare(measured)
    assert sum(marked for _, marked in deciding.cells) == best
    assert not any(marked for _, marked in other.cells)  # there is nothing to compare with


@pytest.mark.parametrize(
    ("chance", "mark", "says"),
    [
        (0.25, "fair", r"perhaps by chance.* in 25 of 100 cases \(sign-flip test\)"),
        (0.05, "good", "learnt.* in 5 of 100 cases"),
        (0.0004, "good", "in fewer than 1 of 1,000 cases"),
        (math.nan, "good", "That is 38 % lower.$"),
    ],
)
def test_a_lead_that_may_be_chance_is_said_to_be(
    tmp_path: Path, chance: float, mark: str, says: str
) -> None:
    verdict = judge(read_run(make_run(tmp_path / "run", forecast() | {"chance": chance})))
    assert verdict.mark == mark
    assert re.search(says, f"{verdict.answer}. {verdict.sentence}")


def test_several_targets_have_rows_of_their_own(tmp_path: Path) -> None:
    page = report(make_run(tmp_path / "run", several_targets()))
    assert next(data for tag, data in page.texts if tag == "h2") == "The network learnt"
    assert page.attributes("class").count("target") == 2
    assert page.attributes("class").count("decides") == 1
    best = [a.get("class") == "best" for tag, a in page.elements if tag == "td"][:8]
    assert best == [True, False, True, False, False, True, True, False]
    assert "Mean absolute scaled error: the error in units of" in page.words
    assert "That is 38 % lower. It is best at 1 of 2 targets." in page.words
    assert "seasonal naive (11)" not in page.words.partition("Forecasts and truth")[0]


@pytest.mark.parametrize("measured", [several_targets(), forecast(), classify(), text()])
def test_the_table_on_the_screen_is_whole_in_80_columns(measured: dict[str, Any]) -> None:
    screen = Console(width=80, file=io.StringIO())
    screen.print(comparison(Evaluation(part="test", **measured), "new.csv"))
    lines = screen.file.getvalue().splitlines()
    assert "…" not in screen.file.getvalue()
    for name in ("new.csv", "the network", *measured["baselines"]):
        assert name in "".join(lines[:2])
    figures = [measured["metrics"], *measured["baselines"].values()]
    for name in measured["metrics"]:
        row = [line for line in lines if all(figure(f[name]) in line.split() for f in figures)]
        assert len(row) == 1
    assert len(lines) == 2 + len(measured["metrics"]) + 2 * (measured["headline"] == "mase")


def test_long_facts_go_on_below_where_they_began() -> None:
    screen = Console(width=40, file=io.StringIO())
    show_facts(screen, {"run": "runs/" + "a" * 40, "vocabulary": "字" * 30, "rows": "12"})
    lines = screen.file.getvalue().splitlines()
    assert [line[:14].strip() for line in lines] == ["run", "", "vocabulary", "", "", "rows", ""]
    assert all(cell_len(line) <= 40 for line in lines)
    assert "".join(line[14:] for line in lines) == "runs/" + "a" * 40 + "字" * 30 + "12"


@pytest.mark.parametrize(
    "measured", [forecast(HOSTILE), classify(HOSTILE), text(HOSTILE)], ids=MEASURED
)
def test_names_from_the_data_are_shown_and_never_run(
    tmp_path: Path, measured: dict[str, Any]
) -> None:
    page = report(make_run(tmp_path / "run", measured))
    assert not page.attributes("onerror")
    assert len([tag for tag, _ in page.elements if tag == "script"]) == len(page.charts) + 2
    assert f"bptt train forecast.csv --target {HOSTILE}" in page.words
    assert page.words.count("alert('1')") >= 3


def test_hostile_times_stay_within_their_json(tmp_path: Path) -> None:
    measured = forecast()
    measured["details"]["series"][0]["time"] = [f"{HOSTILE} {i}" for i in range(120)]
    page = report(make_run(tmp_path / "run", measured))
    assert page.rows("detail-1")[7]["at"] == f"{HOSTILE} 7"
    assert not page.attributes("onerror")


def test_a_loss_that_became_nan_is_a_stated_fact(tmp_path: Path) -> None:
    spoilt = {41: math.inf} | dict.fromkeys(range(42, 61), math.nan)
    page = report(make_run(tmp_path / "run", spoilt=spoilt))
    assert "The training loss became ∞ at step 41; 20 of its 60 values" in page.words
    losses = [row["network"] for row in page.rows("curve-1")]
    assert losses[39] is not None
    assert losses[40:] == [None] * 20


def test_a_run_of_nothing_but_nan_has_a_report(tmp_path: Path) -> None:
    spoilt = dict.fromkeys(range(1, 61), math.nan)
    page = report(make_run(tmp_path / "run", spoilt=spoilt))
    assert "The training loss became NaN at step 1; 60 of its 60 values" in page.words


def test_long_runs_are_thinned_and_keep_their_extremes(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", steps=100_000, epochs=5_000, spoilt={77_777: 321.5})
    page = report(folder)
    assert len(page.source.encode()) < 2_000_000
    assert all(len(page.rows(chart)) <= 800 for chart in page.charts)
    assert max(row["high"] for row in page.rows("curve-1") if "high" in row) == 321.5
    assert "100,000 steps in 5,000 complete epochs" in page.words


def test_a_run_in_progress_says_so(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "evaluation.json").unlink()
    with (folder / "metrics.csv").open("a") as file:
        file.write("61,13,1.5")  # the line that training is writing at this moment
    page = report(folder)
    assert "No verdict yet" in page.words
    assert "has made 60 training steps in 12 complete epochs" in page.words
    assert set(page.charts) == {"curve-1", "curve-2", "curve-3"}


def test_a_run_that_broke_down_says_why_it_ended(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", spoilt={60: math.nan})
    (folder / "evaluation.json").unlink()
    words = report(folder).words
    assert "The training broke down" in words
    assert "The training loss became NaN at step 60" in words


def test_a_run_without_a_step_has_a_report(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "evaluation.json").unlink()
    header = (folder / "metrics.csv").read_text().partition("\n")[0]
    (folder / "metrics.csv").write_text(header + "\n")
    page = report(folder)
    assert "has made 0 training steps" in page.words
    assert not page.charts


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("config.toml", None, "missing"),
        ("config.toml", "format = 1", "its format is 1, and this bptt .* reads format 2"),
        ("config.toml", "format = 2\nversions = 3", "expected command, started, data"),
        ("config.toml", "a = = 1", "is damaged: Invalid value .*Put it back"),
        ("model.json", None, "missing"),
        ("model.json", "[1]", "damaged: expected a table of names.*--resume .* writes it anew"),
        ("metrics.csv", None, "missing"),
        ("metrics.csv", "", "an empty file"),
        ("metrics.csv", "step,epoch\n1,1\n", "expected the columns clipped"),
        ("evaluation.json", "{", "is damaged: Expecting"),
        ("evaluation.json", '{"summary": {}, "test": {}}', "expected validation"),
        ("evaluation.json", b"\xff\xfe", "is damaged: .*utf-8"),
    ],
)
def test_a_broken_file_is_named(
    tmp_path: Path, name: str, content: str | bytes | None, says: str
) -> None:
    folder = make_run(tmp_path / "run")
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(RunError, match=says) as error:
        write_report(folder)
    assert str(folder / name) in str(error.value)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("measured", "change", "says"),
    [
        (forecast(), {"details": 3}, r"test.details: expected a table of names, found '3'"),
        (forecast(), {"details": {"series": [{"name": "a"}]}}, r"series\[0\]: expected target"),
        (forecast(), {"details": {"horizon": {}}}, "test.details.horizon: expected a list"),
        (forecast(), {"metrics": {"mae": "low"}}, "test.metrics.mae: expected a number or nothing"),
        (forecast(), {"baselines": [1]}, "test.baselines: expected a table of names"),
        (forecast(), {"chance": "small"}, "test.chance: expected a number or nothing"),
        (forecast(), {"headline": "bias"}, "expected bias, which it lacks"),
        (classify(), {"details": {"labels": ["a"], "confusion": [[1, 2]]}}, "of 1 labels by 1"),
        (classify(), {"details": {"labels": ["a"]}}, "of 1 labels by 1"),
        (text(), {"details": {"samples": ["And"]}}, r"samples\[0\]: expected a table of names"),
    ],
)  # fmt: skip
def test_a_broken_evaluation_is_named(
    tmp_path: Path, measured: dict[str, Any], change: dict[str, Any], says: str
) -> None:
    folder = make_run(tmp_path / "run")
    write_evaluation(folder, measured | change)
    with pytest.raises(RunError, match=says.replace("test.", "validation.")) as error:
        write_report(folder)
    assert str(folder / "evaluation.json") in str(error.value)


def test_curves_of_unlike_length_are_named(tmp_path: Path) -> None:
    measured = forecast()
    measured["details"]["series"][0]["truth"].pop()
    with pytest.raises(RunError, match="of 'sunspots' in one length"):
        write_report(make_run(tmp_path / "run", measured))


def test_facts_have_their_units(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    config = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(config + "checkpoint_every = 30.0\n")
    shape = {"numeric": 2, "categories": [7], "outputs": 6, "read": "every step"}
    (folder / "model.json").write_text(json.dumps({"format": 2, "shape": shape}))
    words = report(folder).words
    for fact in (
        "checkpoint every 30 s",
        "clip norms above 1",
        "patience 5 epochs without a lower validation loss",
        "inputs 2 numbers, one of 7 codes",
        "outputs 6, at every step",
    ):
        assert fact in words


def test_a_broken_line_of_metrics_is_named(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run") / "metrics.csv"
    lines = path.read_text().splitlines()
    lines[4] = lines[4].replace(",0.003", ",0.003,1")
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(
        RunError, match=r"metrics.csv is damaged: line 5: expected 9 cells, found 10"
    ):
        write_report(path.parent)
    lines[4] = lines[3].replace("4,1,", "4,one,", 1).replace("3,1,", "3,one,", 1)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError, match=r"line 5: expected a number in column epoch, found 'one'"):
        write_report(path.parent)


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no folder .*nowhere"):
        write_report(tmp_path / "nowhere")


def test_the_report_replaces_an_older_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "report.html").write_text("old")
    before = set(folder.iterdir())
    assert write_report(folder) == folder / "report.html"
    assert set(folder.iterdir()) == before
    assert (folder / "report.html").read_text().startswith("<!doctype html>")


def test_many_labels_become_a_list_of_mistakes(tmp_path: Path) -> None:
    few = report(make_run(tmp_path / "few", classify(classes=30)))
    many = report(make_run(tmp_path / "many", classify(classes=31)))
    assert "Recall: the share" in few.words
    assert "The most frequent mistakes among 31 labels" in many.words


@pytest.mark.parametrize(
    ("times", "kind", "first", "words"),
    [
        ([1700, 1701], "quantitative", 1700, "1700"),
        (["2001-01-01", "2001-01-02"], "temporal", 978_307_200_000, "2001-01-01"),
        (
            ["2001-01-01 00:00:00.000000", "2001-01-01 01:00:00.000000"],
            "temporal",
            978_307_200_000,
            "2001-01-01 00:00:00",
        ),
        (
            ["2001-01-01T01:00:00+01:00", "2001-01-02"],
            "temporal",
            978_307_200_000,
            "2001-01-01 01:00:00+01:00",
        ),
        (["Monday", "Tuesday"], "quantitative", 0, "Monday"),
    ],
)
def test_times_are_drawn_as_what_they_are(
    times: list[Any], kind: str, first: int, words: str
) -> None:
    values = {"truth": [1.0, None], "forecast": [1.5, 2.0], "baseline": [None, None]}
    (plot,) = forecast_plots([{"name": "a", "target": "y", "time": times, "lead": 3} | values], "r")
    assert plot.axis.kind == kind
    assert plot.rows[0]["x"] == first
    assert plot.rows[0]["at"] == words
    assert plot.words == (
        "Over 2 times, forecasts 3 steps ahead are off by 0.5 on average, r by an unknown amount."
    )


def test_a_name_that_the_template_lacks_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        fill("page.html", {})
