"""Does it learn? Four tasks, with plain training, beside naive rules and figures that are known.

    python benchmarks/learning.py                    # all of them, a table on the screen
    python benchmarks/learning.py vowels --seeds 1   # one of them, once
    python benchmarks/learning.py --write            # ... and into docs/learning.md

Each seed draws the weights and the order of the data; the test data stay the same.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice, product
from typing import Any, Literal

import torch
from torch import Tensor, nn

import bptt.nn
import record
from bptt.tasks import Batch, Batches, Part, Task, open_task

CELLS = {"tanh": bptt.nn.RNN, "GRU": bptt.nn.GRU, "LSTM": bptt.nn.LSTM}
LABELLED: tuple[Part, ...] = ("train", "validation")
COMMAND = "python benchmarks/learning.py"


class Reader(nn.Module):
    """One recurrent layer and a linear read-out, at every step or at each sequence's last."""

    def __init__(self, cell: str, inputs: int, hidden: int, outputs: int, *, last: bool) -> None:
        super().__init__()
        self.recurrent = CELLS[cell](inputs, hidden)
        self.read_out = nn.Linear(hidden, outputs)
        self.last = last

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        outputs, state = self.recurrent(batch.numeric, state, lengths=batch.lengths)
        if self.last:
            outputs = (state[0] if isinstance(state, tuple) else state)[-1]
        return self.read_out(outputs), state


def fit(network: nn.Module, losses: Iterator[Tensor], updates: int, rate: float) -> float:
    """Adam on the losses as they come, clipped at norm 1, the rate falling to 0 along a cosine.

    Returns: the seconds it took.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    start = time.perf_counter()
    for loss in islice(losses, updates):
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return time.perf_counter() - start


@dataclass(frozen=True)
class Outcome:
    """One training: its figure on test data, what a naive rule has there, and its cost."""

    figure: float
    naive: float
    updates: int
    seconds: float


@dataclass(frozen=True)
class OnData:
    """A shipped data set, trained on for so many epochs, whatever the validation part would say.

    Nothing being chosen by the validation part, that of labelled sequences is trained on as well.
    """

    data: str
    hidden: int
    epochs: int
    rate: float
    batch: int
    parts: tuple[Part, ...]

    def __call__(self, cell: str, seed: int) -> Outcome:
        task = open_task(self.data)
        shape, parts = task.shape, [task.batches(part, self.batch) for part in self.parts]
        last = shape.read == "last step"
        network = Reader(cell, shape.numeric, self.hidden, shape.outputs, last=last)
        updates = self.epochs * sum(len(batches) for batches in parts)
        losses = self._losses(task, parts, network, seed)
        cost = fit(network, losses, updates, self.rate)
        found = task.evaluate(network, "test", 256)
        best = min if found.lower_is_better else max
        naive = best(rule[found.headline] for rule in found.baselines.values())
        return Outcome(found.metrics[found.headline], naive, updates, cost)

    def _losses(
        self, task: Task, parts: list[Batches], network: nn.Module, seed: int
    ) -> Iterator[Tensor]:
        for epoch in range(self.epochs):
            for batches in parts:
                for step in range(len(batches)):
                    batch = batches.batch(seed, epoch, step)
                    total, terms = task.loss(network(batch)[0], batch)
                    yield total / terms


@dataclass(frozen=True)
class Adding:
    """The adding problem: the sum of the two numbers that are marked among `steps`.

    Source: Hochreiter & Schmidhuber 1997. Always answering 1 has a squared error of 1/6.
    """

    steps: int
    hidden: int
    updates: int
    rate: float
    batch: int

    def __call__(self, cell: str, seed: int) -> Outcome:
        network = Reader(cell, 2, self.hidden, 1, last=True)
        losses = (self._loss(network, self.batch) for _ in count())
        cost = fit(network, losses, self.updates, self.rate)
        with torch.no_grad():
            figure = self._loss(network, 2000).item()
        return Outcome(figure, 1 / 6, self.updates, cost)

    def _loss(self, network: nn.Module, size: int) -> Tensor:
        numbers, marks = torch.rand(self.steps, size), torch.zeros(self.steps, size)
        half, columns = self.steps // 2, torch.arange(size)
        first, second = torch.randint(half, (size,)), torch.randint(half, self.steps, (size,))
        marks[first, columns] = marks[second, columns] = 1.0
        inputs, answer = torch.stack([numbers, marks], -1), (numbers * marks).sum(0)
        outputs, _ = network(Batch(inputs, torch.empty(self.steps, size, 0), answer))
        return nn.functional.mse_loss(outputs[:, 0], answer)


@dataclass(frozen=True)
class Job:
    """A task, its measure, and what each cell is to reach: a figure, the naive rule's, or none."""

    about: str
    measure: str
    train: Callable[[str, int], Outcome]
    reach: dict[str, float | Literal["naive"] | None]
    lower_is_better: bool
    seeds: int = 3


