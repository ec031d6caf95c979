"""How much of each non-linearity works in its flat part, where no gradient gets through."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bptt import places
from bptt.errors import ArgumentError
from bptt.inspect.charts import line_chart
from bptt.inspect.models import subject
from bptt.inspect.nonlinearity import Site, sites, slopes
from bptt.inspect.showing import bars, percent, to_polars
from bptt.inspect.trajectory import Trajectory, follow

# A slope below a tenth of the largest counts as flat: a tanh beyond 1.82, whose output is above
# 0.949. Ten such steps leave less than 1e-10 of an error.
THRESHOLD = 0.1
NUMBERS = 8_000_000  # that all non-linearities together may hold at a time


@dataclass(frozen=True, eq=False, repr=False)
class Saturation:
    """The share of units in the flat part of each non-linearity, over all steps that count.

    Attributes:
        names: of the non-linearities: the function, and what it is applied to where the code says.
        where: for each the file (its path on this machine) and line that apply it; "" where only
            torch's own code does. Texts and tables show it without the folders of this machine.
        code: for each that line.
        share: (n,) share of numbers whose |slope| is below the threshold.
        units: by name (U,), the same for each unit; where gates are computed together, all of them.
        steps: by name (T,), the same for each step, from 0; NaN where no sequence is as long.
        dead: by name (U,), whether the slope was exactly 0 all the time: a unit that never learns.
        threshold: flat is what has less than this share of the function's largest |slope|.
    """

    names: tuple[str, ...]
    where: tuple[str, ...]
    code: tuple[str, ...]
    share: np.ndarray
    units: dict[str, np.ndarray]
    steps: dict[str, np.ndarray]
    dead: dict[str, np.ndarray]
    threshold: float

    def unit(self, number: int) -> dict[str, float]:
        """The share of steps in the flat part, of one unit in each non-linearity that has it.

        Raises:
            ArgumentError: a unit that none of them has.
        """
        most = max((len(shares) for shares in self.units.values()), default=0)
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < most:
            sizes = ", ".join(f"{len(self.units[n])} of {n}" for n in self.names)
            raise ArgumentError(
                f"unit: expected a whole number from 0 to {most - 1}, one of the units ({sizes}), "
                f"got {number!r}."
            )
        return {n: float(s[number]) for n, s in self.units.items() if number < len(s)}

    def to_frame(self) -> Any:
        """A polars DataFrame, a row for each unit: name, where, unit, share, dead."""
        sizes = [len(self.units[name]) for name in self.names]
        shares = [np.zeros(0), *(self.units[name] for name in self.names)]
        return to_polars(
            {
                "name": np.repeat(self.names, sizes).tolist(),
                "where": np.repeat([places.told(w) for w in self.where], sizes).tolist(),
                "unit": [unit for size in sizes for unit in range(size)],
                "share": np.concatenate(shares),
                "dead": [bool(dead) for name in self.names for dead in self.dead[name]],
            }
        )

    def plot(self) -> Any:
        """An altair chart: the share of flat units at each step."""
        steps = [np.arange(len(self.steps[name])) for name in self.names]
        frame = to_polars(
            {
                "step": np.concatenate([np.zeros(0, int), *steps]),
                "share": np.concatenate([np.zeros(0), *(self.steps[n] for n in self.names)]),
                "name": [name for name in self.names for _ in self.steps[name]],
            }
        )
        title, titles = "Units in the flat part of each function", ("step t", "share of units")
        return line_chart(frame, "step", "share", "name", title, titles)

    def __repr__(self) -> str:
        if not self.names:
            return "Saturation: the step has no function with a flat part."
        size = max(map(len, self.names))
        lines = [f"Saturation: units whose slope is below {percent(self.threshold)} of the largest"]
        for i, name in enumerate(self.names):
            dead = int(self.dead[name].sum())
            said = f", {dead} of {len(self.dead[name])} units dead" if dead else ""
            place = f"  {places.told(self.where[i])}" if self.where[i] else ""
            shown = f"{percent(self.share[i]):>6}  by step {bars(self.steps[name], 30)}"
            lines.append(f"  {name:<{size}} {shown}{said}{place}")
        return "\n".join(lines)


def saturation(
    model: Any,
    inputs: Any,
    *,
    state: Any = None,
    lengths: Any = None,
    reset: Tensor | None = None,
    reset_state: Any = None,
    reverse: bool = False,
    backend: str = "auto",
    threshold: float = THRESHOLD,
) -> Saturation:
    """Find a cell's non-linearities and say how often each is in its flat part.

    The step is traced, so any cell's are found, whatever it is called: torch's pointwise functions
    with a flat part (tanh, sigmoid, relu, hardtanh, clamp, softplus, silu, gelu, elu, ...) applied
    to what depends on inputs or state, and any `torch.autograd.Function` that works number by
    number, such as a spike's. Their slopes are autograd's.

    Args:
        model, inputs, state, lengths, reset, reset_state, reverse, backend: as for
            `bptt.inspect.credit`.
        threshold: flat is a |slope| below this share of the function's largest.

    Returns:
        `Saturation`; with no names where the step has no such function.

    Raises:
        What `bptt.unroll` raises for the same arguments.
        ArgumentError: a threshold that is no share.
        CellError: a step that cannot be traced, because Python looks at its data, say.

    Source: Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural
    networks"; for gates Karpathy, Johnson & Fei-Fei 2015, "Visualizing and understanding recurrent
    networks".

    >>> import torch, bptt
    >>> found = saturation(bptt.cells.LSTM(2, 3), torch.zeros(5, 1, 2))
    >>> found.names
    ('sigmoid f', 'sigmoid i', 'tanh g', 'sigmoid o', 'tanh')
    >>> found.share
    array([0., 0., 0., 0., 0.])
    """
    given = subject(
        model,
        inputs,
        state=state,
        lengths=lengths,
        reset=reset,
        reset_state=reset_state,
        reverse=reverse,
        backend=backend,
    )
    return saturated(follow(given), threshold)


def saturated(
    path: Trajectory,
    threshold: float = THRESHOLD,
    wanted: Tensor | None = None,
    known: list[Site] | None = None,
) -> Saturation:
    """The same along a trajectory, over some of its rows (T, B), where `sites` are known or not."""
    if not isinstance(threshold, float) or not 0 < threshold < 1:
        raise ArgumentError(f"threshold: expected a share between 0 and 1, got {threshold!r}.")
    known = sites(path) if known is None else known
    tallies = [_Tally(path, site, threshold) for site in known]
    wanted = path.live if wanted is None else wanted & path.live
    most = NUMBERS // max(1, len(tallies) * max(1, path.units))
    for piece in path.pieces(wanted, most) if tallies else ():
        for tally, slope in zip(tallies, slopes(path, piece, known), strict=True):
            tally.add(slope, piece.rows, wanted)
    return _collected(tallies, threshold)


class _Tally:
    """Counts of one non-linearity.

    Attributes:
        flat: (U,) how often each unit was flat.
        zero: (U,) whether its slope was 0 whenever it was looked at.
        rows: (T, B) share of flat units; NaN where not looked at.
    """

    def __init__(self, path: Trajectory, site: Site, threshold: float) -> None:
        self.path, self.site, self.least = path, site, threshold * site.steepest
        self.flat = self.zero = torch.zeros(0)
        self.rows = torch.full(path.live.shape, torch.nan, dtype=torch.float64)

    def add(self, slope: Tensor, rows: Tensor, wanted: Tensor) -> None:
        """Count the wanted ones of a piece's rows; slope (N, U)."""
        chosen = wanted.flatten()[rows]
        slope, rows = slope[chosen], rows[chosen]
        flat = slope < self.least
        if not len(self.flat):
            self.flat = torch.zeros(slope.shape[1], dtype=torch.int64)
            self.zero = torch.ones(slope.shape[1], dtype=torch.bool)
        self.flat += flat.sum(0)
        self.zero &= (slope == 0).all(0)
        self.rows.view(-1)[rows] = flat.double().mean(1)


def _collected(tallies: list[_Tally], threshold: float) -> Saturation:
    names = tuple(tally.site.name for tally in tallies)
    rows = [tally.rows for tally in tallies]
    counts = [int((~part.isnan()).sum()) for part in rows]
    pairs = list(zip(names, tallies, strict=True))
    return Saturation(
        names=names,
        where=tuple(tally.site.where for tally in tallies),
        code=tuple(tally.site.code for tally in tallies),
        share=np.array([float(part.nanmean()) for part in rows]),
        units={n: (t.flat / c).numpy() for (n, t), c in zip(pairs, counts, strict=True)},
        steps={name: tally.path.in_time(tally.rows).nanmean(1).numpy() for name, tally in pairs},
        dead={name: tally.zero.numpy() for name, tally in pairs},
        threshold=threshold,
    )
