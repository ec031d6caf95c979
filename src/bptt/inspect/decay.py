"""How fast a gradient fades, or grows, on its way back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from bptt.errors import ArgumentError
from bptt.inspect.charts import SIDE, thinned
from bptt.inspect.lags import LagSums, counts, means
from bptt.inspect.losses import Loss
from bptt.inspect.models import subject
from bptt.inspect.passage import run
from bptt.inspect.showing import bars, noted, number, optional, to_polars
from bptt.inspect.subject import Lengths, chosen

RESAMPLES = 500  # of the sequences, for intervals
SMALLEST = 1e-12  # of the largest norm: below, a float32 gradient may be rounding


@dataclass(frozen=True, eq=False, repr=False)
class Decay:
    """The size of dE_t/ds_{t-j} by lag j, and how fast it falls. Lag 0 is the loss time itself.

    Attributes:
        lags: (J,) 0 to the longest way back that the data has.
        norm: (J,) phi_j, the mean over loss times and sequences of ||dE_t/ds_{t-j}||.
        low, high: (J,) the middle 95 % of phi_j when sequences are drawn anew; NaN for one alone.
        rate: beta, by which phi_j is multiplied from lag to lag; NaN where nothing flows back.
        rate_interval: the middle 95 % of beta, likewise.
        half_life: steps after which phi is half of what it was; infinite where it does not fall.
        horizon: the fewest steps K to go back for a relative bias below `delta`; None where the
            data is too short to tell, or the gradient does not fall.
        delta: the bias that is tolerated.
        notes: where the step has no derivative, so that figures are of what stands for it.
    """

    lags: np.ndarray
    norm: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rate: float
    rate_interval: tuple[float, float]
    half_life: float
    horizon: int | None
    delta: float
    notes: tuple[str, ...] = ()

    def to_frame(self) -> Any:
        """A polars DataFrame: lag, norm, low, high, fitted."""
        return to_polars(
            {
                "lag": self.lags,
                "norm": self.norm,
                "low": self.low,
                "high": self.high,
                "fitted": self._fitted(),
            }
        )

    def plot(self) -> Any:
        """An altair chart: phi_j with its interval, and the fit, on a logarithmic scale."""
        alt = optional("altair")
        frame, _ = thinned(self.to_frame(), "lag")
        said = (
            f"dashed: the fit, {self.rate:.3g} a step; shaded: 95 % when sequences are drawn anew"
        )
        title = alt.Title("How far back an error is felt", subtitle=said)
        base = alt.Chart(frame, title=title, width=SIDE, height=260)
        base = base.transform_filter("datum.norm > 0").encode(
            x=alt.X("lag:Q", title="lag j (steps)", scale=alt.Scale(nice=False))
        )
        scale, figures = alt.Scale(type="log"), ("norm", "low", "high")
        y = alt.Y("norm:Q", scale=scale, title="mean size of dE_t/ds_(t-j)")
        band = base.transform_filter("datum.low > 0").mark_area(opacity=0.25)
        fit = base.transform_filter("datum.fitted > 0").mark_line(color="gray", strokeDash=[4, 4])
        tooltip = ["lag", *(alt.Tooltip(name, format=".3g") for name in figures)]
        return alt.layer(
            band.encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
            fit.encode(y="fitted:Q"),
            base.mark_line().encode(y=y, tooltip=tooltip),
        )

    def __repr__(self) -> str:
        low, high = self.rate_interval
        span = "" if math.isnan(low) else f" (95 %: {low:.4g} to {high:.4g})"
        way = "falls" if self.rate < 1 else "grows"
        lines = [f"Decay: the gradient {way} by a factor of {self.rate:.4g}{span} a step back"]
        if not math.isfinite(self.rate):
            lines = ["Decay: nothing flows back, or what does is no number"]
        elif self.rate < 1:
            lines.append(f"  half of it is gone after {number(self.half_life)} steps")
        if self.horizon is not None:
            share = f"{100 * self.delta:g} %"
            lines.append(f"  going back {self.horizon} steps keeps the bias below {share}")
        elif math.isfinite(self.rate):
            lines.append(
                f"  no number of steps within the {len(self.lags)} seen keeps the bias below "
                f"{100 * self.delta:g} %"
            )
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log10(self.norm)
        lines.append(f"  log size by lag, 0 to {self.lags[-1]}: {bars(logs)}")
        return "\n".join([*lines, *noted(self.notes)])

    def _fitted(self) -> np.ndarray:
        _, level = _fit(self.norm, np.ones(len(self.norm)))
        return level * self.rate**self.lags


def decay(
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
    delta: float = 0.1,
) -> Decay:
    """Measure how the gradient falls with the number of steps it goes back.

        phi_j = mean over t and sequences of ||dE_t/ds_{t-j}||,      phi_j ~ c beta^j

    beta is a least-squares line through log phi_j, lags from 1 on, each weighed by how many loss
    times have it. Lags count within an episode: what a reset cuts off is no decay. The steps to go
    back are those for which the bound on the relative bias

        tail(K) / (head(K) - tail(K)),   head(K) = sum_{j<K} phi_j,   tail(K) = sum_{j>=K} phi_j

    is below `delta`, the tail continued geometrically beyond the data.

    Args:
        model, inputs, loss, targets, times, state, lengths, reset, reset_state, reverse, backend:
            as for `bptt.inspect.credit`.
        unit: a number of the state, in place of loss and targets: E_t = s_t[unit].
        delta: the relative bias to stay below, above 0.

    Raises:
        ArgumentError: a delta that is not above 0; and what `credit` raises.

    Source: Aicher, Foti & Fox 2019, "Adaptively truncating backpropagation through time to control
    gradient bias"; their bound has norms of sums where this has sums of norms.

    >>> import torch, bptt
    >>> def cell(x, s):  # s_t = 0.5 s_{t-1} + x_t
    ...     return 0.5 * s + x
    >>> found = bptt.inspect.decay(cell, torch.ones(20, 2, 1), lambda s: s, state=torch.zeros(2, 1))
    >>> f"{found.rate:.3f}, half gone after {found.half_life:.1f} step, K = {found.horizon}"
    '0.500, half gone after 1.0 step, K = 4'
    """
    if not isinstance(delta, int | float) or isinstance(delta, bool) or not delta > 0:
        raise ArgumentError(f"delta: expected a bias above 0, such as 0.1, got {delta!r}.")
    given = subject(
        model, inputs, state=state, lengths=lengths, reset=reset, reset_state=reset_state,
        reverse=reverse, backend=backend,
    )  # fmt: skip
    ran, wanted = run(given, loss, targets, unit), chosen(times, given.steps)
    course = ran.passage.course
    found = LagSums(course, wanted, course.batch)
    for at in ran.back(wanted, None, False).run():
        found.add(at, at.state)
    return summary(found.sums, counts(course, wanted), float(delta), ran.notes)


def summary(sums: np.ndarray, number_of: np.ndarray, delta: float, notes: tuple[str, ...]) -> Decay:
    """A decay from norms summed over loss times (T, B) by lag and sequence, and their numbers."""
    longest = max(int((number_of.sum(1) > 0).sum()), 1)
    sums, number_of = sums[:longest], number_of[:longest]
    norm = means(sums.sum(1), number_of.sum(1))
    rate, _ = _fit(norm, number_of.sum(1))
    low, high, rates = _resampled(sums, number_of)
    half = math.inf if rate >= 1 else math.log(2) / -math.log(rate) if rate > 0 else math.nan
    return Decay(
        np.arange(longest), norm, low, high, rate, rates, half, horizon(norm, rate, delta), delta,
        notes,
    )  # fmt: skip


def _fit(norm: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The rate and the level of a geometric sequence through norms from lag 1 on."""
    lags = np.arange(len(norm))
    with np.errstate(divide="ignore", invalid="ignore"):
        known = (lags > 0) & np.isfinite(norm) & (norm > SMALLEST * np.nanmax(norm, initial=0.0))
    if known.sum() < 2:
        return math.nan, math.nan
    slope, level = np.polyfit(lags[known], np.log(norm[known]), 1, w=np.sqrt(weights[known]))
    return float(np.exp(slope)), float(np.exp(level))


