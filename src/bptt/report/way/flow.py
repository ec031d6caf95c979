"""What each step does to an error that goes back through it: Jacobians and Lyapunov exponents."""

import math
from typing import TYPE_CHECKING

import numpy as np

from bptt.figures import count, percent, rough
from bptt.report.plot import Axis, Line, Plot, Row, number
from bptt.report.way.labels import Labels

if TYPE_CHECKING:
    from bptt.inspect import Jacobians, Lyapunov

STEP = Axis("step", format="d")


def jacobian_curve(found: "Jacobians", labels: Labels) -> Plot:
    """The size of the Jacobian at each step: the middle of the batch, and its extremes."""
    rows: list[Row] = []
    for step in found.steps:
        if not found.live[step].any():
            continue
        norms, radii = _live(found.norm[step]), _live(found.spectral_radius[step])
        row: Row = {"x": labels.start + int(step), "at": labels.steps[step], "network": None}
        if len(norms):
            row |= {"network": float(np.median(norms)), "validation": float(np.median(radii))}
        if len(norms) > 1:
            row |= {"low": float(norms.min()), "high": float(norms.max())}
        rows.append(row)
    return Plot(
        title="What one step does to the error",
        unit="of ∂sₜ/∂sₜ₋₁, median over the sequences",
        file="jacobians.csv",
        words=_jacobian_words(found),
        axis=STEP,
        lines=[
            Line("network", "largest singular value"),
            Line("validation", "spectral radius"),
        ],
        rows=rows,
        level=(1.0, "1: kept as it is"),
        log=True,
    )


def _live(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def _jacobian_words(found: "Jacobians") -> str:
    norms, radii = _live(found.norm), _live(found.spectral_radius)
    if not len(norms):
        return "None of the Jacobians is a number."
    return (
        f"At most, a step lengthens an error by {rough(np.median(norms))} in the middle of "
        f"all steps and by {rough(norms.max())} at worst; {percent(float(np.mean(norms < 1)))} of "
        "the steps can only shorten it. If every step were like it, the error would in the long "
        f"run change by the spectral radius, {rough(np.median(radii))} in the middle, a "
        "step."
    )


def exponents_curve(found: "Lyapunov") -> Plot:
    """The Lyapunov exponents, from the largest."""
    rows: list[Row] = [
        {"x": i, "at": f"exponent {i}", "network": number(value)}
        | ({"low": value - 2 * error, "high": value + 2 * error} if math.isfinite(value) else {})
        for i, (value, error) in enumerate(
            zip(found.exponents.tolist(), found.error.tolist(), strict=True), start=1
        )
    ]
    return Plot(
        title="Whether small changes grow: Lyapunov exponents",
        unit="nats a step",
        file="lyapunov.csv",
        words=_exponent_words(found),
        axis=Axis("exponent, from the largest", format="d"),
        lines=[Line("network", "exponent", points=len(rows) <= 40)],
        rows=rows,
        level=(0.0, "0: neither grows nor fades"),
        height=200,
    )


def _exponent_words(found: "Lyapunov") -> str:
    largest, error = float(found.exponents[0]), float(found.error[0])
    several = len(found.exponents)
    some = f"The {several} largest of {found.units}. " if several < found.units else ""
    said = f"{some}The largest is {rough(largest)} ± {rough(2 * error)}"
    if abs(largest) <= 2 * error:
        return f"{said}: on average a small change neither grows nor fades."
    steps = rough(math.log(2) / abs(largest)) if math.isfinite(largest) else "0"
    how = "twice as large" if largest > 0 else "half as large"
    return f"{said}: on average a small change of the state is {how} after {steps} steps."


def settling_curve(found: "Lyapunov") -> Plot:
    """How the estimate of the two largest exponents went with the steps that were averaged."""
    steps = range(found.warmup + 1, found.warmup + 1 + len(found.history))
    lines = [Line("network", "largest exponent"), Line("validation", "second")]
    lines = lines[: found.history.shape[1]]
    rows: list[Row] = [
        {"x": step, "at": f"after {count(step, 'step')}"}
        | {line.field: number(value) for line, value in zip(lines, values, strict=False)}
        for step, values in zip(steps, found.history.tolist(), strict=True)
    ]
    last = found.history[-1, 0]
    half = found.history[len(found.history) // 2, 0]
    return Plot(
        title="Whether the exponents have settled",
        unit="estimate so far, nats a step",
        file="lyapunov-estimate.csv",
        words=f"The largest was {rough(half)} halfway and is {rough(last)} at the end.",
        axis=Axis("steps averaged, warm-up included", format="d"),
        lines=lines,
        rows=rows,
        height=180,
    )
