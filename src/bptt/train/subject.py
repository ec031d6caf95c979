"""A trained network laid open: one step of all of it, on a batch of the run's own test data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bptt.ready import initial_state
from bptt.step import read_protocol
from bptt.structure import structure
from bptt.tasks import Task, open_task
from bptt.tasks.excerpts import Answer, Excerpt, Wanted, take_excerpt
from bptt.train.model import load_model
from bptt.train.network import Network
from bptt.train.run import Run
from bptt.train.source import check_data
from bptt.unroll import unroll


class NetworkCell(nn.Module):
    """One step of all layers and the read-out, `y_t, s_t = cell(x_t, s_{t-1})`.

    Its parameters are those of the network, by the same names. The state is a tuple over layers.

    Args:
        network: in eval mode, so that nothing acts between its layers.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.recurrent, self.read_out = network.recurrent, network.read_out

    def initial_state(self, batch_size: int) -> tuple:
        """What each layer starts from."""
        return tuple(initial_state(cell, batch_size) for cell in self.recurrent.cells)

    def begin(self, batch_size: int) -> None:
        """Tell each layer that wants to know that an unroll begins."""
        for cell in self.recurrent.cells:
            begin: Any = getattr(cell, "begin", None)
            if begin is not None:
                begin(batch_size)

    def forward(self, x: Tensor, state: Sequence[Any]) -> tuple[Tensor, tuple]:
        """y_t (B, K) and s_t from x_t (B, I) and s_{t-1}."""
        states = []
        for cell, before in zip(self.recurrent.cells, state, strict=True):
            result: Any = cell(x, before)
            if read_protocol(result, structure(before)).bare:
                x, after = pytree.tree_leaves(result)[0], result
            else:
                x, after = result
            states.append(after)
        return self.read_out(x), tuple(states)


@dataclass(frozen=True)
class RunSubject:
    """What `bptt.inspect` needs to look into a run, and what its user calls things.

    B stretches of the run's test data, T steps the longest. A forecast takes a loss at each step
    that forecasts a row of the test part, a classification at a sequence's last step, a text at
    every step.

    Attributes:
        model: the run's best network as a cell, in eval mode; its parameters have the run's names.
        inputs: (T, B, I) what the first layer reads: numbers, and what stands for each category.
        state: what the first step starts from, with what came before read already.
        targets: (T, B, ...) what `loss` compares with.
        loss: from outputs (T, B, K) and targets, each step's loss (T, B, ...); 0 where none is
            taken. E_t is its sum over all but the time.
        lengths: (B,) steps of each stretch, or None where all have T.
        counted: (T, B) where a loss is taken.
        task: "forecast", "classify" or "text".
        names: of the I inputs; the numbers that stand for one category have one name.
        outputs: names of the K outputs.
        series: (B,) names of the stretches.
        times: by stretch, what each of its steps is called: a date, a number, a position.
        readings: by stretch, by an input's name, what the data have at each step, in their unit.
        unit: what the loss is measured in.
    """

    model: NetworkCell
    inputs: Tensor
    state: Any
    targets: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
    lengths: Tensor | None
    counted: Tensor
    task: str
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    series: tuple[str, ...]
    times: tuple[tuple[str, ...], ...]
    readings: tuple[Mapping[str, Sequence[Any]], ...]
    unit: str
    _excerpt: Excerpt

    def __len__(self) -> int:
        return len(self.series)

    def answers(self, t: int, stretch: int, outputs: Tensor) -> list[Answer]:
        """What the network says at step t (from 0) of a stretch by its outputs (K,)."""
        row = int(self._excerpt.start[stretch]) + t
        return self._excerpt.answers(row, outputs.detach())

    def last(self, stretch: int) -> int:
        """The number of a stretch's last step, from 0."""
        return len(self.times[stretch]) - 1


def open_subject(
    run: Path,
    *,
    series: str | None = None,
    at: str | None = None,
    rows: int = 16,
    steps: int = 200,
) -> RunSubject:
    """A run's best network, and a batch of its own test data to look into it with.

    Args:
        run: the run's folder.
        series: the name of one series or sequence; None: of all.
        at: what the last step of the one stretch wanted is called: a date, a number, a position in
            a text; None: stretches evenly spread over the test data.
        rows: stretches at most.
        steps: steps of each at most, and a forecast's never more than its window. What comes before
            them is read, so that the first step starts from the state it would have.

    Raises:
        RunError: there is no such run, it has no weights yet, its files are damaged, or its data
            have changed or are not there.
        DataError: the test data are too short.
        ArgumentError: no such series or step, or a number below 1.
    """
    opened = Run.open(Path(run))
    network, _ = load_model(opened)
    config = opened.read_config()
    check_data(config)
    task = open_task(config.data, config.task, config.options, seed=config.training.seed)
    return subject_of(network, task, Wanted(series, at, rows, steps))


def subject_of(network: Network, task: Task, wanted: Wanted) -> RunSubject:
    """The subject that `open_subject` makes, of a network and its task with data."""
    excerpt = take_excerpt(task, wanted)
    cell, batch = NetworkCell(network).eval(), excerpt.batch()
    with torch.no_grad():
        inputs = network.inputs(batch)
        state = _state(cell, network, excerpt)
    spans = [
        range(a, b) for a, b in zip(excerpt.start.tolist(), excerpt.stop.tolist(), strict=True)
    ]
    return RunSubject(
        model=cell,
        inputs=inputs,
        state=state,
        targets=batch.targets,
        loss=excerpt.loss,
        lengths=batch.lengths,
        counted=excerpt.counted(),
        task=task.name,
        names=_names(network, excerpt),
        outputs=excerpt.outputs,
        series=excerpt.series,
        times=tuple(tuple(map(excerpt.label, span)) for span in spans),
        readings=tuple(
            {name: [read(row) for row in span] for name, read in excerpt.readings.items()}
            for span in spans
        ),
        unit=excerpt.unit,
        _excerpt=excerpt,
    )


def only(subject: RunSubject, stretch: int) -> RunSubject:
    """One stretch of a subject alone."""
    end, one = len(subject.times[stretch]), slice(stretch, stretch + 1)
    excerpt = subject._excerpt
    parts = {name: getattr(excerpt, name)[one] for name in ("lead", "start", "stop", "series")}
    return replace(
        subject,
        inputs=subject.inputs[:end, one],
        state=pytree.tree_map(lambda leaf: leaf[one], subject.state),
        targets=subject.targets[:end, one],
        lengths=None,
        counted=subject.counted[:end, one],
        series=subject.series[one],
        times=subject.times[one],
        readings=subject.readings[one],
        _excerpt=replace(excerpt, **parts, targets=subject.targets[:end, one]),
    )


def _state(cell: NetworkCell, network: Network, excerpt: Excerpt) -> Any:
    """The state with which the stretches begin."""
    before = excerpt.before()
    start = cell.initial_state(len(excerpt.series))
    if not len(before.numeric):
        return start
    _, state = unroll(cell, network.inputs(before), start, lengths=before.lengths)
    return state


def _names(network: Network, excerpt: Excerpt) -> tuple[str, ...]:
    """A name for each number that the first layer reads."""
    numeric = excerpt.numeric.shape[1]
    tables: Any = network.embeddings
    words = zip(excerpt.inputs[numeric:], tables, strict=True)
    several = [(name,) * table.embedding_dim for name, table in words]
    return sum(several, excerpt.inputs[:numeric])
