"""A credit map as text: the answer first, then the map in shades."""

from typing import TYPE_CHECKING

import numpy as np

from bptt.inspect.showing import noted, number, plural

if TYPE_CHECKING:
    from bptt.inspect.credit import Credit

SHADES = " ·░▒▓█"
ROWS, COLUMNS = 12, 60
DECADES = 5  # powers of ten from the darkest shade to none
FELT = 0.1  # of what it is at its largest: so far an error is said to be felt


def described(credit: "Credit") -> str:
    """Text for a terminal."""
    times, steps = len(credit.times), len(credit.steps)
    batch = credit.per_sequence.shape[2]
    counts = plural(times, "loss time"), plural(steps, "step"), plural(batch, "sequence")
    lines = ["Credit of {} over {}, {}".format(*counts), _answer(credit)]
    shares = _shares(credit.parameters)
    if shares:
        lines.append(f"  parameters by size of their terms: {shares}")
    lines += ["  blame of step k (across) for E_t (down), each row by its own largest:"]
    return "\n".join([*lines, *_map(credit), *noted(credit.notes)])


def _answer(credit: "Credit") -> str:
    broken = np.argwhere(~np.isfinite(credit.per_sequence))
    if len(broken):
        row, step, sequence = broken[0]
        return (
            f"  dE_t/ds_k is no number: first at t = {credit.times[row]}, k = {step}, "
            f"sequence {sequence}"
        )
    lags = by_lag(credit.state, credit.times)
    if not lags.any():
        return "  no error reaches the state"
    felt = np.flatnonzero(lags >= FELT * lags.max())[-1]
    if felt == len(lags) - 1:
        return f"  an error is felt all of {plural(int(felt), 'step')} back"
    said = f"  an error is felt {plural(int(felt), 'step')} back; further, it is below"
    return f"{said} {FELT * 100:g} % of its most"


def by_lag(state: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(T,) the mean over loss times of what is |t - k| = j steps away."""
    steps = np.arange(state.shape[1])
    lags = np.abs(times[:, None] - steps)
    sums = np.bincount(lags.ravel(), state.ravel(), len(steps))
    used = np.bincount(lags[state > 0], minlength=len(steps))
    return sums / np.maximum(used, 1)


def _shares(parameters: dict[str, np.ndarray]) -> str:
    """The largest few parameters, with the norm over all their terms."""
    sizes = {name: float(np.linalg.norm(norms)) for name, norms in parameters.items()}
    best = sorted(sizes, key=lambda name: -sizes[name])[:4]
    return ", ".join(f"{name} {number(sizes[name])}" for name in best)


def _map(credit: "Credit") -> list[str]:
    rows = np.array_split(np.arange(len(credit.times)), min(ROWS, len(credit.times)))
    columns = np.array_split(credit.steps, min(COLUMNS, len(credit.steps)))
    lines = []
    for row in rows:
        time = int(row[-1])
        own = np.array([np.nan_to_num(credit.state[time, c]).max() for c in columns])
        lines.append(f"  t = {credit.times[time]:>5} |{_shaded(own)}|")
    return lines


def _shaded(values: np.ndarray) -> str:
    largest = values.max()
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = 1 + np.log10(values / largest) / DECADES
    levels = np.where(values > 0, np.clip(levels, 0, 1), 0)
    return "".join(SHADES[round(level * (len(SHADES) - 1))] for level in levels)
