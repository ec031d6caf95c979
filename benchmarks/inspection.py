"""What it costs to see the gradient travel: `bptt.inspect.credit` beside one forward and backward.

    python benchmarks/inspection.py                  # all cells on both backends: some minutes
    python benchmarks/inspection.py --write          # ... and into docs/performance.md
    python benchmarks/inspection.py --cells GRU --backends cpu --seconds 2
    python benchmarks/inspection.py --long 2000      # ... and that many steps, and memory

A network with a linear read-out and the squared error, T = 200, B = 16, I = 8, H = 64, one thread.
As many runs as there are loss times would cost T times one; `credit` for the state alone and for
all parameters are run in turn with one forward and backward, A B A B, and the medians of the
processor's times compared. Nothing else should run on the machine.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import torch

import bptt
import record
from bptt import cells
from bptt.inspect.modules import as_cell

T, B, I, H = 200, 16, 8, 64  # noqa: E741
CELLS = ("Elman", "GRU", "LSTM")
BACKENDS = ("cpu", "reference")
LEAST, ROUNDS = 3, 30
STEPS = 20  # forward and backward for each run of `credit`: they are so short
AIM = {"state": 40, "parameters": 80}

Way = Callable[[], Any]


def ways(name: str, backend: str, steps: int) -> dict[str, Way]:
    """One forward and backward, and credit for the state alone and for all parameters."""
    torch.manual_seed(0)
    network = bptt.nn.Network(getattr(cells, name)(I, H), 1, bias=True)
    inputs, targets = torch.randn(steps, B, I), torch.randn(steps, B, 1)
    cell = as_cell(network)

    def train() -> None:
        outputs, _ = bptt.unroll(cell, inputs, backend=backend)
        (targets - outputs).square().sum().backward()

    def credit(parameters: bool) -> Any:
        return bptt.inspect.credit(
            network, inputs, targets=targets, parameters=parameters, backend=backend
        )

    return {"train": train, "state": lambda: credit(False), "parameters": lambda: credit(True)}


def seconds(way: Way, times: int = 1) -> float:
    """Of the processor's time, for one call of so many."""
    start = time.process_time()
    for _ in range(times):
        way()
    return (time.process_time() - start) / times


def measure(name: str, backend: str, budget: float) -> dict[str, Any]:
    """Median times in turn, and that sums of terms are the gradient."""
    given = ways(name, backend, T)
    gap = given["parameters"]().check()
    found: dict[str, list[float]] = {way: [] for way in given}
    start = time.perf_counter()
    while len(found["train"]) < LEAST or time.perf_counter() - start < budget:
        for way, call in given.items():
            found[way].append(seconds(call, STEPS if way == "train" else 1))
        if len(found["train"]) == ROUNDS:
            break
    medians = {way: statistics.median(times) for way, times in found.items()}
    ratios = {of: medians[of] / medians["train"] for of in AIM}
    return {"cell": name, "backend": backend, "seconds": medians, "ratios": ratios, "gap": gap}


def long(name: str, steps: int) -> dict[str, Any]:
    """One credit of many steps: its seconds and the most memory that the process has held."""
    credit = ways(name, "cpu", steps)["parameters"]
    before = _held()
    taken = seconds(credit)
    return {"cell": name, "steps": steps, "seconds": taken, "MB": (_held() - before) / 1e3}


def _held() -> int:
    """The most that this process has held, in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def row(result: dict[str, Any]) -> dict[str, str]:
    """A result as a row of the table."""
    taken, ratios = result["seconds"], result["ratios"]
    return {
        "cell": result["cell"],
        "backend": result["backend"],
        "forward and backward": f"{1e3 * taken['train']:.2f} ms",
        "state": f"{1e3 * taken['state']:.0f} ms, {ratios['state']:.0f}x",
        "parameters": f"{1e3 * taken['parameters']:.0f} ms, {ratios['parameters']:.0f}x",
        "sums": f"{result['gap']:.0e}",
    }


def told(results: list[dict[str, Any]], many: list[dict[str, Any]]) -> str:
    """The tables as text."""
    lines = [
        record.table([row(result) for result in results]),
        "",
        f"Aims: the state at most {AIM['state']}x, all parameters {AIM['parameters']}x.",
        *("{cell}: {steps} steps in {seconds:.1f} s, {MB:.0f} MB.".format(**each) for each in many),
        "",
        f"Measured on {record.in_words(record.machine())}",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each cell and backend")
    parser.add_argument("--long", type=int, help="also so many steps, by kernels")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    words = parser.parse_args()
    torch.set_num_threads(1)
    results = [measure(*each, words.seconds) for each in product(words.cells, words.backends)]
    many = [long(name, words.long) for name in words.cells] if words.long else []
    text = told(results, many)
    print(text)
    print(record.save("inspection", {"results": results, "long": many}))
    if words.write:
        record.write("inspection", text, record.ROOT / "docs" / "performance.md")


if __name__ == "__main__":
    main()
