"""Which inputs, how many steps ago, still move today's output."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bptt.figures import count
from bptt.report.map import Layer, Map, Side
from bptt.report.plot import Axis, Line, Plot, Row, number

if TYPE_CHECKING:
    from bptt.inspect import Memory

MOST = 40  # inputs told apart on a map


def memory_curve(memory: "Memory") -> Plot:
    """The size of the error's gradient to the inputs, by how many steps ago they came in."""
    rows: list[Row] = [
        {"x": int(lag), "at": f"{count(int(lag), 'step')} before", "network": number(norm)}
        for lag, norm in zip(memory.lags, memory.norm, strict=True)
    ]
    return Plot(
        title="How long an input is remembered",
        unit="mean norm of ∂Eₜ/∂xₜ₋ⱼ",
        file="memory.csv",
        words=_words(memory),
        axis=Axis("steps before the loss", format="d"),
        lines=[Line("network", "all inputs together")],
        rows=rows,
        log=True,
        height=200,
    )


def memory_map(memory: "Memory", inputs: Sequence[str]) -> Map | None:
    """The same for each input; None where there is one alone, or too many to tell apart."""
    features = np.asarray(memory.features).T
    names = list(inputs) or [f"input {i}" for i in range(len(features))]
    rows = {name: _together(features, names, name) for name in dict.fromkeys(names)}
    if not 1 < len(rows) <= MOST or len(names) != len(features):
        return None
    values = np.stack(list(rows.values()))
    return Map(
        title="Which inputs are remembered",
        unit="mean norm of ∂Eₜ/∂xₜ₋ⱼ",
        file="memory-by-input.csv",
        words=_by_input(rows),
        across=Side("steps before the loss", [str(lag) for lag in memory.lags], "lag"),
        up=Side("", list(rows), named=True),
        layers=[Layer("norm", values)],
        height=60 + 24 * len(rows),
    )


def _together(features: np.ndarray, names: Sequence[str], name: str) -> np.ndarray:
    """The norm over all numbers that stand for one input."""
    return np.linalg.norm(features[[i for i, n in enumerate(names) if n == name]], axis=0)


def _words(memory: "Memory") -> str:
    if memory.reach is None or not np.nansum(memory.norm):
        return "No input moves any loss."
    return (
        "95 % of all that moves a loss came in within the last "
        f"{count(int(memory.reach) + 1, 'step')}, the loss's own included."
    )


def _by_input(rows: dict[str, np.ndarray]) -> str:
    sums = {name: float(np.nansum(values)) for name, values in rows.items()}
    total = sum(sums.values())
    if not total:
        return "No input moves any loss."
    most = max(sums, key=sums.__getitem__)
    return f"Most of it comes from {most}: {100 * sums[most] / total:.0f} % over all lags."
