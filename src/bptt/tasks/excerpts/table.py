"""Windows of a forecast's test rows."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bptt.errors import DataError
from bptt.tasks.excerpts.excerpt import Answer, Excerpt, Rows, Wanted, spread
from bptt.tasks.excerpts.named import find_row, find_series, one_series
from bptt.tasks.forecast import Forecast
from bptt.tasks.learnt import Learnt
from bptt.tasks.prepared import Data
from bptt.tasks.table import ROW
from bptt.tasks.windows import WindowBatches, Windows


def take(task: Forecast, wanted: Wanted) -> Excerpt:
    """Windows that end in the test part, a loss at each step that forecasts a row of it."""
    data, learnt = task.data, task.learnt
    names = data.panel.names
    series = find_series(wanted.series, names, learnt.columns.group)
    label = partial(_label, data, learnt)
    if wanted.at is None:
        ends = spread(_ends(data, learnt.window, series), wanted.rows) + 1
    else:
        only = one_series(series, names, wanted.at)
        rows = _ends(data, learnt.window, np.array([only]), whole=False)
        named = f"the test part of {names[only]!r}" if names[only] else "the test part"
        ends = np.array([find_row(wanted.at, rows, label, named) + 1])
    steps = min(learnt.window, wanted.steps)
    return Excerpt(
        numeric=data.rows.numeric,
        categorical=data.rows.categorical,
        lead=ends - learnt.window,
        start=ends - steps,
        stop=ends,
        targets=_targets(data, ends - steps, steps),
        loss=squared_error,
        inputs=_inputs(learnt),
        outputs=_outputs(learnt),
        series=tuple(_name(data, learnt, int(end) - 1) for end in ends),
        label=label,
        readings=_readings(data, learnt),
        answers=partial(_answers, data, learnt),
        unit="squares of the usual change",
    )


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """(T, B, H, K) from outputs (T, B, H K); 0 where there is nothing to forecast."""
    counts = ~targets.isnan()
    error = outputs.view(targets.shape) - torch.where(counts, targets, 0.0)
    return torch.where(counts, error, 0.0).square()


def _ends(data: Data, window: int, series: Rows, *, whole: bool = True) -> Rows:
    """Rows a window may end at: where the test part has room (and it is to be), wholly in it."""
    first = data.panel.bounds[:-1]
    low, high = data.bounds("test")
    inside, reaching = [], []
    for s in series:
        earliest = max(first[s] + window - 1, low[s] - 1)
        inside.append(np.arange(max(earliest, low[s] + window - 1), high[s] - 1))
        reaching.append(np.arange(earliest, high[s] - 1))
    found = np.concatenate(inside)
    if not (whole and len(found)):
        found = np.concatenate(reaching)
    if not len(found):
        raise DataError(
            f"{data.source}: no row of the test part has {window} rows before it, the window that "
            "the network reads. Train with a smaller --window, or give more rows."
        )
    return found


def _targets(data: Data, starts: Rows, steps: int) -> Tensor:
    """(T, B, H, K) changes in usual changes, NaN where the row to forecast is not in the test."""
    series = data.panel.series_of_row[starts]
    low, high = (bound[series] for bound in data.bounds("test"))
    batches = WindowBatches(
        data.rows, Windows(starts, starts, low, high), steps, len(starts), shuffle=False
    )
    return batches.take(np.arange(len(starts))).targets


def _label(data: Data, learnt: Learnt, row: int) -> str:
    time = learnt.columns.time
    return str(data.panel.frame[time][row]) if time else f"row {data.panel.frame[ROW][row]}"


def _name(data: Data, learnt: Learnt, row: int) -> str:
    return data.panel.names[data.panel.series_of_row[row]] or ", ".join(learnt.columns.targets)


def _inputs(learnt: Learnt) -> tuple[str, ...]:
    """In the order in which a network reads them."""
    columns = learnt.columns
    ahead = (f"{name}, {lead} ahead" for lead in _leads(learnt) for name in columns.known)
    waves = (f"{wave} of {cycle}" for cycle in learnt.cycles for wave in ("sine", "cosine"))
    changes = (f"change of {name}" for name in columns.targets)
    return (*columns.targets, *changes, *columns.numeric, *ahead, *waves, *columns.words)


def _outputs(learnt: Learnt) -> tuple[str, ...]:
    targets = learnt.columns.targets
    return tuple(f"{name}, {lead} ahead" for lead in _leads(learnt) for name in targets)


def _leads(learnt: Learnt) -> range:
    return range(1, learnt.horizon + 1)


def _readings(data: Data, learnt: Learnt) -> dict[str, Callable[[int], Any]]:
    panel, columns = data.panel, learnt.columns
    found: dict[str, Callable[[int], Any]] = {}
    for k, name in enumerate(columns.targets):
        found[name] = partial(_value, data, k)
        found[f"change of {name}"] = partial(_change, data, k)
    for name in (*columns.numeric, *columns.words):
        found[name] = panel.frame[name].__getitem__
    for name in columns.known:
        for lead in _leads(learnt):
            found[f"{name}, {lead} ahead"] = partial(_later, data, name, lead)
    return found


def _value(data: Data, target: int, row: int) -> float:
    return float(data.panel.values[row, target])


def _change(data: Data, target: int, row: int) -> float:
    begins = row in data.panel.bounds
    return 0.0 if begins else _value(data, target, row) - _value(data, target, row - 1)


def _later(data: Data, name: str, lead: int, row: int) -> Any:
    """What is known ahead; beyond a series' last row what is there."""
    return data.panel.frame[name][min(row + lead, _end(data, row) - 1)]


def _end(data: Data, row: int) -> int:
    """The row after the last of the series that a row belongs to."""
    bounds = data.panel.bounds
    return int(bounds[np.searchsorted(bounds, row, side="right")])


def _answers(data: Data, learnt: Learnt, row: int, outputs: Tensor) -> list[Answer]:
    """Each forecast in the data's own unit, beside what came."""
    shape = (learnt.horizon, len(learnt.columns.targets))
    change = outputs.double().view(shape) * data.rows.unit(torch.tensor(row))
    values = data.rows.values[row] + change
    end = _end(data, row)
    return [
        Answer(
            f"{learnt.columns.targets[k]} at {_ahead(data, learnt, row, lead)}",
            f"{float(values[lead - 1, k]):.5g}",
            f"{float(data.rows.truth[row + lead, k]):.5g}" if row + lead < end else "",
        )
        for lead in _leads(learnt)
        for k in range(shape[1])
    ]


def _ahead(data: Data, learnt: Learnt, row: int, lead: int) -> str:
    end = _end(data, row)
    return _label(data, learnt, row + lead) if row + lead < end else f"{lead} ahead"