JOBS = {
    "vowels": Job(
        "Japanese vowels: 9 speakers, 7 to 29 frames",
        "accuracy",
        OnData("japanese-vowels", hidden=64, epochs=60, rate=3e-3, batch=32, parts=LABELLED),
        {"tanh": 0.97, "GRU": 0.96, "LSTM": 0.95},
        lower_is_better=False,
    ),
    "digits": Job(
        "digits, 64 pixels one by one",
        "accuracy",
        OnData("digits", hidden=64, epochs=80, rate=5e-3, batch=64, parts=LABELLED),
        {"tanh": 0.87, "GRU": 0.91, "LSTM": 0.93},
        lower_is_better=False,
    ),
    "adding": Job(
        "adding problem, T = 100",
        "squared error",
        Adding(steps=100, hidden=64, updates=1250, rate=1e-2, batch=64),
        {"tanh": None, "GRU": 7.7e-4, "LSTM": None},
        lower_is_better=True,
        seeds=1,
    ),
    "elnino": Job(
        "El Nino: sea temperature, 1 to 6 months ahead",
        "mean absolute error, deg C",
        OnData("elnino", hidden=32, epochs=20, rate=3e-3, batch=64, parts=("train",)),
        {"tanh": "naive", "GRU": "naive", "LSTM": "naive"},
        lower_is_better=True,
    ),
}


def row(name: str, cell: str, outcomes: list[Outcome]) -> dict[str, Any]:
    """A line of the table: the median of the seeds, their range, and what was to be reached."""
    job, figures = JOBS[name], sorted(outcome.figure for outcome in outcomes)
    middle, naive = statistics.median(figures), outcomes[0].naive
    aim = job.reach[cell]
    aim = naive if aim == "naive" else aim
    return {
        "task": name,
        "cell": cell,
        "measure": job.measure,
        "median": f"{middle:.3g}",
        "range": f"{figures[0]:.3g} - {figures[-1]:.3g}",
        "naive rule": f"{naive:.3g}",
        "to reach": "" if aim is None else f"{aim:.3g}",
        "reached": "" if aim is None else _reached(middle, aim, lower=job.lower_is_better),
        "updates": outcomes[0].updates,
        "seconds": f"{statistics.median(outcome.seconds for outcome in outcomes):.0f}",
        "command": f"`{COMMAND} {name} --cells {cell} --seeds {len(outcomes)}`",
    }


def _reached(figure: float, aim: float, *, lower: bool) -> str:
    return "yes" if (figure <= aim if lower else figure >= aim) else "no"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("jobs", nargs="*", metavar="job", help=f"any of {', '.join(JOBS)}")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--seeds", type=int, help="trainings of each; by default 1 or 3")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write docs/learning.md")
    words = parser.parse_args()
    if not set(words.jobs) <= set(JOBS):
        parser.error(f"jobs are {', '.join(JOBS)}; got {' '.join(words.jobs)}")
    torch.set_num_threads(words.threads)
    rows, trained = [], []
    for name, cell in product(words.jobs or JOBS, words.cells):
        outcomes = []
        for seed in range(words.seeds or JOBS[name].seeds):
            torch.manual_seed(seed)
            outcomes.append(JOBS[name].train(cell, seed))
            trained.append({"task": name, "cell": cell, "seed": seed, **vars(outcomes[-1])})
            print(trained[-1], flush=True)
        rows.append(row(name, cell, outcomes))
    print(record.table(rows))
    if words.write:
        record.save("learning", {"trained": trained})
        text = f"{record.table(rows)}\n\nMeasured on {record.in_words(record.machine())}"
        record.write("learning", text, record.ROOT / "docs" / "learning.md")


if __name__ == "__main__":
    main()
