"""The benchmarks run, so that their figures can be had again; what they find is not judged here."""

import json
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import learning
import methods
import record
import reference
import speed
from back import exact, long, masks, plot, stream, truncated
from back import page as ways_page
from race import agreement, fresh, jobs, measures, page, peers, rounds, summary, ways
from race.jobs import KINDS, Shape


@pytest.mark.parametrize("cell", reference.CELLS)
def test_reference_is_checked_timed_and_weighed(cell):
    found = reference.measure(cell, Shape(6, 2, 3, 4), 0.0)
    assert found["gap"] < 1e-4
    assert found["pairs"] == reference.LEAST_PAIRS
    assert found["loop_kept_mb"] > 0
    judged = found | {"judged": True}
    assert reference.verdict(reference.summary([found])).count("aim") == 4
    assert reference.verdict(reference.summary([found, judged])).count("aim") == 8


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


@pytest.fixture
def short(monkeypatch):
    """A few calls of a few steps."""
    monkeypatch.setattr(rounds, "PAUSE", 0.0)
    monkeypatch.setattr(rounds, "BLOCK", 0.0)
    monkeypatch.setattr(masks, "SHAPES", [TINY])
    monkeypatch.setattr(masks, "PACKED", [TINY])
    monkeypatch.setattr(masks, "CELLS", ("GRU", "leaky"))
    monkeypatch.setattr(truncated, "CELLS", ("GRU",))
    monkeypatch.setattr(truncated, "T", 40 * methods.QUICK)
    monkeypatch.setattr(stream, "CELLS", ("GRU",))
    monkeypatch.setattr(stream, "SHAPES", [TINY._replace(T=100 * methods.QUICK)])
    monkeypatch.setattr(long, "LONG", 3000 * methods.QUICK)
    monkeypatch.setattr(long, "BUDGETS", ("1MB",))


def told_of_ways(*parts):
    """What the command finds of these parts, in this process and without saving it."""
    words = methods.parsed(["--quick", "--threads", "1", "--seconds", "0.001", "--parts", *parts])
    return json.loads(json.dumps(methods.run(words)))


def test_ways_back_are_told(short, capsys):
    found = told_of_ways("masks", "packed", "truncated", "stream")
    assert {row["cell"] for row in found["masks"]} == set(masks.CELLS)
    assert len(found["truncated"]) == len(truncated.CELLS) * len(truncated.BATCHES)
    assert found["stream"][0]["times"].keys() == {"stream", "unroll"}
    for table in (page.plain, record.table):
        text = ways_page.full(found, table)
        assert all(f"aim: at {words}" in text for words in ("most 1.05", "least 3 times"))
        assert text.count("40, 16, 8, 64") == len(truncated.CELLS)
    assert "Measured on" in text


@pytest.mark.skipif(not fresh.can_weigh(), reason="needs /proc")
def test_long_sequences_are_weighed(short, capsys):
    found = told_of_ways("long")
    assert found["long"]["held"].keys() == {"full", "1MB"}
    assert found["long"]["held"]["full"] > 4 * 3000 * long.UNITS / 1e6  # the states at least
    assert 'Checkpointed("1MB")' in ways_page.full(found, page.plain)


def test_ways_back_name_a_peer_that_is_not_installed(short, monkeypatch, capsys):
    monkeypatch.setattr(methods, "PEERS", ("torch", "equinoxious"))
    assert "jax" not in told_of_ways("jax").keys() - {"versions"}
    assert "left out: jax, not installed: equinoxious" in capsys.readouterr().out


def test_the_recipe_is_the_one_that_is_copied(double):
    """h <- w h, loss = state, k1 = 1, k2 = 3: exact are 0.9, 0.36, 0.108, 0.0216."""

    class Scale(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.tensor(0.2))

        def forward(self, x, h):
            return self.w * h

    found = []
    for steps in range(1, 5):
        ones = torch.ones(steps, 1, 1)
        case = truncated.Case(Scale(), ones, ones, torch.tensor([[0.9]]))
        truncated.recipe(case, 1, 3)
        found.append(float(case.gradients()[0]))
    apart = [found[0], *(b - a for a, b in pairwise(found))]
    assert apart == pytest.approx([0.9, 0.36, 0.288, 0.0576])


def test_ways_back_are_not_timed_where_they_are_wrong():
    right = [torch.ones(3), torch.ones(2)]
    assert exact.agree("ours", right, right) == 0
    for wrong in (1.001, torch.nan):
        with pytest.raises(AssertionError, match=r"ours: differs by .* nothing is timed"):
            exact.agree("ours", [right[0], right[1] * wrong], right)


def test_memory_is_drawn_against_time(tmp_path):
    times = {way: {"best ms": ms} for way, ms in (("full", 100.0), ("8MB", 170.0))}
    part = {"steps": 1000, "held": {"full": 270.0, "8MB": 8.0}, "times": times}
    plot.draw({"long": part, "jax": part}, tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert all(f">{word}<" in drawn for word in ("Full", "8MB", "lax.scan", "bptt"))
