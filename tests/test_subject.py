"""A run laid open: the network's own losses on its own test data, and what its user calls them."""

import pytest
import torch

import bptt
from bptt.errors import ArgumentError, RunError
from bptt.tasks.excerpts import Wanted
from bptt.train.subject import only, open_subject, subject_of
from small_runs import DATA, begun


@pytest.fixture(params=DATA, scope="module")
def job(request, tmp_path_factory):
    """A run of each task."""
    return begun(request.param, tmp_path_factory.mktemp(request.param))


def step_losses(subject):
    outputs, _ = bptt.unroll(
        subject.model, subject.inputs, subject.state, lengths=subject.lengths, backend="reference"
    )
    losses = subject.loss(outputs, subject.targets)
    return outputs, losses.flatten(2).sum(-1) if losses.dim() > 2 else losses


def test_losses_are_those_of_the_network_over_all_that_it_reads(job):
    """A stretch of fewer steps begins in the state that the whole one has there."""
    whole = open_subject(job.run.folder, rows=4)
    _, losses = step_losses(whole)
    batch = whole._excerpt.batch()
    job.network.read = job.task.shape.read
    if job.task.name == "classify":
        outputs, _ = job.network(batch)
        own = torch.nn.functional.cross_entropy(outputs, whole.targets.max(0).values)
        torch.testing.assert_close(losses.sum() / 4, own)
    elif job.task.name == "forecast":
        torch.testing.assert_close(losses.sum(), job.task.loss(job.network(batch)[0], batch)[0])
    assert torch.equal(losses != 0, whole.counted)

    part = open_subject(job.run.folder, rows=4, steps=3)
    outputs, _ = step_losses(part)
    excerpt = part._excerpt
    read = excerpt._batch(excerpt.lead, excerpt.stop)
    job.network.read = "every step"
    own, _ = job.network(read)
    ends = (excerpt.stop - excerpt.lead - 1).tolist()
    for b, end in enumerate(ends):
        torch.testing.assert_close(outputs[part.last(b), b], own[end, b])


def test_names_are_the_users_and_parameters_the_runs(job):
    subject = open_subject(job.run.folder, rows=3)
    named = dict(job.network.named_parameters())
    for name, parameter in subject.model.named_parameters():
        assert torch.equal(parameter, named[name])
    assert len(subject.names) == subject.inputs.shape[-1]
    assert all(len(t) <= len(subject.inputs) for t in subject.times)
    wanted = {"forecast": "<b>", "classify": "x", "text": "character"}[job.task.name]
    assert wanted in subject.names
    assert wanted in subject.readings[0]


def test_one_stretch_by_its_name_and_step(job):
    every = open_subject(job.run.folder, rows=3)
    t = every.last(1) - 1
    series = None if job.task.name == "text" else every.series[1]
    one = open_subject(job.run.folder, series=series, at=every.times[1][t])
    outputs, _ = step_losses(one)
    assert one.times[0][-1] == every.times[1][t]
    answers = one.answers(one.last(0), 0, outputs[-1, 0])
    assert answers
    assert any(answer.wanted for answer in answers)
    if job.task.name == "classify":
        assert one.counted[-1].all()
    alone = only(every, 1)
    _, again = step_losses(alone)
    torch.testing.assert_close(again[:, 0], step_losses(every)[1][: len(again), 1])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"series": "nowhere"}, "series"),
        ({"at": "yesterday", "series": "north"}, "yesterday|north"),
        ({"rows": 0}, "1 or more"),
        ({"steps": 0}, "1 or more"),
    ],
)
def test_what_is_not_there_is_said(job, wrong, said):
    with pytest.raises(ArgumentError, match=said):
        open_subject(job.run.folder, **wrong)


def test_changed_data_are_refused(job):
    (data,) = job.run.folder.parent.glob("a.*")
    before = data.read_text()
    data.write_text(before + "\n")
    with pytest.raises(RunError, match="have changed"):
        open_subject(job.run.folder)
    data.write_text(before)


def test_a_network_and_a_task_with_data_need_no_run(job):
    subject = subject_of(job.network, job.task, Wanted(rows=2))
    assert len(subject) == 2
