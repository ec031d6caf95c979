"""What the gradient's way back says: it breaks, explodes, fades, or is cut off too early."""

import math
from collections.abc import Iterator

import numpy as np

from bptt.inspect.decay import Decay
from bptt.inspect.finding import Finding, Seen, Severity
from bptt.inspect.saturation import Saturation
from bptt.inspect.showing import number, percent, plural
from bptt.inspect.units import GATES, worst_curve

# A hundredth of an error is lost beside what nearer steps are told: beyond, nothing is learnt.
LOST = 0.01
# Where that happens within a tenth, a quarter or a half of the sequence, most of it goes unused.
SHORT = (0.1, 0.25, 0.5)
# A reach of so many steps is no illness, however long the sequence is: few tasks ask for more.
FAR = 50
# A gradient that grows tenfold on its way makes steps uneven; a hundredfold, it drowns all others.
GROWN, EXPLODED = 10.0, 100.0
# A bias of a tenth turns the gradient by no more than noise of the batch does; at a half of its
# length it may point anywhere.
BIAS = (0.1, 0.5)
# Inputs and weights of usual size give states of about 1: a million is growth, not a number lost.
HUGE = 1e6
SMALLER = (
    "smaller recurrent weights; a lower learning rate and a clipped gradient, if training made "
    "them large; a function with bounds, such as tanh."
)


def broken(seen: Seen) -> Iterator[Finding]:
    """A state or a loss that is no number."""
    at = seen.breakage
    if at is None:
        yield from _broken_loss(seen)
        return
    step = at.step + seen.start
    what = f"The state is {at.value} first at step {step}, sequence {seen.sequences[at.sequence]}"
    what += f", unit {at.unit}"
    if at.feature is not None:
        what += f", where feature {at.feature} of the inputs is no number"
        advice = "fill in missing values before training, or give them to bptt.cells.GRUD."
    else:
        advice = "look in the cell for a division, logarithm or root of what reaches 0 there."
    if at.size > HUGE:
        what += f", after states had grown to {number(at.size)}"
        advice = SMALLER
    yield Finding("not finite", "problem", f"{what}.", float(step), advice, step)


def _broken_loss(seen: Seen) -> Iterator[Finding]:
    wrong = np.flatnonzero(~np.isfinite(seen.losses))
    if len(wrong):
        step, value = int(wrong[0]) + seen.start, seen.losses[wrong[0]]
        what = f"All states are numbers, but the loss at step {step} is {value}"
        advice = "look for missing values in the targets, and in the loss for a logarithm of 0."
        if seen.largest > HUGE:
            what += f", for states grow to {number(seen.largest)}"
            advice = SMALLER
        yield Finding("not finite", "problem", f"{what}.", float(step), advice, step)


def no_gradient(seen: Seen) -> Iterator[Finding]:
    """No loss that depends on the state."""
    if seen.credit is not None and not np.any(seen.credit.state):
        advice = (
            "if the read-out starts at zero, look again after a few updates; if not, see whether "
            "the loss uses the outputs and nothing on the way is detached."
        )
        what = "No loss depends on the state: dE_t/ds_t is 0 at every step."
        yield Finding("no gradient", "problem", what, 0.0, advice)


def exploding(seen: Seen) -> Iterator[Finding]:
    """A gradient that grows on its way back."""
    growth = growth_of(seen)
    if growth is None or growth.max() < GROWN or _is_of_slope(seen):
        return
    most = int(growth.argmax())
    severity: Severity = "problem" if growth[most] >= EXPLODED else "warning"
    what = (
        f"The gradient explodes: on its way back over {plural(most, 'step')} it grows "
        f"{number(growth[most])}-fold."
    )
    yield Finding("exploding", severity, what, float(growth[most]), _against_growth(seen))


def _is_of_slope(seen: Seen) -> bool:
    """Whether an infinite slope is why a gradient is no number: a finding of its own."""
    return any(kink.kind == "infinite" for kink in seen.kinks)


def _against_growth(seen: Seen) -> str:
    norms = seen.norms[np.isfinite(seen.norms)]
    advice = []
    if len(norms):
        advice.append(
            f"clip the gradient's norm at {number(float(np.median(norms)))}, what it is (median "
            "over sequences, loss summed over steps) as far back as it has not yet grown"
        )
    radius = spectral_radius(seen)
    if radius > 1:
        advice.append(
            f"multiply the recurrent weights by {number(1 / radius)}, for the spectral radius of a "
            f"step is {number(radius)} in the median, or initialise them orthogonal"
        )
    return "; ".join(advice or ["clip the gradient's norm; smaller recurrent weights"]) + "."


def vanishing(seen: Seen) -> Iterator[Finding]:
    """A gradient that fades on its way back; else how far it reaches."""
    growth, decay = growth_of(seen), seen.decay
    if growth is None or decay is None or growth.max() >= GROWN:
        return
    reach = reach_of(growth, decay.rate)
    if not _fades(seen):
        yield _reach(seen, decay, reach)
        return
    severity: Severity = "problem" if reach < SHORT[0] * seen.steps else "warning"
    what = (
        f"The gradient vanishes: it {_rate(decay)}, and after {number(reach)} of {seen.steps} "
        f"steps less than {percent(LOST)} is left. What lies further back is not learnt from."
    )
    yield Finding("vanishing", severity, what, reach, _against_fading(seen, reach))


