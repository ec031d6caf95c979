"""What our own backward pass costs: `bptt.unroll(backend="reference")` against autograd.

    python benchmarks/reference.py                   # all cells and shapes, a table on the screen
    python benchmarks/reference.py --cells GRU --seconds 1
    python benchmarks/reference.py --write           # ... and into docs/performance.md

The other side is the Python loop that one writes by hand, over the same cell, differentiated by
autograd. Both are run in turn in one process, after their results have been compared. Milliseconds
are the processor's; ratios hold from day to day, milliseconds do not. "Keeps" is what a
forward pass leaves behind for the backward pass, "peak" the ratio of the most held at any time.

Rows of two kinds are summed up by themselves: short sequences, where the fixed cost of a call
shows, and steps that draw random numbers or that Python makes depend on their data.
"""

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, product
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import bptt
import record
from bptt.cells import GRU, LSTM, Elman
from race.cells import Leaky
from race.jobs import Shape

LEAST_PAIRS, MOST_PAIRS = 5, 200
AIM = {
    "time, geometric mean": 1.5,
    "time, worst": 2.0,
    "memory kept, worst": 1.0,
    "memory at its peak, worst": 1.0,
}
BACKWARD, CPU = "backward", torch.profiler.ProfilerActivity.CPU


SHAPES = [
    Shape(100, 1, 16, 32),
    Shape(500, 1, 8, 64),
    Shape(100, 32, 16, 64),
    Shape(100, 32, 64, 128),
    Shape(50, 64, 256, 256),
]
SHORT = [Shape(T, B, 16, 64) for T in (1, 2, 5, 8, 16, 24, 50) for B in (1, 32)]


class Dropped(Elman):
    """Elman's network, a fifth of the state dropped at each step."""

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        return super().forward(x, nn.functional.dropout(state, 0.2, self.training))


class Branching(GRU):
    """A GRU whose state is halved where Python finds it large: no two steps need be the same."""

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        return super().forward(x, state * 0.5 if float(state.detach().sum()) > 1 else state)


CELLS: dict[str, Callable[[int, int], nn.Module]] = {
    "Elman": Elman,
    "GRU": GRU,
    "LSTM": LSTM,
    "own": Leaky,
    "dropout": Dropped,
    "branching": Branching,
}
BESIDE_THE_AIM = ("dropout", "branching")


def loop(cell: Any, inputs: Tensor) -> Tensor:
    """The loop one writes by hand: states (T, B, H)."""
    state = cell.initial_state(inputs.shape[1])
    states = []
    for x in inputs:
        state = cell(x, state)
        states.append(pytree.tree_leaves(state)[0])
    return torch.stack(states)


def ours(cell: Any, inputs: Tensor) -> Tensor:
    """The same by `bptt.unroll`."""
    return bptt.unroll(cell, inputs, backend="reference")[0]


Way = Callable[[Any, Tensor], Tensor]


def train_step(way: Way, cell: nn.Module, inputs: Tensor, adjoint: Tensor) -> Tensor:
    """Forward, then backward from dE/ds (T, B, H) of every step; the states."""
    cell.zero_grad()
    states = way(cell, inputs)
    with torch.profiler.record_function(BACKWARD):
        states.backward(adjoint)
    return states


def check(cell: nn.Module, inputs: Tensor, adjoint: Tensor) -> float:
    """The largest difference between the two ways, beside the largest number of its tensor.

    With dropout off, for the two draw different numbers.

    Raises:
        AssertionError: they do not agree to float32's rounding.
    """
    results = []
    cell.eval()
    for way in (loop, ours):
        states = train_step(way, cell, inputs, adjoint)
        gradients = (p.grad for p in cell.parameters() if p.grad is not None)
        results.append([states.detach(), *(gradient.clone() for gradient in gradients)])
    cell.train()
    pairs = zip(*results, strict=True)
    worst = max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)
    if not worst < 1e-4:
        raise AssertionError(f"{type(cell).__name__}: the two ways differ by {worst:.1e}")
    return worst


def seconds(way: Way, *case: Any) -> float:
    """Of the processor's time, so that what else the machine does counts little."""
    start = time.process_time()
    train_step(way, *case)
    return time.process_time() - start


def time_in_turn(*case: Any, budget: float) -> tuple[float, float, int]:
    """Median seconds of the loop and of ours, run A B A B for so many seconds, and the pairs."""
    pairs: list[tuple[float, float]] = []
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    while len(pairs) < LEAST_PAIRS or time.perf_counter() - start < budget:
        pairs.append((seconds(loop, *case), seconds(ours, *case)))
        if len(pairs) == MOST_PAIRS:
            break
    gc.enable()
    by_loop, by_us = (statistics.median(column) for column in zip(*pairs, strict=True))
    return by_loop, by_us, len(pairs)


