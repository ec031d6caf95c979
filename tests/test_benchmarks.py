"""The benchmarks run, so that their figures can be had again; what they find is not judged here."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import learning
import record
import reference


@pytest.mark.parametrize("cell", reference.CELLS)
def test_reference_is_checked_timed_and_weighed(cell):
    found = reference.measure(cell, reference.Shape(6, 2, 3, 4), 0.0)
    assert found["gap"] < 1e-4
    assert found["pairs"] == reference.LEAST_PAIRS
    assert found["loop_kept_mb"] > 0
    assert reference.verdict(reference.summary([found])).count("aim") == 4


def test_reference_refuses_to_time_what_is_wrong(monkeypatch):
    monkeypatch.setattr(
        reference, "ours", lambda cell, inputs: 1.001 * reference.loop(cell, inputs)
    )
    with pytest.raises(AssertionError, match="differ by 1"):
        reference.measure("GRU", reference.Shape(6, 2, 3, 4), 0.0)


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
