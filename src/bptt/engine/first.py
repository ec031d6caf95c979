"""The first step of an unroll, watched: what it reaches and does, and that it changes nothing."""

import torch

from bptt import edges
from bptt.backends import reference
from bptt.backends.graphs import Graphs, detached
from bptt.backends.product import is_real
from bptt.backends.reference import Problem
from bptt.backends.repeat import Opening, Repeat, repeat
from bptt.compiler.program import Program
from bptt.compiler.record import Recording, Watch
from bptt.replica import Replica
from bptt.schedule import Schedule
from bptt.step import (
    Arguments,
    Leaves,
    check_drawn,
    check_leaves,
    check_untouched,
    other_generators,
    version,
)


def plain(problem: Problem, arguments: Arguments) -> tuple[Leaves, Leaves]:
    """Run the first step with the draws watched: it tells whether a step draws at all."""
    return _plain(problem, *_taken(problem.schedule, arguments))


def _plain(problem: Problem, x: Leaves, before: Leaves) -> tuple[Leaves, Leaves]:
    problem.draws.begin(problem.offset)
    with problem.draws:
        outputs, state = problem.step(x, before)
    check_leaves(outputs, state, before, problem.schedule.batch)
    return outputs, state


def repeated(
    problem: Problem, arguments: Arguments, replica: Replica, program: Program
) -> tuple[tuple[Leaves, Leaves], Repeat | None]:
    """Run the first step, which draws, and see whether a program of an earlier call repeats it."""
    taken = _taken(problem.schedule, arguments)
    given = _plain(problem, *taken)
    fixed = replica.weights + replica.constants
    again = Repeat(program, fixed, problem.draws, len(given[0]))
    return given, again if again.agrees(taken, given) else None


def recorded(
    problem: Problem, arguments: Arguments, replica: Replica, worth: bool
) -> tuple[tuple[Leaves, Leaves], Problem, Repeat | None]:
    """Run the first step as autograd sees it, and write it down.

    Args:
        problem, arguments, replica: of the unroll.
        worth: whether there are steps enough to replay.

    Returns:
        What it gave, the problem with what it did, and what repeats it.
    """
    x, before = _taken(problem.schedule, arguments)
    before = [leaf.requires_grad_(is_real(leaf)) for leaf in before]  # as in the backward pass
    recording = Recording(x=x, s=before, w=replica.weights + replica.constants)
    versions = [version(leaf) for leaf in x + before]
    since, drawn = edges.now(), other_generators()
    problem.draws.begin(problem.offset)
    with recording, Watch(recording), problem.draws.told(recording), problem.draws.whole():
        outputs, state = problem.step(x, before)
    check_leaves(outputs, state, before, problem.schedule.batch)
    check_drawn(drawn, other_generators())
    check_untouched(x + before, versions)
    replica.check_unchanged()
    given = {id(leaf) for leaf in x + before}
    ends = edges.ends(outputs + state, since)
    replica.adopt([leaf for leaf in ends.leaves if id(leaf) not in given])
    first = detached(outputs, state)
    if not worth or recording.reason is not None or ends.python or not replica.steady:
        return first, problem, None
    names = tuple(recording.name(leaf) for leaf in outputs + state)
    opening = Opening(tuple(recording.operations), names)
    problem = problem._replace(opening=opening.operations)
    if not problem.draws.repeatable:
        return first, problem, None
    fixed, taken = replica.weights + replica.constants, (x, before)
    with torch.no_grad():
        return first, problem, repeat(opening, problem.draws, fixed, taken, first)


def kept(
    problem: Problem, arguments: Arguments, replica: Replica, graphs: Graphs
) -> tuple[Leaves, Leaves]:
    """Run the first step and keep its graph."""
    x, before = _taken(problem.schedule, arguments)
    versions = [version(leaf) for leaf in x + before]
    problem.draws.begin(problem.offset)
    drawn = other_generators()
    with problem.draws:
        outputs, state = graphs(x, before)
    check_drawn(drawn, other_generators())
    check_leaves(outputs, state, before, problem.schedule.batch)
    check_untouched(x + before, versions)
    replica.check_unchanged()
    return outputs, state


def _taken(schedule: Schedule, arguments: Arguments) -> tuple[Leaves, Leaves]:
    columns = [schedule.columns(leaf) for leaf in arguments.inputs]
    x, before, _ = reference.ready(schedule, columns, 0, arguments.initial, arguments.fresh, [])
    return _copies(x), _copies(before)


def _copies(tensors: Leaves) -> Leaves:
    """For a recording tells tensors apart by their memory, and h and c may share theirs."""
    copies = [leaf.detach().clone(memory_format=torch.contiguous_format) for leaf in tensors]
    pairs = zip(copies, tensors, strict=True)
    return [copied.requires_grad_(leaf.requires_grad) for copied, leaf in pairs]