def _resampled(
    sums: np.ndarray, number_of: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """The middle 95 % of norm and rate when the sequences are drawn anew."""
    length, batch = sums.shape
    if batch < 2:
        nothing = np.full(length, np.nan)
        return nothing, nothing, (math.nan, math.nan)
    draws = np.random.default_rng(0).multinomial(batch, np.full(batch, 1 / batch), RESAMPLES)
    weights = np.einsum("rb,jb->rj", draws, number_of)
    norms = means(np.einsum("rb,jb->rj", draws, sums), weights)
    rates = [_fit(norm, weight)[0] for norm, weight in zip(norms, weights, strict=True)]
    known = [rate for rate in rates if math.isfinite(rate)]
    span = tuple(np.quantile(known, (0.025, 0.975))) if known else (math.nan, math.nan)
    low, high = (_quantile(norms, q) for q in (0.025, 0.975))
    return low, high, (float(span[0]), float(span[1]))


def _quantile(norms: np.ndarray, q: float) -> np.ndarray:
    """By lag; NaN where a norm is not known in all draws."""
    return np.quantile(norms, q, axis=0)


def horizon(norm: np.ndarray, rate: float, delta: float) -> int | None:
    """The fewest steps to go back for a bound on the relative bias below delta; None for none.

    >>> horizon(0.5 ** np.arange(10), 0.5, 0.1)
    4
    """
    if not rate < 1 or not np.isfinite(norm).all():
        return None
    beyond = norm[-1] * rate / (1 - rate)
    tail = norm[::-1].cumsum()[::-1] + beyond  # of lag j and all behind it
    head = norm.cumsum()
    for steps in range(1, len(norm)):
        rest = head[steps - 1] - tail[steps]
        if rest > 0 and tail[steps] / rest < delta:
            return steps
    return None
