"""The benchmarks run, so that their figures can be had again; what they find is not judged here."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import learning
import record
import reference
import speed
from race import agreement, fresh, jobs, measures, page, peers, rounds, summary, ways
from race.jobs import KINDS, Shape


@pytest.mark.parametrize("cell", reference.CELLS)
def test_reference_is_checked_timed_and_weighed(cell):
    found = reference.measure(cell, Shape(6, 2, 3, 4), 0.0)
    assert found["gap"] < 1e-4
    assert found["pairs"] == reference.LEAST_PAIRS
    assert found["loop_kept_mb"] > 0
    assert reference.verdict(reference.summary([found])) == ""
    judged = found | {"judged": True}
    assert reference.verdict(reference.summary([found, judged])).count("aim") == 4


def test_reference_refuses_to_time_what_is_wrong(monkeypatch):
    monkeypatch.setattr(
        reference, "ours", lambda cell, inputs: 1.001 * reference.loop(cell, inputs)
    )
    with pytest.raises(AssertionError, match="differ by 1"):
        reference.measure("GRU", Shape(6, 2, 3, 4), 0.0)


@pytest.mark.parametrize("name", learning.JOBS)
def test_learning_trains_on_each_task(name):
    job = learning.JOBS[name]
    shorter = {"epochs": 1} if name != "adding" else {"updates": 2, "steps": 8}
    torch.manual_seed(0)
    outcome = replace(job.train, hidden=4, **shorter)("GRU", 0)
    assert outcome.updates > 0
    assert learning.row(name, "GRU", [outcome])["reached"] in ("yes", "no")


def test_record_writes_between_the_marks_alone(tmp_path):
    document = tmp_path / "a.md"
    document.write_text("before\n<!-- x -->\nold\n<!-- end x -->\nafter\n")
    record.write("x", record.table([{"a": 1, "b": "c"}]), document)
    assert document.read_text().startswith("before\n<!-- x -->\n| a | b |\n|---|---|\n| 1 | c |\n")
    assert document.read_text().endswith("<!-- end x -->\nafter\n")
    with pytest.raises(ValueError, match="needs the marks"):
        record.write("y", "", document)


TINY = Shape(6, 2, 3, 5)
PRESENT = ["torch.nn", "loop"]


@pytest.fixture
def brief(monkeypatch):
    """Rounds of a few calls, growth over a few steps."""
    monkeypatch.setattr(rounds, "PAUSE", 0.0)
    monkeypatch.setattr(rounds, "BLOCK", 0.0)
    monkeypatch.setattr(measures, "LONGER", [TINY, TINY._replace(T=12)])
    monkeypatch.setattr(measures, "WIDER", [TINY, TINY._replace(B=4)])


def told(*words):
    """What the command finds when told so, in this process and without saving it."""
    words = speed.parsed([*words, "--seconds", "0.001", "--backend", "reference"])
    found = speed.run(words, measures.Settings(words.seconds, words.by, 1, words.backend))
    return json.loads(json.dumps(found))


def test_speed_is_told_for_every_cell(brief):
    found = told("--shapes", "6,2,3,5", "--peers", *PRESENT, "--parts", "table")
    rows = {row["cell"]: row for row in found["rows"]}
    assert rows.keys() == KINDS.keys()
    assert rows["leaky"]["train"].keys() == {"bptt", "loop"}
    assert rows["LSTM"]["train"].keys() == {"bptt", "bptt, own LSTM", "torch.nn", "loop"}
    assert rows["GRU"]["forward"].keys() == {"bptt", "torch.nn"}
    for table in (page.plain, record.table):
        text = page.full(found, table)
        assert text.count("(aim 30)") == 4
        assert "6, 2, 3, 5" in text
        assert "an LSTM that a user wrote" in text
        assert f"run by reference: {', '.join(KINDS)}" in text


def test_speed_tells_overhead_and_growth(brief):
    found = told("--cells", "GRU", "--peers", "torch.nn", "--parts", "overhead", "growth")
    assert found["overhead"][0].keys() == {"cell", "bptt", "torch.nn"}
    assert found["growth"][0]["T x 8"]["times"] > 0
    assert "rows" not in found
    assert "microseconds" in page.full(found, page.plain)


def test_speed_weighs_and_starts_afresh():
    how = measures.Settings(0.001, "median", 1, "reference")
    found = fresh.ask("first", peers.OURS, "GRU", "6,2,3,5", how.threads, how.backend)
    assert found["first"] > found["next"] > 0
    if fresh.can_weigh():
        found = measures.memory("tanh RNN", Shape(300, 16, 8, 64), [], how)
        assert found["bptt"]["above"] > 4 * 300 * 16 * 64 / 2**20  # the states at least


def test_speed_judges_by_ratios():
    def row(T, ours, theirs, jax):
        times = {"bptt": {"ms": ours}, "torch.nn": {"ms": theirs}, "jax": {"ms": jax}}
        return {"cell": "GRU", "shape": [T, 1, 1, 1], "train": times}

    found = summary.judge([row(1, 1.0, 4.0, 2.0), row(2, 1.0, 16.0, 0.5)], "train")
    assert found["torch.nn"] == pytest.approx(8.0)
    assert found["jax"] == pytest.approx(1.0)
    assert (found["worst"], found["at"]) == (0.5, [2, 1, 1, 1])


def test_speed_refuses_to_time_what_is_wrong():
    loop = ways.loop

    def wrong(job):
        right = loop(job)
        return right._replace(train=lambda: tuple(1.00002 * t for t in right.train()))

    job = jobs.job("GRU", TINY)
    assert agreement.errors(job, {"loop": loop(job)})["loop"] < 1e-6
    with pytest.raises(AssertionError, match=r"loop, GRU at .* differs .* by 2"):
        agreement.errors(job, {"loop": wrong(job)})


@pytest.mark.parametrize("name", peers.EXTRAS)
def test_speed_names_a_peer_that_is_not_installed(name, monkeypatch, capsys, brief):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, peers.EXTRAS[name][0], raising=False)
    found = told("--shapes", "6,2,3,5", "--cells", "leaky", "--peers", name, "--parts", "table")
    assert found["rows"][0]["train"].keys() == {"bptt"}
    assert f"left out, not installed: {name}" in capsys.readouterr().out


def test_speed_knows_whether_it_was_told_everything(capsys):
    assert speed.is_whole(speed.parsed(["--by", "best"]))
    assert not speed.is_whole(speed.parsed(["--quick"]))
    assert not speed.is_whole(speed.parsed(["--cells", "GRU"]))
    with pytest.raises(SystemExit):
        speed.parsed(["--shapes", "100,32"])
    assert "a shape is T,B,I,H, as in 100,32,16,64; got '100,32'" in capsys.readouterr().err
