"""The way out: every step forward, and what of it is kept for the way back.

Three ways, the cheapest that is known to be right. Steps that may be replayed run without a graph,
and the way back repeats what was written down of one of them, in this call or an earlier one. Steps
that may not keep a graph each, as far as memory goes. A cell that has not been seen
before is watched closely and written down, so that the next call knows which way to take.
"""

import functools
import sys

import torch

from bptt import edges
from bptt.again import Restart
from bptt.backends import graphs, reference
from bptt.backends.graphs import Graphs, worth_keeping
from bptt.backends.programs import Programs
from bptt.backends.reference import Problem, Trajectory
from bptt.backends.repeat import Compared, Repeat
from bptt.compiler.fingerprint import Fingerprint, fingerprint
from bptt.draws import settled
from bptt.engine import first as opening
from bptt.engine import known as memory
from bptt.engine.job import Job
from bptt.engine.known import Known
from bptt.methods import Full
from bptt.replica import Original, Replica
from bptt.step import Arguments, Leaves

# Writing down two steps costs as much as running a few.
WORTH_RECORDING = 4


def bare(problem: Problem, arguments: Arguments, stored: Leaves | None) -> Trajectory:
    """Where no gradient is wanted."""
    given = opening.plain(problem, arguments)
    return _forward(problem, arguments, given, None, stored)


def begin(job: Job, arguments: Arguments) -> tuple[Job, None]:
    """The first step alone, written down."""
    job, given, again = _record(job, arguments, worth=job.steps >= WORTH_RECORDING)
    again = again if job.problem.draws.used else None
    return job._replace(first=given, again=again), None


