"""One run forward of what is inspected, with all that the ways back from its losses need."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bptt import edges
from bptt.backends.each import Passage, Point
from bptt.course import Course
from bptt.draws import Draws
from bptt.inspect.losses import Loss, Losses, losses
from bptt.inspect.subject import Subject
from bptt.methods import Full
from bptt.nn.recording import Recording
from bptt.replica import Replica
from bptt.step import Leaves, Step
from bptt.unroll import _finish, _ready

SEED = 0  # of a step's random numbers: the same model and batch are inspected alike each time


class Run(NamedTuple):
    """A subject that has been run forward once.

    Attributes:
        subject: what was run.
        losses: E_t and dE_t/dy_t.
        passage: the way back step by step.
        names: what the model calls each weight of the passage.
    """

    subject: Subject
    losses: Losses
    passage: Passage
    names: list[str]


def run(subject: Subject, loss: Loss | None, targets: Any) -> Run:
    """Run a subject forward, and its losses.

    torch's generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        ready = _ready(subject.cell, *_given(subject))
        recording = Step(Recording(subject.cell), ready.step.inputs, ready.step.state)
        with torch.no_grad():
            (outputs, after), _ = _finish(
                ready._replace(step=recording, seed=SEED), subject.cell, subject.inputs
            )
        replica = Replica(subject.cell)
    found = losses(subject, outputs, loss, targets)
    arguments, course = ready.arguments, ready.course
    states = pytree.tree_leaves(after)
    passage = Passage(
        step=Step(replica.cell, ready.step.inputs, ready.step.state),
        replica=replica,
        course=course,
        draws=Draws(SEED),
        inputs=arguments.inputs,
        before=_before(course, states, arguments.initial, arguments.fresh),
        losses=found.gradients,
        initial=arguments.initial,
        fresh=arguments.fresh,
    )
    _adopt(passage)
    return Run(subject, found, passage, _names(subject, replica))


def _given(subject: Subject) -> tuple:
    """The arguments of `unroll` behind the cell, in their order."""
    return (
        subject.inputs, subject.state, subject.lengths, subject.reset, subject.reset_state,
        subject.reverse, Full(), subject.backend,
    )  # fmt: skip


def _before(course: Course, after: Leaves, initial: Leaves, fresh: Leaves) -> Leaves:
    """(T, B, ...) per leaf: the state that each step starts from."""
    found = []
    for index, leaf in enumerate(after):
        first = initial[index].detach()[None]
        parts = [leaf[1:], first] if course.reverse else [first, leaf[:-1]]
        before = torch.cat(parts)
        if course.reverse and course.lengths is not None:
            last = torch.arange(course.steps)[:, None] == course.lengths - 1
            before = torch.where(_like(last, leaf), first, before)
        if course.reset is not None:
            before = torch.where(_like(course.reset, leaf), fresh[index].detach()[None], before)
        found.append(before)
    return found


def _like(rows: Tensor, leaf: Tensor) -> Tensor:
    return rows.reshape(*rows.shape, *[1] * (leaf.dim() - rows.dim()))


def _adopt(passage: Passage) -> None:
    """Find the weights that a step reaches, those too that no attribute of the cell holds."""
    counts, since = passage.course.counts, edges.now()
    live = None if passage.course.lengths is None else counts > 0
    if not bool(counts.any()):
        return
    point = Point(passage, 0, live, True, False)
    given = {id(leaf) for leaf in point.given}
    ends = edges.ends([*point.outputs, *point.after], since)
    passage.replica.adopt([leaf for leaf in ends.leaves if id(leaf) not in given])


def _names(subject: Subject, replica: Replica) -> list[str]:
    """What the model calls its weights; one that it does not name goes by its number."""
    known = subject.names()
    return [known.get(id(source), f"w{i}") for i, source in enumerate(replica.sources)]
