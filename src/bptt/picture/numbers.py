"""What a drawing shows at each of its loss times: numbers as they are read, and widths of lines."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from bptt.picture.names import titles
from bptt.picture.words import among, figure

if TYPE_CHECKING:
    from bptt.picture.unfolded import Unfolded

THINNEST, THICKEST = 1.0, 13.0


def width(value: float, largest: float) -> float:
    """Of a line, in pixels: the root of a size shows small ones beside large ones.

    >>> width(0.0, 1.0), width(0.25, 1.0), width(1.0, 1.0)
    (0.0, 7.0, 13.0)
    """
    if not (np.isfinite(value) and value > 0 and largest > 0):
        return 0.0
    return round(THINNEST + (THICKEST - THINNEST) * float(np.sqrt(value / largest)), 1)


def shown(picture: "Unfolded", row: int) -> dict[str, Any]:
    """All that changes with the loss time.

    Args:
        picture: what is drawn.
        row: of the loss time among `credit.times`.

    Returns:
        t and k, numbers of the steps as drawn (k by column); index, as `credit` has them; what they
        are called; what lies before the columns, in words; and by each line and part, for each
        column, [number as text, width].
    """
    t, start = int(picture.credit.times[row]), picture.start(row)
    columns = range(start, start + picture.window)
    sizes = dict(_sizes(picture, row, t - np.array(columns)))
    scales = {group: _largest(sizes, group) for group in ("line", "weight")}
    return {
        "t": t + picture.first,
        "k": [k + picture.first for k in columns],
        "index": list(columns),
        "name": [picture.names[k] for k in columns],
        "called": picture.names[t],
        "loss": figure(float(picture.credit.losses[row])),
        "folded": _folded(picture, row, start),
        "v": {
            key: [[figure(v), width(v, scales[_group(key)])] for v in values]
            for key, values in sizes.items()
        },
    }


def _group(key: str) -> str:
    return "weight" if key.startswith("w:") else "line"


def _largest(sizes: dict[str, list[float]], group: str) -> float:
    found = [v for key, values in sizes.items() if _group(key) == group for v in values]
    return max((v for v in found if np.isfinite(v)), default=0.0)


def _sizes(picture: "Unfolded", row: int, lags: np.ndarray) -> Iterator[tuple[str, list[float]]]:
    """By key, a number for each column; 0 for steps that come after the loss time.

    Keys: "s<leaf>" and "b<leaf>" states after and before a step, "x" inputs, "y" the output, "E",
    "e<a>-<b>" lines between parts, "w:<name>" terms of a weight's gradient.
    """
    flow, credit = picture.flow, picture.credit
    lags = np.asarray(lags)
    for leaf, norms in enumerate(flow.leaves):
        yield f"s{leaf}", _by_lag(norms[row], lags)
        yield f"b{leaf}", _by_lag(norms[row], np.where(lags >= 0, lags + 1, -1))
    yield "x", _by_lag(flow.inputs[row], lags)
    yield "y", [float(flow.outputs[row]) if lag == 0 else 0.0 for lag in lags]
    for (a, b), norms in (flow.edges or {}).items():
        yield f"e{a}-{b}", _by_lag(norms[row], lags)
    for name, norms in credit.parameters.items():
        steps = int(credit.times[row]) - lags
        yield f"w:{name}", [float(norms[row, k]) if k >= 0 else 0.0 for k in steps]


def _by_lag(norms: np.ndarray, lags: np.ndarray) -> list[float]:
    return [float(norms[lag]) if 0 <= lag < len(norms) else 0.0 for lag in lags]


def _folded(picture: "Unfolded", row: int, start: int) -> str:
    """What the steps that are not drawn carry, in words."""
    if not start:
        return ""
    credit, first = picture.credit, picture.first
    norms = credit.state[row]
    share = norms[:start].sum() / norms.sum() if norms.sum() else 0.0
    span = f"step {first}" if start == 1 else f"steps {first} to {start + first - 1}"
    called = titles(list(credit.parameters))
    terms = [
        f"{figure(float(values[row, :start].sum()))} of {figure(float(values[row].sum()))} to "
        f"∂E/∂{called[name]}"
        for name, values in credit.parameters.items()
    ]
    told = f" and give {among(terms[:4])} (sums of the terms' norms)" if terms else ""
    return f"Folded here: {span} carry {share:.0%} of all ‖∂E/∂s‖{told}."
