"""One run forward of what is inspected, with all that the ways back from its losses need."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bptt import edges, plans, starts
from bptt.backends import each as reference
from bptt.backends.each import Inputs, Passage, direct, point_at
from bptt.backends.product import is_real
from bptt.course import Course
from bptt.draws import Draws
from bptt.errors import ArgumentError
from bptt.fused import forward
from bptt.fused.each import Back
from bptt.fused.job import Given, Job, Values
from bptt.fused.shared import Ran
from bptt.inspect.kinks import kinks
from bptt.inspect.losses import Loss, Losses, StepLoss
from bptt.inspect.single import followed
from bptt.inspect.subject import Subject
from bptt.inspect.trajectory import Trajectory, trajectory
from bptt.methods import Full, Method
from bptt.nn.recording import Recording
from bptt.ready import Ready, prepare
from bptt.replica import Replica
from bptt.step import Leaves, Step
from bptt.unroll import finish, unroll_window

SEED = 0  # of a step's random numbers: the same model and batch are inspected alike each time


class Run(NamedTuple):
    """A subject that has been run forward once.

    Attributes:
        subject: what was run.
        loss: E_t as a function of the outputs.
        losses: E_t and dE_t/dy_t.
        passage: the way back step by step.
        ran: the way back by kernels; None where the reference backend runs the cell.
        names: what the model calls each weight of the passage.
        generator: the state of torch's generator before.
        versions: of the model's tensors, which tell whether it has changed since.
        notes: where the step has no derivative.
    """

    subject: Subject
    loss: StepLoss
    losses: Losses
    passage: Passage
    ran: Ran | None
    names: list[str]
    generator: Tensor
    versions: list[int]
    notes: tuple[str, ...]

    def back(self, times: Sequence[int], inputs: Inputs, weights: bool) -> Back | reference.Back:
        """The way back of some loss times, each for itself."""
        if self.ran is None:
            return reference.Back(self.passage, times, inputs, weights)
        return Back(self.ran, times, inputs, weights)

    def gradient(self, method: Method, times: Sequence[int] | None = None) -> list[Tensor | None]:
        """dE/dW by one backward pass through `unroll`, E the sum over some loss times, or all."""
        self.check_unchanged()
        sources = self.passage.replica.sources
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.set_rng_state(self.generator)
            given = (self.subject.cell, *_given(self.subject))
            outputs, _ = unroll_window(given, method, SEED, 0, None)
            rows = self.loss.rows(outputs)
            error = rows.sum() if times is None else rows[list(times)].sum()
            found = torch.autograd.grad(error, sources, allow_unused=True)
        return list(found)

    def check_unchanged(self) -> None:
        """Raise ArgumentError if the model's tensors are not what they were."""
        if [source._version for source in self.passage.replica.sources] != self.versions:
            raise ArgumentError(
                "The model has changed since it was inspected (an optimiser's step, perhaps), so "
                "what is asked for now would be of other weights. Inspect it anew."
            )


class _Forward(NamedTuple):
    """What a run forward gave: outputs as the cell returns them, states after each step."""

    outputs: Any
    after: Leaves
    job: Job | None
    given: Given | None
    values: Values


def run(subject: Subject, loss: Loss | None, targets: Any, unit: int | None = None) -> Run:
    """Run a subject forward, and its losses, or a unit of its state in their place.

    torch's generator is left as it was.

    Raises:
        ArgumentError: a loss that does not do, or a unit that the state has not.
    """
    if unit is not None:
        subject, loss = followed(subject, unit, loss, targets)
    step_loss, generator = StepLoss(subject, loss, targets), torch.get_rng_state()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        ready = prepare(subject.cell, *_given(subject))
        inputs = [leaf.detach().requires_grad_(is_real(leaf)) for leaf in ready.arguments.inputs]
        ready = ready._replace(arguments=ready.arguments._replace(inputs=inputs), seed=SEED)
        with torch.no_grad():
            went = _by_kernels(ready) or _step_by_step(ready, subject)
        replica = Replica(subject.cell)
        found = step_loss.at(went.outputs)
        initial, fresh = ready.arguments[1:]
        passage = Passage(
            step=Step(replica.cell, ready.step.inputs, ready.step.state),
            replica=replica,
            course=ready.course,
            draws=Draws(SEED),
            inputs=inputs,
            before=_before(ready.course, went.after, initial, fresh),
            losses=found.gradients,
            initial=initial,
            fresh=fresh,
        )
        _adopt(passage)
        notes = tuple(map(str, kinks(_path(subject, passage, went.after))))
    ran = None
    if went.job is not None and went.given is not None:
        together = not went.job.compiled.has_sequences and not went.job.draws.used
        ran = Ran(went.job, went.given, went.values, passage, direct(passage, together))
    versions = [source._version for source in replica.sources]
    names = _names(subject, replica)
    return Run(subject, step_loss, found, passage, ran, names, generator, versions, notes)


