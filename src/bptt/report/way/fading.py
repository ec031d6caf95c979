"""How the error fades on its way back, and what going back less far costs."""

import math
from typing import TYPE_CHECKING

import numpy as np

from bptt.figures import count, figure, percent, rough
from bptt.report.plot import Axis, Line, Plot, Row, number

if TYPE_CHECKING:
    from bptt.inspect import Decay, Truncation

ROUNDING = 1e-12  # of the largest norm: below, a float32 gradient may be rounding
TRUNCATED = [
    Line("network", "bias", points=True),
    Line("rule", "bias in chunks", points=True),
    Line("validation", "cosine of the angle", points=True),
]
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
        lines=[Line("network", "measured"), Line("rule", "fit")],
        rows=rows,
        moment=(decay.horizon, f"K = {decay.horizon:,}") if decay.horizon is not None else None,
        log=True,
    )


def _fitted(decay: "Decay") -> list[float | None]:
    """The fit at each lag: of its rate, through the middle of what it was fitted to."""
    with np.errstate(invalid="ignore"):
        known = (decay.lags > 0) & (decay.norm > ROUNDING * np.nanmax(decay.norm, initial=0.0))
    if not known.any() or not (math.isfinite(decay.rate) and decay.rate > 0):
        return [None] * len(decay.lags)
    slope = math.log(decay.rate)
    level = np.mean(np.log(decay.norm[known]) - decay.lags[known] * slope)
    return [number(fitted) for fitted in np.exp(level + decay.lags * slope)]


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
    lines = (truncation.bias, truncation.chunked[:, 0], truncation.cosine)
    rows: list[Row] = [
        {"x": int(k2), "at": f"{count(int(k2), 'step')} back"}
        | {line.field: number(value) for line, value in zip(TRUNCATED, values, strict=True)}
        for k2, *values in zip(truncation.k2, *lines, strict=True)
    ]
    return Plot(
        title="What going back less far costs",
        unit=f"Truncated(k1={truncation.k1}, k2) against the exact gradient",
        file="truncation.csv",
        words=_truncation_words(truncation, delta),
        axis=Axis("steps back, k2", format="d", ticks=truncation.k2.tolist()),
        lines=TRUNCATED,
        rows=rows,
        level=(delta, percent(delta)),
    )


def _truncation_words(truncation: "Truncation", delta: float) -> str:
    enough = truncation.k2[truncation.bias < delta]
    said = (
        f"Measured on these sequences: going back {count(int(enough[0]), 'step')}, the truncated "
        f"gradient is within {percent(delta)} of the exact one."
        if len(enough)
        else f"None of these ways back brings the gradient within {percent(delta)} of the exact."
    )
    return (
        f"{said} Bias is the length of the difference, as a share of the exact gradient's; a "
        "cosine of 1 is the same direction. Chunks of k2 steps with the state detached between "
        "them are what is often done instead."
    )
