"""Sequences of a classification's test part."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from bptt.tasks.classify import Classify
from bptt.tasks.excerpts.excerpt import (
    NO_CLASS,
    Answer,
    Excerpt,
    Rows,
    Wanted,
    cross_entropy,
    likeliest,
    spread,
)
from bptt.tasks.excerpts.named import find_row, find_series, one_series
from bptt.tasks.labelled import ClassLearnt, LabelledData


def take(task: Classify, wanted: Wanted) -> Excerpt:
    """Whole sequences of the test part, or one up to a step; the loss is taken at the last."""
    data, learnt = task.data, task.learnt
    members = np.flatnonzero(data.parts == "test")
    names = [str(data.sequences.names[int(m)]) for m in members]
    chosen = find_series(wanted.series, names, learnt.columns.group)
    if wanted.at is None:
        chosen = spread(chosen, wanted.rows)
    else:
        chosen = np.array([one_series(chosen, names, wanted.at)])
    members, names = members[chosen], [names[i] for i in chosen]
    label = partial(_label, data, learnt)
    first, stop = data.sequences.bounds[members], data.sequences.bounds[members + 1]
    if wanted.at is not None:
        rows = np.arange(first[0], stop[0])
        stop = np.array([find_row(wanted.at, rows, label, f"the sequence {names[0]!r}") + 1])
    start = np.maximum(first, stop - wanted.steps)
    return Excerpt(
        numeric=data.numeric,
        categorical=data.categorical,
        lead=first,
        start=start,
        stop=stop,
        targets=_at_the_last(data.labels[members], stop - start),
        loss=cross_entropy,
        inputs=(*learnt.columns.numeric, *learnt.columns.words),
        outputs=learnt.classes,
        series=tuple(names),
        label=label,
        readings={
            name: data.sequences.frame[name].__getitem__
            for name in (*learnt.columns.numeric, *learnt.columns.words)
        },
        answers=partial(_answers, data, learnt),
        unit="nats",
    )


def _at_the_last(labels: Tensor, lengths: Rows) -> Tensor:
    """(T, B) each sequence's class at its last step, no class before."""
    targets = torch.full((int(lengths.max()), len(lengths)), NO_CLASS)
    targets[torch.from_numpy(lengths) - 1, torch.arange(len(lengths))] = labels
    return targets


def _label(data: LabelledData, learnt: ClassLearnt, row: int) -> str:
    if learnt.columns.time:
        return str(data.sequences.frame[learnt.columns.time][row])
    return f"step {row - data.sequences.bounds[_sequence(data, row)] + 1}"


def _sequence(data: LabelledData, row: int) -> int:
    """The number of the sequence that a row belongs to."""
    return int(np.searchsorted(data.sequences.bounds, row, side="right")) - 1


def _answers(data: LabelledData, learnt: ClassLearnt, row: int, outputs: Tensor) -> list[Answer]:
    label = int(data.labels[_sequence(data, row)])
    return likeliest(outputs, learnt.classes, learnt.classes[label])
