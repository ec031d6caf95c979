"""How the error fades on its way back, and what going back less far costs."""

import math
from typing import TYPE_CHECKING

import numpy as np

from bptt.report.figures import count, figure, percent, rough
from bptt.report.plot import Axis, Line, Plot, Row, number

if TYPE_CHECKING:
    from bptt.inspect import Decay, Truncation

BACK = Axis("steps back", format="d")


def decay_curve(decay: "Decay") -> Plot:
    """The mean size of the error by how many steps it has gone back, with its fit."""
    rows: list[Row] = [
        {"x": int(lag), "at": f"{count(int(lag), 'step')} back", "network": number(norm)}
        | ({"low": number(low), "high": number(high)} if np.isfinite([low, high]).all() else {})
        for lag, norm, low, high in zip(decay.lags, decay.norm, decay.low, decay.high, strict=True)
    ]
    for row, fitted in zip(rows, _fitted(decay), strict=True):
        row |= {"rule": fitted} if fitted else {}
    return Plot(
        title="How the error fades on its way back",
        unit="mean norm of ∂Eₜ/∂sₜ₋ⱼ",
        file="decay.csv",
        words=_decay_words(decay),
        axis=BACK,
        lines=[Line("rule", "fit"), Line("network", "measured")],
        rows=rows,
        moment=(decay.horizon, f"K = {decay.horizon:,}") if decay.horizon is not None else None,
        log=True,
    )


def _fitted(decay: "Decay") -> list[float | None]:
    """The fit at each lag: of its rate, through the middle of what was measured."""
    known = np.isfinite(decay.norm) & (decay.norm > 0)
    if not known.any() or not math.isfinite(decay.rate):
        return [None] * len(decay.lags)
    level = np.mean(np.log(decay.norm[known]) - decay.lags[known] * math.log(decay.rate))
    return [number(v) for v in np.exp(level + decay.lags * math.log(decay.rate))]


def _decay_words(decay: "Decay") -> str:
    if not math.isfinite(decay.rate):
        return "There is no rate: too few of the numbers are numbers above 0."
    low, high = decay.rate_interval
    words = (
        f"A step back multiplies the error by {figure(decay.rate)} ({figure(low)} to "
        f"{figure(high)}, 95 % confidence over the sequences)"
    )
    if 0 < decay.half_life < math.inf:
        words += f": half of it is gone after {rough(decay.half_life)} steps"
    reach = (
        f"going back {count(decay.horizon, 'step')} makes the gradient right to within "
        f"{percent(decay.delta)}"
        if decay.horizon is not None
        else f"no way back within these {len(decay.lags):,} steps is sure to be right to within "
        f"{percent(decay.delta)}"
    )
    return f"{words}. By this, {reach}."


def truncation_curve(truncation: "Truncation", delta: float = 0.1) -> Plot:
    """Bias and cosine of the truncated gradient against the exact one, by how far it goes back."""
    rows: list[Row] = [
        {
            "x": int(k2),
            "at": f"{count(int(k2), 'step')} back",
            "network": number(bias),
            "validation": number(cosine),
        }
        for k2, bias, cosine in zip(truncation.k2, truncation.bias, truncation.cosine, strict=True)
    ]
    enough = next((int(k) for k, b in zip(truncation.k2, truncation.bias, strict=True)
                   if b <= delta), None)  # fmt: skip
    words = (
        f"Measured on this batch: from {count(enough, 'step')} back on, the truncated gradient is "
        f"within {percent(delta)} of the exact one."
        if enough is not None
        else f"None of these ways back brings the gradient within {percent(delta)} of the exact."
    )
    return Plot(
        title="What going back less far costs",
        unit=f"Truncated(k1={truncation.k1}, k2) against the exact gradient",
        file="truncation.csv",
        words=f"{words} Bias is the length of the difference, as a share of the exact gradient's; "
        "a cosine of 1 is the same direction.",
        axis=Axis("steps back, k2", format="d"),
        lines=[
            Line("network", "bias", points=True),
            Line("validation", "cosine of the angle", points=True),
        ],
        rows=rows,
        level=(delta, percent(delta)),
    )
