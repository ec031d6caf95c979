"""What is measured, one function a question; results are plain dicts, ready for JSON."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from race import agreement, fresh, jobs, rounds, ways
from race.jobs import KINDS, Shape
from race.peers import OURS
from race.rounds import Times
from race.ways import Runner, Way

SMALLEST = Shape(1, 1, 16, 32)
LONGER = [Shape(T, 16, 8, 64) for T in (250, 500, 1000, 2000)]
WIDER = [Shape(250, B, 8, 64) for B in (16, 32, 64, 128)]
FIRST = Shape(100, 32, 64, 128)
HEAVY = [Shape(784, 64, 1, 128), Shape(100, 64, 256, 256)]


class Settings(NamedTuple):
    """How to measure: seconds for a cell at a shape, which of `Times` counts, cores, backend."""

    seconds: float
    by: str
    threads: int
    backend: str


Result = dict[str, Any]


def _timed(runners: Mapping[str, Runner], task: str, budget: float, by: str) -> Result:
    calls = {name: getattr(runner, task) for name, runner in runners.items()}
    times = rounds.in_turn({n: call for n, call in calls.items() if call is not None}, budget)
    return {name: _in_ms(each, by) for name, each in times.items()}


def _in_ms(times: Times, by: str) -> Result:
    median, best = 1e3 * times.median, 1e3 * times.best
    ms = best if by == "best" else median
    return {"ms": ms, "median": median, "best": best, "calls": times.calls, "rounds": times.rounds}


def _runners(job: jobs.Job, entrants: Mapping[str, Way]) -> dict[str, Runner]:
    return {name: runner for name, way in entrants.items() if (runner := way(job)) is not None}


def race(cell: str, shape: Shape, entrants: Mapping[str, Way], how: Settings) -> Result:
    """One cell at one shape: first whether all agree, then their times."""
    job = jobs.job(cell, shape)
    runners = _runners(job, entrants)
    errors = agreement.errors(job, runners)
    train = _timed(runners, "train", how.seconds, how.by)
    compiled = {name: runner for name, runner in runners.items() if name != "loop"}
    return {
        "cell": cell,
        "shape": shape,
        "backend": ways.chosen(job, how.backend),
        "errors": errors,
        "train": train,
        "forward": _timed(compiled, "forward", how.seconds / 2, how.by),
        "gflops": job.flops / train[OURS]["ms"] / 1e6,
    }


def overhead(cell: str, entrants: Mapping[str, Way], how: Settings) -> Result:
    """Microseconds of one step of one sequence, forward alone.

    bptt.nn's modules take part unless a backend is named, for they choose theirs.
    """
    job = jobs.job(cell, SMALLEST)
    modules = {"bptt.nn": ways.drop_in} if how.backend == "auto" else {}
    runners = _runners(job, {**entrants, **modules})
    agreement.errors(job, runners)
    times = _timed(runners, "forward", how.seconds / 2, how.by)
    return {"cell": cell} | {name: 1e3 * each["ms"] for name, each in times.items()}


def growth(cell: str, ours: Way, how: Settings) -> Result:
    """How many times longer eight times the steps take, and eight times the sequences."""
    return {
        "cell": cell,
        "T x 8": _grown(cell, LONGER, ours, how),
        "B x 8": _grown(cell, WIDER, ours, how),
    }


def _grown(cell: str, shapes: Sequence[Shape], ours: Way, how: Settings) -> Result:
    jobs_by_shape = {str(shape): jobs.job(cell, shape) for shape in shapes}
    runners = {name: runner for name, job in jobs_by_shape.items() if (runner := ours(job))}
    times = _timed(runners, "train", how.seconds, how.by)
    ms = [each["ms"] for each in times.values()]
    return {"ms": dict(zip(times, ms, strict=True)), "times": ms[-1] / ms[0]}


def first_calls(cell: str, peers: Sequence[str], how: Settings) -> Result:
    """Milliseconds of forward and backward in a new process, with an empty cache and a warm one."""
    with tempfile.TemporaryDirectory() as folder:
        words = OURS, cell, _sizes(FIRST), how.threads, how.backend
        cold, warm = (fresh.ask("first", *words, cache=Path(folder)) for _ in range(2))
    found = {"bptt": cold, "bptt, from disk": warm}
    for peer in peers:
        if peer in ("jax", "torch.nn") and (peer == "jax" or KINDS[cell].in_torch):
            found[peer] = fresh.ask("first", peer, *words[1:])
    return {"cell": cell} | found


def memory(cell: str, shape: Shape, peers: Sequence[str], how: Settings) -> Result:
    """Megabytes of forward and backward in a new process, at the most."""
    names = [OURS, *(["torch.nn"] if "torch.nn" in peers and KINDS[cell].in_torch else [])]
    words = cell, _sizes(shape), how.threads, how.backend
    return {
        "cell": cell,
        "shape": shape,
        **{name: fresh.ask("memory", name, *words) for name in names},
    }


def _sizes(shape: Shape) -> str:
    return ",".join(map(str, shape))