def _fades(seen: Seen) -> bool:
    """Whether the gradient is gone soon."""
    growth = growth_of(seen)
    if growth is None or seen.decay is None:
        return False
    return reach_of(growth, seen.decay.rate) < min(FAR, SHORT[1] * seen.steps)


def _reach(seen: Seen, decay: Decay, reach: float) -> Finding:
    """How far the network learns."""
    enough = reach >= FAR or reach >= SHORT[2] * seen.steps
    whole = reach >= seen.steps
    said = f"all {seen.steps} steps" if whole else f"about {number(reach)} of {seen.steps} steps"
    what = f"The network learns over a span of {said}: the gradient {_rate(decay)}."
    advice = "" if enough else "if the task needs more, " + _against_fading(seen, reach)
    return Finding("span", "good" if enough else "note", what, reach, advice)


def _rate(decay: Decay) -> str:
    """What a gradient does on its way back, in words."""
    if math.isnan(decay.half_life):
        return "is gone within a step"
    if math.isinf(decay.half_life):
        return "does not fade on its way back"
    if decay.half_life < 1:
        return f"keeps {percent(decay.rate)} from one step to the one before"
    return f"halves every {number(decay.half_life)} steps back"


def _against_fading(seen: Seen, reach: float) -> str:
    radius, advice = spectral_radius(seen), []
    flat = worst_curve(seen.saturation)
    if flat is not None:
        advice.append(f"bring {flat[0]} out of saturation first ({percent(flat[1])} of it is flat)")
    if gated(seen.saturation):
        bias = number(math.log(max(seen.steps - 1, 2)))
        advice.append(
            f"open the gate that keeps the state: start its bias (LSTM: forget gate, GRU: z) "
            f"between 1 and {bias}, the logarithm of the steps"
        )
    else:
        advice.append("take a gated cell (bptt.cells.GRU or LSTM)")
        shrinks = f", for a step's spectral radius is {number(radius)}" if radius < 1 else ""
        advice.append(f"or initialise the recurrent weights orthogonal or as identity{shrinks}")
    if seen.method is not None and seen.method.k2 <= reach:
        advice.append(f"go back further than k2 = {seen.method.k2}")
    return "; ".join(advice) + "."


def truncated(seen: Seen) -> Iterator[Finding]:
    """A way back that is cut off too early, or how far it would have to go."""
    found = seen.truncation
    if found is None or not np.isfinite(found.bias).any():
        return
    enough = found.k2[np.flatnonzero(found.bias < BIAS[0])]
    k2 = int(enough.min()) if len(enough) else None
    method = seen.method
    if method is None:
        if (
            growth_of(seen) is not None
            and k2 is not None
            and k2 < seen.steps / 2
            and not _fades(seen)
        ):
            what = (
                f"Going back {k2} of {seen.steps} steps would do: the gradient of "
                f"Truncated({found.k1}, {k2}) is less than {percent(BIAS[0])} off."
            )
            yield Finding("truncation", "note", what, float(k2))
        return
    bias = float(np.interp(method.k2, found.k2, found.bias))
    if bias < BIAS[0]:
        what = (
            f"Going back k2 = {method.k2} steps is enough for these weights: the gradient is "
            f"{percent(bias)} off."
        )
        if method.k2 < seen.steps:
            what += " What lies further back than k2 cannot be learnt from, with any weights."
        yield Finding("truncation", "good", what, bias)
        return
    what = (
        f"The truncation is too short: with k2 = {method.k2} the gradient is {percent(bias)} off."
    )
    mend = f"k2 = {k2} (less than {percent(BIAS[0])} off)" if k2 else "bptt.Full() or Checkpointed"
    severity: Severity = "problem" if bias >= BIAS[1] else "warning"
    yield Finding("truncation", severity, what, bias, f"{mend}.")


def growth_of(seen: Seen) -> np.ndarray | None:
    """(J,) the gradient at each lag beside that of the same losses at lag 0; None if there is none.

    Losses of early steps have no long lags, so each lag has its own losses to be compared with.
    """
    if seen.credit is None:
        return None
    times, size = seen.credit.times, len(seen.credit.steps)
    rows, way = np.arange(len(times)), 1 if seen.reverse else -1
    found = []
    for lag in range(size):
        there = (times + way * lag >= 0) & (times + way * lag < size)
        far = seen.credit.per_sequence[rows[there], times[there] + way * lag].sum()
        near = seen.credit.per_sequence[rows[there], times[there]].sum()
        if not near:
            break
        found.append(far / near)
    growth = np.array(found)
    return np.where(np.isnan(growth), np.inf, growth) if len(growth) else None


def reach_of(growth: np.ndarray, rate: float) -> float:
    """Steps back after which less than a hundredth of an error is left; inf if it never fades.

    Beyond the data, by the fitted rate.
    """
    gone = np.flatnonzero(growth < LOST)
    if len(gone):
        return float(gone[0])
    if not 0 < rate < 1:
        return math.inf
    return len(growth) - 1 + math.log(LOST / growth[-1]) / math.log(rate)


def spectral_radius(seen: Seen) -> float:
    """Of a step, in the median; NaN if it is not known."""
    if seen.jacobians is None or not np.isfinite(seen.jacobians.spectral_radius).any():
        return math.nan
    return float(np.nanmedian(seen.jacobians.spectral_radius))


def gated(saturation: Saturation | None) -> bool:
    """Whether a step has a function that opens and closes."""
    names = () if saturation is None else saturation.names
    return any(name.startswith(GATES) for name in names)
