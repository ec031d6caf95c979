"""Series as a network reads them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bptt.tasks.calendar import phases
from bptt.tasks.encoding import Floats, encode, numbers
from bptt.tasks.learnt import Learnt
from bptt.tasks.series import Panel
from bptt.tasks.task import PARTS, Part
from bptt.tasks.windows import Rows


@dataclass(frozen=True)
class Data:
    """Series as a network reads them, and how they were cut.

    Attributes:
        panel: the series.
        cuts: (S, 4) rows at which each series' train, validation and test begin, and its end.
        rows: what a network reads.
        step: (N, K) the unit of MASE.
        source: the file's name.
    """

    panel: Panel
    cuts: NDArray[np.int64]
    rows: Rows
    step: Floats
    source: str

    def bounds(self, part: Part) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(S,) each series' first row of a part, and (S,) the row after its last."""
        place = PARTS.index(part)
        return self.cuts[:, place], self.cuts[:, place + 1]


def prepare(panel: Panel, learnt: Learnt, cuts: NDArray[np.int64], source: str) -> Data:
    """What a network reads of each row, by what was learnt."""
    mean, deviation, step = (
        level[panel.series_of_row] for level in learnt.levels.of(panel, learnt.window)
    )
    rows = Rows(
        numeric=torch.from_numpy(_numbers(panel, learnt, mean, deviation)).float(),
        categorical=torch.from_numpy(encode(panel.frame, learnt.columns.words, learnt.codes)),
        values=torch.from_numpy(panel.values),
        truth=torch.from_numpy(panel.truth),
        deviation=torch.from_numpy(deviation),
        change=torch.from_numpy(learnt.levels.change),
    )
    return Data(panel, cuts, rows, step, source)


def _numbers(panel: Panel, learnt: Learnt, mean: Floats, deviation: Floats) -> Floats:
    """(N, F): each target's level and last change, covariates, what is known ahead, calendar."""
    columns = learnt.columns
    change = np.diff(panel.values, axis=0, prepend=panel.values[:1])
    change[panel.bounds[:-1]] = 0
    covariates = learnt.scale.apply(numbers(panel.frame, columns.numeric))
    known = covariates[:, len(columns.numeric) - len(columns.known) :]
    parts = [
        (panel.values - mean) / deviation,
        change / deviation / learnt.levels.change[0],
        covariates,
        _ahead(panel, known, learnt.horizon),
    ]
    if learnt.cycles and columns.time:
        parts.append(phases(panel.frame[columns.time], learnt.cycles))
    return np.concatenate(parts, 1)


def _ahead(panel: Panel, known: Floats, horizon: int) -> Floats:
    """(N, H Kn) the known columns 1 .. H rows on; beyond a series' last row what is there."""
    last = panel.bounds[1:][panel.series_of_row] - 1
    rows = np.arange(len(known))[:, None] + np.arange(1, horizon + 1)
    return known[np.minimum(rows, last[:, None])].reshape(len(known), -1)
