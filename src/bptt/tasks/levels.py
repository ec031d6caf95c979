"""How high and how lively series are, learnt from their past."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bptt.tasks.encoding import Floats, spread
from bptt.tasks.series import Panel


@dataclass(frozen=True)
class Levels:
    """Each series' level and spread, learnt from its training rows.

    Attributes:
        names: of the S series seen in training.
        mean: (S, K).
        deviation: (S, K).
        step: (S, K) mean absolute change from row to row, the unit of MASE (Hyndman & Koehler,
            "Another look at measures of forecast accuracy", 2006).
        change: (H, K) root mean square of the change over 1 .. H rows, in deviations.
    """

    names: tuple[str, ...]
    mean: Floats
    deviation: Floats
    step: Floats
    change: Floats

    @classmethod
    def learn(cls, panel: Panel, ends: NDArray[np.int64], horizon: int) -> Self:
        """From the rows of each series before its `ends`."""
        parts = [panel.values[a:b] for a, b in zip(panel.bounds[:-1], ends, strict=True)]
        pooled = _mean_spread(parts)
        figures = [_level(part, pooled) for part in parts]
        mean, deviation, step = (np.stack(column) for column in zip(*figures, strict=True))
        scaled = [part / unit for part, unit in zip(parts, deviation, strict=True)]
        change = np.stack([_rms_change(scaled, lead) for lead in range(1, horizon + 1)])
        return cls(panel.names, mean, deviation, step, change)

    def of(self, panel: Panel, window: int) -> tuple[Floats, Floats, Floats]:
        """(S', K) means, deviations and steps for the series of a panel.

        A series not seen in training is measured by its own first `window` rows, which no forecast
        that is counted looks beyond.
        """
        known = {name: i for i, name in enumerate(self.names)}
        pooled = self.deviation.mean(0)
        figures = [
            (self.mean[known[name]], self.deviation[known[name]], self.step[known[name]])
            if name in known
            else _level(panel.values[first : first + window], pooled)
            for name, first in zip(panel.names, panel.bounds, strict=False)
        ]
        mean, deviation, step = (np.stack(column) for column in zip(*figures, strict=True))
        return mean, deviation, step

    def describe(self) -> dict[str, Any]:
        """JSON-able."""
        arrays = {k: getattr(self, k).tolist() for k in ("mean", "deviation", "step", "change")}
        return {"names": list(self.names), **arrays}

    @classmethod
    def restore(cls, description: dict[str, Any]) -> Self:
        """What `describe` gave."""
        arrays = {k: np.array(v) for k, v in description.items() if k != "names"}
        return cls(tuple(description["names"]), **arrays)


def _mean_spread(parts: list[Floats]) -> Floats:
    """(K,) mean deviation of the series that vary; 1 where none does."""
    spreads = np.stack([spread(part, 0.0) for part in parts])
    vary = (spreads > 0).sum(0)
    return np.where(vary > 0, spreads.sum(0) / np.maximum(vary, 1), 1.0)


def _level(rows: Floats, pooled: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, deviation and mean absolute change of (N, K) rows."""
    change = np.abs(np.diff(rows, axis=0)).mean(0) if len(rows) > 1 else 0 * pooled
    return rows.mean(0), spread(rows, pooled), np.where(change > 0, change, pooled)


def _rms_change(parts: list[Floats], lead: int) -> Floats:
    """(K,) root mean square change over `lead` rows; 1 where nothing changes."""
    squares = np.concatenate([(part[lead:] - part[:-lead]) ** 2 for part in parts])
    rms = np.sqrt(squares.mean(0)) if len(squares) else np.ones(parts[0].shape[1])
    return np.where(rms > 0, rms, 1.0)