def go(job: Job, arguments: Arguments) -> tuple[Job, Trajectory]:
    """Every step."""
    if edges.hooked():  # to whoever watches what is saved, each call is like the first
        return _write_down(job, arguments, None)
    made = fingerprint(job.problem.step.cell)
    key = memory.key_of(made, job.problem.step, arguments)
    known = memory.recall(key)
    if known is not None and known.opening:
        found = _recall(job, arguments, made, known)
        if found is not None:
            return found
        memory.forget(key)
        known = None
    once = known is not None and not known.opening
    most = sys.maxsize if once else graphs.STEPS
    few = worth_keeping(job.problem.schedule, arguments, made.tensors, most)
    if few and (known is not None or key is None):
        return _keep(job, arguments, made, known)
    if once:
        return _keep(job, arguments, made, known, first=job.steps // 3)
    return _write_down(job, arguments, key)


def _write_down(job: Job, arguments: Arguments, key: tuple | None) -> tuple[Job, Trajectory]:
    """Every step, the first one written down."""
    worth = key is not None or job.steps >= WORTH_RECORDING
    job, given, again = _record(job, arguments, worth)
    drawn = again if job.problem.draws.used else None
    with torch.no_grad():
        trajectory = _forward(job.problem, arguments, given, drawn, job.stored)
    if len(job.replica.weights) == job.replica.found:
        known = Known(job.problem.opening, job.problem.draws, again)
        memory.remember(key, known)
        job = job._replace(problem=job.problem._replace(programs=known.programs))
    return job, trajectory


def _record(
    job: Job, arguments: Arguments, worth: bool
) -> tuple[Job, tuple[Leaves, Leaves], Repeat | None]:
    job = _with_copy(job)
    given, problem, again = opening.recorded(job.problem, arguments, job.replica, worth)
    return job._replace(problem=problem), given, again


def _with_copy(job: Job) -> Job:
    """The job with a copy of the cell as it is now."""
    step = job.problem.step
    replica = Replica(step.cell)
    problem = job.problem._replace(step=step.bind(replica.cell))
    return job._replace(problem=problem, replica=replica)


def _recall(
    job: Job, arguments: Arguments, made: Fingerprint, known: Known
) -> tuple[Job, Trajectory] | None:
    """Every step, and what an earlier call wrote down; None where that is no longer so."""
    alone = isinstance(job.method, Full) and Original.serves(made)
    if alone and known.again is not None and known.programs.proved:
        sparing = known.sparing
        found = _repeat(job, arguments, made, known)
        if found is None and known.sparing != sparing:  # it draws otherwise: looked at more closely
            found = _repeat(job, arguments, made, known)
        return found
    problem = job.problem._replace(opening=known.opening, programs=known.programs)
    job = job._replace(problem=problem)
    if known.drew and known.again is not None:
        return _recall_draws(job, arguments, made, known)
    if known.programs.found and alone and not known.drew:
        return _keep_last(job, arguments, made)
    job = _with_copy(job)
    with torch.no_grad():
        return job, _forward(job.problem, arguments, None, None, job.stored)


def _repeat(
    job: Job, arguments: Arguments, made: Fingerprint, known: Known
) -> tuple[Job, Trajectory] | None:
    """One step is run and compared with what was written down; that is right for all then."""
    replica = Original(job.problem.step.cell, made)
    draws = known.draws(job.problem.draws)
    draws.sparing = known.drew and known.sparing
    step, schedule, _, _, offset, _, _ = job.problem
    problem = Problem(step, schedule, draws, known.opening, offset, known.programs, sure=True)
    assert known.again is not None
    repeat = Repeat(known.again, replica.weights + replica.constants, draws, known.outputs)
    compared = Compared(step, draws, repeat, job.steps)
    with torch.no_grad():
        if known.drew:
            trajectory = _forward(problem, arguments, None, compared, job.stored)
            known.sparing = draws.sparing
        else:
            restart = _restart(job.stored)
            trajectory = reference.forward(problem, *arguments, None, compared, restart)
    if not compared.agreed or not draws.repeatable:
        return None
    return job._replace(problem=problem, replica=replica), trajectory


def _recall_draws(
    job: Job, arguments: Arguments, made: Fingerprint, known: Known
) -> tuple[Job, Trajectory] | None:
    job = _with_copy(job)
    draws = known.draws(job.problem.draws)
    programs = known.programs if job.replica.follows(made.tensors) else Programs()
    job = job._replace(problem=job.problem._replace(draws=draws, programs=programs))
    assert known.again is not None
    with torch.no_grad():
        given, again = opening.repeated(job.problem, arguments, job.replica, known.again)
        if again is None:
            return None
        return job, _forward(job.problem, arguments, given, again, job.stored)


def _keep_last(job: Job, arguments: Arguments, made: Fingerprint) -> tuple[Job, Trajectory] | None:
    """The last step keeps its graph: what was written down is compared with that."""
    problem = job.problem
    replica = Original(problem.step.cell, made)
    wanted = [leaf.requires_grad for leaf in arguments.inputs]
    kept = Graphs(problem.step, wanted, problem.draws, job.steps - 1)
    with torch.no_grad():
        trajectory = reference.forward(problem, *arguments, None, kept, _restart(job.stored))
    if kept.reached(replica.weights, alike=True):
        return None
    return job._replace(replica=replica, graphs=kept), trajectory


def _keep(
    job: Job, arguments: Arguments, made: Fingerprint, known: Known | None, first: int = 0
) -> tuple[Job, Trajectory]:
    """Every step; those from `first` on with their graphs, the others to be run again."""
    if known is not None and not first and Original.serves(made):
        job = job._replace(replica=Original(job.problem.step.cell, made))
    else:
        job = _with_copy(job)
    alike = known is not None and bool(known.opening)
    draws = job.problem.draws
    draws.used = known is not None and known.drew
    draws.sparing = known is not None and known.drew and known.sparing
    if known is not None and alike and not known.drew:
        kept, trajectory = _run_kept(job, arguments, known, first)
    else:
        device = arguments.initial[0].device
        run = functools.partial(_run_kept, job, arguments, known, first)
        kept, trajectory = settled(draws, device, run, run)
    if known is not None:
        known.sparing = draws.sparing
    job.replica.adopt(kept.reached(job.replica.weights, alike))
    return job._replace(graphs=kept), trajectory


@torch.no_grad()
def _run_kept(
    job: Job, arguments: Arguments, known: Known | None, first: int
) -> tuple[Graphs, Trajectory]:
    problem, wanted = job.problem, [leaf.requires_grad for leaf in arguments.inputs]
    kept, restart = Graphs(problem.step, wanted, problem.draws, first), _restart(job.stored)
    given = None if known is not None else opening.kept(problem, arguments, job.replica, kept)
    trajectory = reference.forward(
        problem, *arguments, given, kept, restart, keep_states=not kept.whole
    )
    return kept, trajectory


def _forward(
    problem: Problem,
    arguments: Arguments,
    given: tuple[Leaves, Leaves] | None,
    again: Repeat | Compared | None = None,
    stored: Leaves | None = None,
) -> Trajectory:
    """Every step; with the draws substituted, should a later step draw though the first did not."""
    return settled(
        problem.draws,
        arguments.initial[0].device,
        lambda: reference.forward(problem, *arguments, given, again, _restart(stored)),
        lambda: reference.forward(problem, *arguments, given, None, _restart(stored)),
    )


def _restart(stored: Leaves | None) -> Restart | None:
    """The first steps start from stored states."""
    if stored is None:
        return None
    count = len(stored[0])
    return lambda p, state: [leaf[p] for leaf in stored] if p < count else state