def _by_kernels(ready: Ready) -> _Forward | None:
    """A run by kernels; None where there are none for the cell."""
    course, arguments = ready.course, ready.arguments
    if not ready.is_for_kernels or not bool(course.counts.any()):
        return None
    with torch.enable_grad():
        entry, found = ready.find()
    if entry.compiled is None:
        plans.warn(entry)
        return None
    job, tensors = ready.job(entry, found)
    given, compiled = job.split(tensors), job.compiled
    fixed = compiled.forward.once.run(given.own)
    outputs, final, values = forward.run(job, given, fixed, compiled.forward)
    after = [
        values[node].to(leaf.dtype).reshape(course.steps, *leaf.shape)
        for node, leaf in zip(compiled.step.state, arguments.initial, strict=True)
    ]
    return _Forward(ready.step.unflatten(outputs, final)[0], after, job, given, values)


def _step_by_step(ready: Ready, subject: Subject) -> _Forward:
    """A run of the cell with its states beside its outputs."""
    recording = Step(Recording(subject.cell), ready.step.inputs, ready.step.state)
    recorded = ready._replace(step=recording, backend="reference")
    (outputs, after), _ = finish(recorded, subject.cell, subject.inputs)
    return _Forward(outputs, pytree.tree_leaves(after), None, None, {})


def _given(subject: Subject) -> tuple:
    """The arguments of `unroll` behind the cell, in their order."""
    return (
        subject.inputs, subject.state, subject.lengths, subject.reset, subject.reset_state,
        subject.reverse, Full(), subject.backend,
    )  # fmt: skip


def _before(course: Course, after: Leaves, initial: Leaves, fresh: Leaves) -> Leaves:
    """(T, B, ...) per leaf: the state that each step starts from."""
    firsts = [leaf.detach() for leaf in initial]
    anew = [leaf.detach() for leaf in fresh] or [None] * len(after)
    leaves = zip(after, firsts, anew, strict=True)
    return [starts.before(course, leaf, first, new) for leaf, first, new in leaves]


def _path(subject: Subject, passage: Passage, after: Leaves) -> Trajectory:
    """The states that were gone through."""
    course, drawn = passage.course, passage.draws.used
    x, before, after = (
        [course.to_time(leaf.detach()) for leaf in leaves]
        for leaves in (passage.inputs, passage.before, after)
    )
    step = Step(subject.cell, passage.step.inputs, passage.step.state)
    return trajectory(step, course, x, before, after, SEED if drawn else None)


def _adopt(passage: Passage) -> None:
    """Find the weights that a step reaches, those too that no attribute of the cell holds."""
    if not bool(passage.course.counts.any()):
        return
    since, point = edges.now(), point_at(passage, 0, True)
    given = {id(leaf) for leaf in point.given}
    ends = edges.ends([*point.outputs, *point.after], since)
    passage.replica.adopt([leaf for leaf in ends.leaves if id(leaf) not in given])


def _names(subject: Subject, replica: Replica) -> list[str]:
    """What the model calls its weights; one that it does not name goes by its number."""
    known = subject.names()
    return [known.get(id(source), f"w{i}") for i, source in enumerate(replica.sources)]
