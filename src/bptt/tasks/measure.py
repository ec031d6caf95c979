"""What a forecast achieved on a part of the data, beside naive rules."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bptt.tasks.baselines import last_value, seasonal_naive
from bptt.tasks.chance import in_blocks, sign_flip_test
from bptt.tasks.encoding import Floats
from bptt.tasks.learnt import Learnt
from bptt.tasks.prepared import Data
from bptt.tasks.scores import drawn_series, forecast_gains, forecast_metrics, horizon_errors
from bptt.tasks.task import Evaluation, Part


def measure(
    learnt: Learnt, data: Data, part: Part, origins: NDArray[np.int64], forecast: Floats
) -> Evaluation:
    """MAE, RMSE and MASE, beside "last value" and, where there is a season, "seasonal naive".

    The headline is MAE, or MASE where several targets have each a unit of their own.

    Args:
        learnt: what was learnt from the training part.
        data: the series.
        part: which part of them counts.
        origins: (M,) rows from which is forecast, ascending.
        forecast: (M, H, K).
    """
    targets = learnt.columns.targets
    truth, step = _truth(learnt, data, part, origins), data.step[origins]
    rules = _rules(learnt, data, origins, truth)
    baselines = {n: forecast_metrics(f, truth, step, targets) for n, f in rules.items()}
    headline = "mae" if len(targets) == 1 else "mase"
    best = min(baselines, key=lambda name: baselines[name][headline])
    unit = step if headline == "mase" else np.ones_like(step)
    gains = forecast_gains(forecast, rules[best], truth, unit)
    series = data.panel.series_of_row[origins]
    return Evaluation(
        part=part,
        headline=headline,
        lower_is_better=True,
        metrics=forecast_metrics(forecast, truth, step, targets),
        baselines=baselines,
        details={
            "baseline": best,
            "series": _drawn(learnt, data, origins, forecast, truth, rules[best]),
            "horizon": horizon_errors(forecast, rules[best], truth, targets),
        },
        chance=sign_flip_test(in_blocks(gains, learnt.horizon, series)),
    )


def _truth(learnt: Learnt, data: Data, part: Part, origins: NDArray[np.int64]) -> Floats:
    """(M, H, K) what came, NaN outside the part and where the data had no value."""
    ahead = origins[:, None] + np.arange(1, learnt.horizon + 1)
    low, high = (bound[data.panel.series_of_row[origins]][:, None] for bound in data.bounds(part))
    truth = data.panel.truth[ahead.clip(max=len(data.panel.truth) - 1)]
    return np.where(((ahead >= low) & (ahead < high))[..., None], truth, np.nan)


def _rules(
    learnt: Learnt, data: Data, origins: NDArray[np.int64], truth: Floats
) -> dict[str, Floats]:
    """The forecasts of the naive rules; a seasonal one only where all that counts has one."""
    panel = data.panel
    rules = {"last value": last_value(panel.values, origins, learnt.horizon)}
    if learnt.season:
        first = panel.bounds[panel.series_of_row[origins]]
        season = seasonal_naive(panel.values, first, origins, learnt.horizon, learnt.season)
        if not (np.isnan(season) & ~np.isnan(truth)).any():
            rules[f"seasonal naive ({learnt.season})"] = season
    return rules


def _drawn(
    learnt: Learnt,
    data: Data,
    origins: NDArray[np.int64],
    forecast: Floats,
    truth: Floats,
    naive: Floats,
) -> list[dict[str, Any]]:
    panel, columns = data.panel, learnt.columns
    times = panel.frame[columns.time] if columns.time else pl.Series(range(len(panel.values)))
    return drawn_series(
        forecast[:, 0],
        naive[:, 0],
        truth[:, 0],
        panel.series_of_row[origins],
        times[(origins + 1).clip(max=len(times) - 1)],
        panel.names,
        columns.targets,
    )
