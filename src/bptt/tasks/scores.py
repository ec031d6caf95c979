"""Figures of merit: forecast errors, accuracy and macro-F1, bits per character."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import Tensor

from bptt.errors import DataError
from bptt.tasks.encoding import Floats

MOST_SERIES, MOST_POINTS = 6, 400  # what a report can draw


def forecast_metrics(
    forecast: Floats, truth: Floats, step: Floats, targets: Sequence[str]
) -> dict[str, float]:
    """MAE, RMSE and MASE over all leads and origins.

    Several targets have each its own, and MASE alone is averaged over them: it has no unit.

    Args:
        forecast: (M, H, K).
        truth: (M, H, K), NaN where nothing is to be counted.
        step: (M, K) mean absolute change from row to row in training, MASE's unit.

    Raises:
        DataError: nothing is to be counted.
    """
    error, scaled = np.abs(forecast - truth), np.abs(forecast - truth) / step[:, None]
    known = ~np.isnan(truth)
    if not known.any():
        raise DataError(
            "No value of any target is known in this part: there is nothing to measure."
        )
    if len(targets) == 1:
        return _errors(error[known], scaled[known])
    figures = {"mase": float(scaled[known].mean())}
    for k, name in enumerate(targets):
        counted = known[..., k]
        if counted.any():
            own = _errors(error[..., k][counted], scaled[..., k][counted])
            figures |= {f"{figure}[{name}]": value for figure, value in own.items()}
    return figures


def _errors(error: Floats, scaled: Floats) -> dict[str, float]:
    return {
        "mae": float(error.mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "mase": float(scaled.mean()),
    }


def forecast_gains(forecast: Floats, baseline: Floats, truth: Floats, unit: Floats) -> Floats:
    """(M,) by how many units a baseline is further off than the forecast from each origin."""
    gains = (np.abs(baseline - truth) - np.abs(forecast - truth)) / unit[:, None]
    return np.where(np.isnan(truth), 0.0, gains).sum((1, 2))


def horizon_errors(
    forecast: Floats, baseline: Floats, truth: Floats, targets: Sequence[str]
) -> list[dict[str, Any]]:
    """The mean absolute error of each target at each lead that occurs, beside a baseline's."""
    known = ~np.isnan(truth)
    error, naive = np.abs(forecast - truth), np.abs(baseline - truth)
    return [
        {
            "target": name,
            "lead": lead + 1,
            "mae": float(error[counted, lead, k].mean()),
            "baseline_mae": float(naive[counted, lead, k].mean()),
        }
        for k, name in enumerate(targets)
        for lead in range(truth.shape[1])
        if (counted := known[:, lead, k]).any()
    ]


def drawn_series(
    forecast: Floats,
    baseline: Floats,
    truth: Floats,
    series: NDArray[np.int64],
    times: pl.Series,
    names: Sequence[str],
    targets: Sequence[str],
) -> list[dict[str, Any]]:
    """One-step-ahead forecasts beside the truth, the last 400 points of at most 6 curves.

    Args:
        forecast: (M, K), as are `baseline` and `truth`, which is NaN where nothing is counted.
        series: (M,) which series each point belongs to.
        times: (M,) of the points.
    """
    drawn = []
    for s in np.unique(series)[: max(1, MOST_SERIES // len(targets))]:
        points = np.flatnonzero((series == s) & ~np.isnan(truth).all(1))[-MOST_POINTS:]
        for k, target in enumerate(targets[:MOST_SERIES]):
            drawn.append(
                {
                    "name": names[s],
                    "target": target,
                    "time": _plain(times[points]),
                    "truth": _numbers(truth[points, k]),
                    "forecast": _numbers(forecast[points, k]),
                    "baseline": _numbers(baseline[points, k]),
                    "lead": 1,
                }
            )
    return drawn


def _plain(times: pl.Series) -> list[Any]:
    if not times.dtype.is_temporal():
        return times.to_list()
    return times.dt.to_string("iso").to_list()


def _numbers(values: Floats) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in values]


def confusion(truth: Tensor, predicted: Tensor, classes: int) -> NDArray[np.int64]:
    """(C, C) counts, rows the truth, columns what was predicted, from (M,) codes each."""
    pairs = (truth * classes + predicted).bincount(minlength=classes**2)
    return pairs.view(classes, classes).numpy()


def class_metrics(confusion: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, and F1 averaged over the classes that occur, from (C, C) counts truth x predicted.

    >>> class_metrics(np.array([[1, 1], [0, 2]]))
    {'accuracy': 0.75, 'macro_f1': 0.7333333333333334}
    """
    right, truth, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    occurs = (truth + predicted) > 0
    f1 = 2 * right[occurs] / (truth + predicted)[occurs]
    return {"accuracy": float(right.sum() / confusion.sum()), "macro_f1": float(f1.mean())}


def text_metrics(nats: Floats) -> dict[str, float]:
    """Bits per character and perplexity, from each character's negative log likelihood."""
    bits = float(nats.mean() / np.log(2))
    return {"bits_per_character": bits, "perplexity": 2.0**bits if bits < 1024 else float("inf")}
