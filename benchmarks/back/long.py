"""A long sequence within a budget of memory: what is held, and what that costs in time."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import bptt
from back import clock, exact
from back.clock import Result, Spent, Watch
from bptt.methods import Method

BUDGETS = ("256kB", "1MB", "2MB", "4MB", "8MB", "16MB", "32MB", "64MB", "128MB")
AIMS = {"64MB": 1.5, "8MB": 1.7, "256kB": 2.6}
LONG, LONGER, SHORT = 1_000_000, 10_000_000, 1_000
SUMS = 1e-4  # allowed: what a million float32 terms added in another order may differ by
STATUS = Path("/proc/self/status")
INPUTS, UNITS = 8, 64


class Reader(nn.Module):
    """Elman's network with its read-out inside the cell: y_t = s_t Wy."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.recur = bptt.cells.Elman(inputs, units)
        self.Wy = nn.Parameter(torch.randn(units, 1) / units**0.5)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.recur.initial_state(batch_size)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.recur(x, state)
        return state @ self.Wy, state


class Case(NamedTuple):
    """What the caller holds: inputs (T, 1, 8) and dE/dy (T, 1, 1); outputs come on top."""

    cell: nn.Module
    inputs: Tensor
    adjoint: Tensor


def case(steps: int) -> Case:
    torch.manual_seed(0)
    return Case(Reader(INPUTS, UNITS), torch.randn(steps, 1, INPUTS), torch.randn(steps, 1, 1))


def method(words: str) -> Method:
    """`full` or a budget such as `64MB`."""
    return bptt.Full() if words == "full" else bptt.Checkpointed(memory=words)


def run(case: Case, method: Method) -> Spent:
    """Forward, and backward to the weights."""
    watch = Watch()
    outputs = bptt.unroll(case.cell, case.inputs, method=method)[0]
    with watch.backward():
        outputs.backward(case.adjoint)
    return watch.spent()


def gradients(case: Case, words: str) -> list[Tensor]:
    case.cell.zero_grad()
    run(case, method(words))
    return [weight.grad for weight in case.cell.parameters() if weight.grad is not None]


def race(steps: int, budgets: Sequence[str], seconds: float) -> dict[str, Result]:
    """Times of Full and of every budget, A B A B in this process, after they have agreed.

    Raises:
        AssertionError: they do not.
    """
    one = case(steps)
    wanted = gradients(one, "full")
    for budget in budgets:
        exact.agree(f"Checkpointed(memory={budget!r})", gradients(one, budget), wanted, SUMS)
    ways = {words: _way(one, words) for words in ("full", *budgets)}
    return clock.in_turn(ways, seconds)


def _way(one: Case, words: str) -> clock.Way:
    return lambda: run(one, method(words))


def measure(steps: int, budgets: Sequence[str], seconds: float, threads: int) -> Result:
    """Times, and the most that new processes held beyond one that holds the caller's tensors."""
    times = race(steps, budgets, seconds)
    least = weigh("nothing", steps, threads)["most"]
    held = {words: weigh(words, steps, threads)["most"] - least for words in times}
    return {"steps": steps, "baseline": least, "times": times, "held": held}


def once(steps: int, words: str, threads: int) -> Result:
    """A run in a new process: seconds, and the most beyond the caller's tensors."""
    least = weigh("nothing", steps, threads)["most"]
    found = weigh(words, steps, threads)
    held = found["most"] - least
    return {"steps": steps, "method": words, "seconds": found["seconds"], "held": held}


def weigh(words: str, steps: int, threads: int) -> dict[str, float]:
    """Ask a new process: megabytes at the most, and seconds."""
    command = [sys.executable, "-m", "back.long", words, str(steps), str(threads)]
    here = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=here, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def weighed(words: str, steps: int) -> dict[str, float]:
    """The most that this process holds, from when all is warm and the caller's tensors are there.

    `nothing` holds those tensors alone, outputs with them.
    """
    for warm in (bptt.Full(), bptt.Checkpointed(segments=4)):
        run(case(SHORT), warm)
    one = case(steps)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    if words == "nothing":
        outputs = torch.ones_like(one.adjoint)
        return {"most": most(), "outputs": outputs.sum().item()}
    return {"seconds": run(one, method(words)).both, "most": most()}


def most() -> float:
    """Megabytes at the most so far."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    print(json.dumps(weighed(sys.argv[1], int(sys.argv[2]))))
