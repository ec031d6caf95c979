"""What is seen in a new process alone: the first call, and the most memory.

Run as `python -m race.fresh WHAT WAY CELL T,B,I,H THREADS BACKEND` in `benchmarks/`; prints JSON.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from race import jobs, peers
from race.jobs import Job, Shape
from race.ways import Runner, Way

STATUS = Path("/proc/self/status")


def ask(what: str, *words: object, cache: Path | None = None) -> dict[str, float]:
    """Run one of `QUESTIONS` in a new process, with its own cache directory if one is given.

    Its modules' bytecode is stored, as that of installed packages is.

    Raises:
        subprocess.CalledProcessError: it failed; its own words are on the screen.
    """
    command = [sys.executable, "-m", "race.fresh", what, *map(str, words)]
    home = {} if cache is None else {"XDG_CACHE_HOME": str(cache)}
    home["PYTHONDONTWRITEBYTECODE"] = ""
    here = Path(__file__).parents[1]
    done = subprocess.run(
        command, cwd=here, env=os.environ | home, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def first_calls(way: Way, job: Job) -> dict[str, float]:
    """Milliseconds of forward and backward: the first, the next, and the first at a new T and B.

    A backward pass of one number comes before: at the first, torch loads half a second of itself.
    """
    number = torch.ones((), requires_grad=True)
    torch.autograd.grad(number * number, number, torch.ones(()))
    runner = _runner(way, job)
    first, again = _milliseconds(runner), _milliseconds(runner)
    T, B, *sizes = job.shape
    other = jobs.job(job.name, Shape(T + 7, B + 3, *sizes), job.module)
    return {"first": first, "next": again, "new T and B": _milliseconds(_runner(way, other))}


def memory(way: Way, job: Job) -> dict[str, float]:
    """Megabytes of this process at the most, above what it held before forward and backward.

    A short job of the same cell comes first, for what is made once: code, threads, pools.
    """
    short = jobs.job(job.name, job.shape._replace(T=2), job.module)
    _train(_runner(way, short))
    runner = _runner(way, job)
    before = _megabytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    _train(runner)
    most = _megabytes("VmHWM")
    return {"above": most - before, "in all": most}


QUESTIONS: dict[str, Callable[[Way, Job], dict[str, float]]] = {
    "first": first_calls,
    "memory": memory,
}


def can_weigh() -> bool:
    """Whether this system tells a process's high-water mark and lets it be set back."""
    return STATUS.exists() and "VmHWM" in STATUS.read_text()


def _runner(way: Way, job: Job) -> Runner:
    runner = way(job)
    if runner is None:
        raise ValueError(f"this way does not have the {job.name}")
    return runner


def _train(runner: Runner) -> Any:
    if runner.train is None:
        raise ValueError("this way knows no gradients")
    return runner.train()


def _milliseconds(runner: Runner) -> float:
    start = time.perf_counter()
    _train(runner)
    return 1e3 * (time.perf_counter() - start)


def _megabytes(field: str) -> float:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def main() -> None:
    what, way, cell, shape, threads, backend = sys.argv[1:]
    peers.use_cores(int(threads))
    ways, missing = peers.entrants([] if way == peers.OURS else [way], backend)
    if missing:
        raise SystemExit(f"not installed: {missing[0]}")
    job = jobs.job(cell, Shape.parse(shape))
    print(json.dumps(QUESTIONS[what](ways[way], job)))


if __name__ == "__main__":
    main()
