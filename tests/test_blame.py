"""An error of a run explained: the true gradients under the user's own names, as text and page."""

import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

import bptt
from bptt.blame import blame
from bptt.blame.page import page
from bptt.blame.text import lines
from bptt.cli.app import main
from bptt.errors import ArgumentError, RunError
from bptt.train.subject import open_subject
from small_runs import DATA, begun


@pytest.fixture(params=DATA, scope="module")
def job(request, tmp_path_factory):
    """A run of each task."""
    return begun(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def explain(capsys):
    """Run `bptt explain` and give its exit code, output and errors."""

    def command(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["explain", *map(str, words)])
        return stop.value.code, *capsys.readouterr()

    return command


def own_error(subject):
    """E of a stretch's last step, and its gradient by each input, through one plain unroll."""
    inputs = subject.inputs.clone().requires_grad_()
    outputs, _ = bptt.unroll(subject.model, inputs, subject.state, backend="reference")
    error = subject.loss(outputs, subject.targets)[-1].sum()
    return error.item(), torch.autograd.grad(error, inputs)[0][:, 0]


def test_numbers_are_those_of_one_backward_pass(job):
    found = blame(job.run.folder)
    error, slopes = own_error(found.subject)
    assert found.error == pytest.approx(error, rel=1e-4)
    for step in found.steps:
        gradients = torch.tensor([given.gradient for given in step.inputs])
        assert gradients.norm() == pytest.approx(float(slopes[step.k - 1].norm()), rel=1e-3)
        assert step.norm == pytest.approx(found.credit.state[0, step.k - 1])
    np.testing.assert_allclose(sum(step.share for step in found.steps), 1, rtol=1e-6)
    for share in (0.3, 0.5, 0.9):  # the fewest of the last steps that carry so much
        shares = [step.share for step in found.steps[: found.within(share)]]
        assert sum(shares[:-1]) < share <= sum(shares)
    words = [given for step in found.steps for given in step.inputs if not given.signed]
    assert all(given.gradient >= 0 for given in words)


def test_without_a_time_the_largest_error_is_taken(job):
    found = blame(job.run.folder)
    every = open_subject(job.run.folder, rows=256)
    assert found.searched == len(every)
    for b in range(0, len(every), 7):
        series = None if job.task.name == "text" else every.series[b]
        at = every.times[b][every.last(b)]
        assert blame(job.run.folder, series=series, at=at).error <= found.error * (1 + 1e-5)


class Texts(HTMLParser):
    """The text of a page, outside scripts and styles; and the tags in it."""

    def __init__(self, html):
        super().__init__()
        self.text, self.tags = "", []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_text_and_page_tell_the_same_in_the_users_words(job):
    found = blame(job.run.folder)
    text, html = "\n".join(lines(found, 100)), page(found)
    assert max(map(len, text.split("\n"))) <= 100
    assert found.at in text
    for step in found.steps:
        assert f'data-step="{step.k - 1}" data-value="' in html
    seen = Texts(html)
    assert found.at in seen.text
    assert "b" not in seen.tags  # the column called <b> is shown
    if job.task.name == "forecast":
        assert "<b>" in seen.text
    links = re.findall(r"""(?:src|href)=["']?([^"' >]+)""", html)
    assert all(link.startswith("data:") for link in links)


def test_the_command_prints_or_writes_a_page(job, explain, tmp_path):
    code, said, noted = explain(job.run.folder)
    assert code == 0
    assert "Blamed on" in said
    assert "not been trained to its end" in noted
    place = tmp_path / "page.html"
    code, said, _ = explain(job.run.folder, "--html", place)
    assert (code, said.strip()) == (0, str(place))
    assert place.read_text(encoding="utf-8").startswith("<!doctype html>")
    code, _, wrong = explain(job.run.folder, "--html", place)
    assert code == 2
    assert "--overwrite" in wrong


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("RUN", "--series", "nowhere"), "series"),
        (("RUN", "--at", "never"), "never"),
        (("RUN", "--activation", "relu"), "--activation is for the worked example"),
        (("nothing",), "there is no folder nothing"),
        (("--at", "3"), "give its folder too"),
        (("RUN", "--html", "none/such/page.html"), "there is no folder none/such"),
    ],
)
def test_wrong_words_are_named(job, explain, words, said):
    code, _, wrong = explain(*(job.run.folder if word == "RUN" else word for word in words))
    assert code == 2
    assert said in wrong
    assert wrong.startswith("bptt: ")
    assert "Traceback" not in wrong


def test_where_nothing_can_be_compared_or_nothing_is_finite_it_is_said(job, monkeypatch):
    subject = open_subject(job.run.folder, rows=1)
    at = subject.times[0][-1]
    series = None if job.task.name == "text" else subject.series[0]
    weight = job.network.read_out.weight
    before = weight.detach().clone()
    torch.nn.init.constant_(weight, float("nan"))
    job.run.write_weights(job.network.state_dict())
    with pytest.raises(RunError, match="no way back"):
        blame(job.run.folder, series=series, at=at)
    with torch.no_grad():
        weight.copy_(before)
    job.run.write_weights(job.network.state_dict())
    monkeypatch.setattr(sys.modules["bptt.blame.blame"], "open_subject", _uncounted)
    with pytest.raises(ArgumentError, match="nothing to compare with"):
        blame(job.run.folder, series=series, at=at)


def _uncounted(*given, **more):
    subject = open_subject(*given, **more)
    subject.counted[:] = False
    return subject
