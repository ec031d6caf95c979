"""Which steps an error is blamed on: the credit map."""

import math
from typing import TYPE_CHECKING

import numpy as np

from bptt.figures import count, rough
from bptt.report.map import Layer, Map, Side
from bptt.report.way.labels import Labels

if TYPE_CHECKING:
    from bptt.inspect import Credit

ROW = 22  # pixels of a loss time's row where there are few
TALLEST = 380
HOW_TO_READ = (
    "A row is the loss of one step, and goes back in time from its right end: how strongly what "
    "was there at an earlier step k moves that loss."
)


def credit_map(credit: "Credit", labels: Labels) -> Map:
    """The size of what each step contributes to each loss, for the state and for each parameter."""
    told = np.flatnonzero(credit.losses != 0)  # a loss time without a loss has nothing to blame
    rows = told if len(told) else np.arange(len(credit.times))
    times = credit.times[rows]
    layers = [Layer(name, values[rows]) for name, values in _parts(credit)]
    gapless = len(times) > 1 and bool((np.diff(times) == 1).all())
    return Map(
        title="Which steps an error is blamed on",
        unit="norm of what step k contributes",
        file="credit.csv",
        words=f"{HOW_TO_READ} {_reach(credit)}{_exactly(credit)}",
        across=Side("step k", labels.steps, "blamed on", start=labels.start),
        up=Side(
            "loss at step t",
            [labels.steps[t] for t in times],
            "loss at",
            named=not gapless,
            start=labels.start + int(times[0]) if gapless else 0,
        ),
        layers=layers,
        choice="What is blamed",
        stops=[int(t) + 1 for t in times],
        height=min(TALLEST, max(60, ROW * len(times))),
    )


def _parts(credit: "Credit") -> list[tuple[str, np.ndarray]]:
    """What can be blamed, by name."""
    parts = [("the state, ∂Eₜ/∂sₖ", credit.state)]
    if credit.inputs is not None:
        parts.append(("the inputs, ∂Eₜ/∂xₖ", credit.inputs))
    return parts + [(f"{name}, its use at step k", v) for name, v in credit.parameters.items()]


def _reach(credit: "Credit") -> str:
    """How far back half and nearly all of the gradient of the state lies."""
    back = credit.times[:, None] - credit.steps[None, :]
    there = np.isfinite(credit.state) & (back >= 0)
    sums = np.bincount(back[there], credit.state[there])
    if not there.any():
        return "No error that reaches a state is a number."
    if not sums.sum():
        return "No error reaches any state: the loss does not depend on it."
    shares = sums.cumsum() / sums.sum()
    half, most = (int(np.searchsorted(shares, share)) + 1 for share in (0.5, 0.95))
    return (
        f"Of all that reaches the states, half lies within the last {count(half, 'step')} before "
        f"the loss, its own included, and 95 % within {count(most, 'step')}."
    )


def _exactly(credit: "Credit") -> str:
    """How far the sums of the terms are from one backward pass."""
    difference = credit.check() if credit.parameters else math.nan
    if not math.isfinite(difference):
        return ""
    return (
        " Added up over k, what a weight is blamed for is the gradient that one backward pass "
        f"gives, to within {rough(difference)} of its largest number."
    )
