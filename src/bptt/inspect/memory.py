"""Which inputs, how many steps ago, still move today's error."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bptt.backends.each import At
from bptt.errors import ArgumentError
from bptt.inspect.charts import map_chart
from bptt.inspect.lags import LagSums, counts, means
from bptt.inspect.losses import Loss
from bptt.inspect.models import subject
from bptt.inspect.passage import Run, run
from bptt.inspect.showing import bars, noted, plural, to_polars
from bptt.inspect.subject import Lengths, chosen

COVERED = 0.95


@dataclass(frozen=True, eq=False, repr=False)
class Memory:
    """The size of dE_t/dx_{t-j} by lag j: what an input, j steps ago, still does to the error.

    Attributes:
        lags: (J,) 0 to the longest way back that the data has.
        norm: (J,) the mean over loss times and sequences of ||dE_t/dx_{t-j}||.
        features: (J, I) the mean of |dE_t/dx_{t-j,i}| for each number of an input.
        reach: the lag up to which 95 % of all of `norm` lies; None where nothing reaches inputs.
        notes: where the step has no derivative, so that figures are of what stands for it.
    """

    lags: np.ndarray
    norm: np.ndarray
    features: np.ndarray
    reach: int | None
    notes: tuple[str, ...] = ()

    def to_frame(self) -> Any:
        """A polars DataFrame: lag, feature (its number), value; feature is null for the norm."""
        count = self.features.shape[1]
        return to_polars(
            {
                "lag": np.tile(self.lags, count + 1),
                "feature": [None] * len(self.lags) + list(np.repeat(range(count), len(self.lags))),
                "value": np.concatenate([self.norm, *self.features.T]),
            }
        )

    def plot(self) -> Any:
        """An altair chart: what each feature does by lag, as far as it matters."""
        shown, features = self._shown(), np.arange(self.features.shape[1])
        title = "Which inputs, how many steps ago, move the error"
        titles = ("lag j (steps)", "feature of x", "|dE_t/dx_(t-j)|")
        return map_chart(self.features[shown].T, features, self.lags[shown], title, titles)

    def _shown(self) -> slice:
        """The lags that matter, and some."""
        return slice(0, None if self.reach is None else max(3 * self.reach, 10))

    def __repr__(self) -> str:
        if self.reach is None:
            return "\n".join(["Memory: no input moves the error", *noted(self.notes)])
        total = self.features.sum(0)
        best = np.argsort(-total, kind="stable")[:5]
        shown = self._shown()
        lines = [
            f"Memory: {COVERED * 100:g} % of what inputs do to the error they do within "
            f"{plural(self.reach, 'step')}",
            f"  by lag, 0 to {self.lags[shown][-1]}: {bars(self.norm[shown])}",
        ]
        for feature in best:
            share = total[feature] / total.sum()
            lines.append(
                f"  feature {feature}: {100 * share:.0f} % {bars(self.features[shown, feature])}"
            )
        return "\n".join([*lines, *noted(self.notes)])


def memory(
    model: Any,
    inputs: Any,
    loss: Loss | None = None,
    *,
    targets: Any = None,
    times: Sequence[int] | None = None,
    state: Any = None,
    lengths: Lengths = None,
    reset: Tensor | None = None,
    reset_state: Any = None,
    reverse: bool = False,
    unit: int | None = None,
    backend: str = "auto",
) -> Memory:
    """Measure how much inputs of earlier steps move each step's error.

    Args:
        model, inputs, loss, targets, times, state, lengths, reset, reset_state, reverse, backend:
            as for `bptt.inspect.credit`. Leaves of the inputs are one row of features, in order.
        unit: a number of the state, in place of loss and targets: E_t = s_t[unit], what the unit
            remembers.

    Raises:
        ArgumentError: inputs without a gradient, such as codes; and what `credit` raises.

    >>> import torch, bptt
    >>> def cell(x, s):  # the second input is not looked at
    ...     return 0.5 * s + x[:, :1]
    >>> found = memory(cell, torch.ones(30, 2, 2), lambda s: s, state=torch.zeros(2, 1))
    >>> found.reach, found.features[:3].tolist()
    (4, [[1.0, 0.0], [0.5, 0.0], [0.25, 0.0]])
    """
    given = subject(
        model, inputs, state=state, lengths=lengths, reset=reset, reset_state=reset_state,
        reverse=reverse, backend=backend,
    )  # fmt: skip
    ran, wanted = run(given, loss, targets, unit), chosen(times, given.steps)
    return _folded(ran, wanted)


def _folded(ran: Run, times: list[int]) -> Memory:
    course = ran.passage.course
    real = [leaf for leaf in ran.passage.inputs if leaf.requires_grad]
    if not real:
        raise ArgumentError(
            "inputs: expected floating-point numbers, which an error can be differentiated by, got "
            "whole numbers alone. `bptt.inspect.credit` and `decay` work on those; or pass the "
            "embedded inputs to the cell behind the embedding."
        )
    width = sum(leaf[0, 0].numel() for leaf in real)
    norms, features = LagSums(course, times), LagSums(course, times, width)
    for at in ran.back(times, "vectors", False).run():
        if at.input_norms is not None:
            norms.add(at, at.input_norms.sum(2))
            features.add(at, _by_feature(at, ran.passage.inputs))
    total = counts(course, times).sum(1)
    longest = max(int((total > 0).sum()), 1)
    norm = means(norms.sums, total)[:longest]
    return Memory(
        np.arange(longest), norm, means(features.sums, total[:, None])[:longest], _reach(norm),
        ran.notes,
    )  # fmt: skip


def _by_feature(at: At, inputs: list[Tensor]) -> Tensor:
    """(L, M, I) the sum over sequences of |dE_t/dx|; leaves side by side."""
    parts = []
    for found, leaf in zip(at.inputs, inputs, strict=True):
        if found is not None:
            parts.append(found.double().abs().sum(2).flatten(2))
        elif leaf.requires_grad:
            shape = *at.state.shape[:2], leaf[0, 0].numel()
            parts.append(torch.zeros(shape, dtype=torch.float64))
    return torch.cat(parts, 2)


def _reach(norm: np.ndarray) -> int | None:
    whole = np.nansum(norm)
    if not whole > 0 or not np.isfinite(whole):
        return None
    return int(np.argmax(np.nancumsum(norm) >= COVERED * whole))
