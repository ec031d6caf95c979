"""What units and inputs say: saturated, dead, chaotic, ignored."""

import math
from collections.abc import Iterator

import numpy as np

from bptt import places
from bptt.inspect.finding import Finding, Seen, Severity
from bptt.inspect.nonlinearity import FLAT
from bptt.inspect.saturation import Saturation
from bptt.inspect.showing import number, percent

# With half of a tanh layer flat, half of what goes back is lost at each step; beyond four fifths
# hardly anything is left. Half of a relu is flat by nature, and a spike's surrogate nearly always.
FLAT_CURVES, FLAT_OTHERS, FLAT_SPIKES = (0.5, 0.8), (0.9, 0.98), (0.99, 0.999)
CURVES = ("tanh", "hardtanh", "erf", "atan")
# Gates that are wide open or shut may be what was learnt: if that cuts the gradient off, it fades.
GATES = ("sigmoid", "hardsigmoid")
# A tenth of the units is a loss of capacity that is worth mending, a half is a broken layer.
DEAD = (0.1, 0.5)
# Chaos matters where a change grows tenfold within the sequence; where it does within ten steps or
# so, hardly any gradient can be followed.
TENFOLD, WILD = math.log(10), 0.2
# A thousandth of the strongest input's effect is none.
IGNORED = 1e-3


def saturated(seen: Seen) -> Iterator[Finding]:
    """Non-linearities in their flat part."""
    for name, share in _shares(seen.saturation):
        place, limits = place_of(seen.saturation, name), limits_of(name)
        if share < limits[0] or _mostly_dead(seen.saturation, name):
            continue
        if name.startswith(GATES):
            what = f"{name}{place} is wide open or shut {percent(share)} of the time."
            yield Finding("gates fixed", "note", what, share)
            continue
        severity: Severity = "problem" if share >= limits[1] else "warning"
        what = (
            f"{name}{place} is saturated: {percent(share)} of its numbers lie in the flat part, "
            "which lets no gradient through."
        )
        advice = (
            "scale the inputs to mean 0 and deviation 1; start with smaller weights and biases; "
            "normalise before it (bptt.cells.LayerNormGRU, LayerNormLSTM)."
        )
        yield Finding("saturated", severity, what, share, advice)


def dead(seen: Seen) -> Iterator[Finding]:
    """Units that are never active."""
    found = seen.saturation
    if found is None:
        return
    for name in found.names:
        share = float(found.dead[name].mean()) if len(found.dead[name]) else 0.0
        if share < DEAD[0]:
            continue
        severity: Severity = "problem" if share >= DEAD[1] else "warning"
        count, size = int(found.dead[name].sum()), len(found.dead[name])
        what = (
            f"{count} of {size} units of {name}{place_of(found, name)} are dead: their slope was "
            "0 at every step of every sequence, so they never learn."
        )
        advice = (
            "a lower learning rate; biases above 0 to begin with; leaky_relu, softplus or gelu in "
            "place of relu; inputs of mean 0 and deviation 1."
        )
        yield Finding("dead units", severity, what, share, advice)


def chaotic(seen: Seen) -> Iterator[Finding]:
    """States that small changes throw off their way."""
    found = seen.lyapunov
    if found is None or not found.is_chaotic or found.exponents[0] * seen.steps < TENFOLD:
        return
    largest = float(found.exponents[0])
    severity: Severity = "problem" if largest >= WILD else "warning"
    what = (
        f"The network is chaotic: a small change of the state doubles every "
        f"{number(math.log(2) / largest)} steps (largest Lyapunov exponent {number(largest)} ± "
        f"{number(found.error[0])}). Gradients over many steps explode."
    )
    advice = (
        f"multiply the recurrent weights by {number(math.exp(-largest))} or less; initialise them "
        "orthogonal; train with shorter sequences or k2 first."
    )
    yield Finding("chaos", severity, what, largest, advice)


def ignored(seen: Seen) -> Iterator[Finding]:
    """Inputs that do not move the loss."""
    if seen.memory is None or seen.memory.features.shape[1] != len(seen.spread):
        return  # inputs of several kinds, some without a gradient
    effect = np.nansum(seen.memory.features, 0) * seen.spread
    constant = np.flatnonzero(seen.spread == 0)
    if not effect.size or not np.isfinite(effect).all():
        return
    if effect.max() == 0:
        yield from _nothing_moves(seen, len(constant) == len(effect))
        return
    share = effect / effect.max()
    names = [int(i) for i in np.flatnonzero(share < IGNORED) if i not in constant]
    if names:
        what = (
            f"{_features(names)} of the inputs {'moves' if len(names) == 1 else 'move'} the loss "
            f"by less than {percent(IGNORED)} of what the strongest does: ignored."
        )
        advice = "leave it out, or see whether it is scaled as the others are."
        yield Finding("inputs ignored", "note", what, float(share[names].max()), advice)
    if len(constant):
        what = f"{_features(constant.tolist())} of the inputs is constant: it tells nothing."
        yield Finding("inputs constant", "note", what, 0.0, "leave it out.")


def _nothing_moves(seen: Seen, constant: bool) -> Iterator[Finding]:
    if seen.credit is None or not np.any(seen.credit.state):
        return  # there is no gradient at all, which is another finding
    what = "The inputs are constant." if constant else "No input moves the loss: all are ignored."
    advice = "see whether the inputs reach the state: input weights of zero, dead or closed units."
    yield Finding("inputs ignored", "problem", what, 0.0, advice)


def _features(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
    return f"Feature {shown}" if len(numbers) == 1 else f"Features {shown}"


def worst_curve(found: Saturation | None) -> tuple[str, float] | None:
    """The most saturated of the functions that states go through, if it is; and its share."""
    flat = [(n, s) for n, s in _shares(found) if n.startswith(CURVES) and s >= FLAT_CURVES[0]]
    return max(flat, key=lambda pair: pair[1]) if flat else None


def limits_of(name: str) -> tuple[float, float]:
    """The shares from which a function counts as saturated: warning, problem."""
    if name.startswith(CURVES):
        return FLAT_CURVES
    return FLAT_OTHERS if name.split(" ")[0] in FLAT else FLAT_SPIKES


def place_of(found: Saturation | None, name: str) -> str:
    """Where a function is applied, in brackets, as others may see it."""
    where = "" if found is None else places.told(found.where[found.names.index(name)])
    return f" ({where})" if where else ""


def _mostly_dead(found: Saturation | None, name: str) -> bool:
    """Whether units that are never active are what makes it flat: a finding of its own."""
    return found is not None and float(found.dead[name].mean()) >= DEAD[0]


def _shares(found: Saturation | None) -> list[tuple[str, float]]:
    if found is None:
        return []
    return [(name, float(share)) for name, share in zip(found.names, found.share, strict=True)]