def memory(way: Way, *case: Any) -> tuple[int, int]:
    """Bytes above what was held before: kept from forward for backward, and the most at any time.

    Counted from torch's own record of every allocation, so exact, and the same at each run.
    """
    case[0].zero_grad()
    with _quiet(), torch.profiler.profile(activities=[CPU], profile_memory=True) as profile:
        train_step(way, *case)
    profiler: Any = profile.profiler  # made when the context is entered
    events = profiler.kineto_results.events()
    (turn,) = (event.start_ns() for event in events if event.name() == BACKWARD)
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    kept = sum(change for at, change in changes if at < turn)
    return kept, max(accumulate(change for _, change in changes))


@contextmanager
def _quiet() -> Iterator[None]:
    """The profiler writes a log of its own past Python's stderr; keep it off the screen."""
    with open(os.devnull, "w") as nowhere:
        screen = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(screen, 2)
            os.close(screen)


def measure(name: str, shape: Shape, budget: float) -> dict[str, Any]:
    """One cell at one shape: agreement, times, memory."""
    torch.manual_seed(0)
    cell = CELLS[name](shape.I, shape.H)
    inputs, adjoint = torch.randn(shape[:3]), torch.randn(shape.T, shape.B, shape.H)
    case = cell, inputs, adjoint
    gap = check(*case)
    by_loop, by_us, pairs = time_in_turn(*case, budget=budget)
    (loop_kept, loop_peak), (our_kept, our_peak) = memory(loop, *case), memory(ours, *case)
    return {
        "cell": name,
        "shape": shape,
        "judged": shape in SHAPES and name not in BESIDE_THE_AIM,
        "gap": gap,
        "pairs": pairs,
        "loop_ms": 1e3 * by_loop,
        "ours_ms": 1e3 * by_us,
        "time_ratio": by_us / by_loop,
        "loop_kept_mb": loop_kept / 1e6,
        "ours_kept_mb": our_kept / 1e6,
        "kept_ratio": our_kept / loop_kept,
        "peak_ratio": our_peak / loop_peak,
        "ours_peak_mb": our_peak / 1e6,
    }


def shown(result: dict[str, Any]) -> dict[str, str]:
    """A result as a line of the table."""
    return {
        "cell": result["cell"],
        "T, B, I, H": ", ".join(map(str, result["shape"])),
        "loop, ms": f"{result['loop_ms']:.1f}",
        "bptt, ms": f"{result['ours_ms']:.1f}",
        "time": f"{result['time_ratio']:.2f}",
        "loop keeps, MB": f"{result['loop_kept_mb']:.2f}",
        "bptt keeps, MB": f"{result['ours_kept_mb']:.2f}",
        "kept": f"{result['kept_ratio']:.2f}",
        "peak": f"{result['peak_ratio']:.2f}",
        "bptt peaks, MB": f"{result['ours_peak_mb']:.2f}",
    }


def summary(results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Ratios over cells and shapes; short sequences and steps unlike each other by themselves."""
    groups = {
        "": [result for result in results if result["judged"]],
        "short, random or branching: ": [result for result in results if not result["judged"]],
    }
    found = {}
    for name, rows in groups.items():
        if rows:
            ratios = [row["time_ratio"] for row in rows]
            found[f"{name}time, geometric mean"] = statistics.geometric_mean(ratios)
            found[f"{name}time, worst"] = max(ratios)
            found[f"{name}memory kept, worst"] = max(row["kept_ratio"] for row in rows)
            found[f"{name}memory at its peak, worst"] = max(row["peak_ratio"] for row in rows)
    return found


def verdict(found: dict[str, float]) -> str:
    aims = {name: AIM[name.rpartition(": ")[2]] for name in found}
    return "\n".join(f"- {name}: {found[name]:.2f} (aim: at most {aims[name]})" for name in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument(
        "--shapes", type=int, default=len(SHAPES + SHORT), help="only the first so many"
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="for each cell and shape")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    results = []
    for name, shape in product(words.cells, (SHAPES + SHORT)[: words.shapes]):
        results.append(measure(name, shape, words.seconds))
        print(shown(results[-1]), flush=True)
    text = f"{record.table([shown(r) for r in results])}\n\n{verdict(summary(results))}"
    print(text)
    if words.write:
        record.save("reference", {"results": results, "summary": summary(results)})
        text += f"\n\nMeasured on {record.in_words(record.machine())}"
        record.write("reference", text, record.ROOT / "docs" / "performance.md")


if __name__ == "__main__":
    main()
