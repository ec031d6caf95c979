"""How one step carries a small change of the state on: J_t = ds_t/ds_{t-1} at every step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bptt.errors import ArgumentError
from bptt.inspect.charts import line_chart
from bptt.inspect.kinks import kinks
from bptt.inspect.models import subject
from bptt.inspect.pull import pull
from bptt.inspect.showing import bars, noted, number, optional, plural, to_polars
from bptt.inspect.single import number as number_of
from bptt.inspect.single import start
from bptt.inspect.trajectory import Piece, Trajectory, follow
from bptt.step import Leaves

# What the Jacobians held at a time may take: enough rows that torch's cost of an operation does not
# count, and little beside what training itself takes.
BYTES = 64_000_000
# Rows up to which all H ways back through a step go side by side, instead of one after the other.
WIDE = 4096


@dataclass(frozen=True, eq=False, repr=False)
class Jacobians:
    """The size of J_t = ds_t/ds_{t-1}, for each step and sequence; NaN beyond a sequence's length.

    Attributes:
        steps: (T,) the steps, from 0.
        norm: (T, B) largest singular value: the most that a change of the state can grow.
        singular_values: (T, B, N) all of them, descending; None if not kept.
        spectral_radius: (T, B) largest |eigenvalue|: what growth would tend to if each step were
            like this one.
        live: (T, B) which steps count and were looked at.
        reset: (T, B) where a sequence starts afresh: there J_t = 0.
        unit: whose row of J_t alone was looked at; None: the whole matrix.
        notes: where the step has no derivative, so that figures are of what stands for it.
    """

    steps: np.ndarray
    norm: np.ndarray
    singular_values: np.ndarray | None
    spectral_radius: np.ndarray
    live: np.ndarray
    reset: np.ndarray
    unit: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def broken(self) -> tuple[int, int] | None:
        """The first step and sequence whose Jacobian is no number; None if all are."""
        found = np.argwhere(self.live & ~np.isfinite(self.norm))
        return (int(found[0][0]), int(found[0][1])) if len(found) else None

    def to_frame(self) -> Any:
        """A polars DataFrame: step, sequence, quantity, value; where a step counts."""
        quantities = {"norm": self.norm, "spectral radius": self.spectral_radius}
        if self.singular_values is not None:
            values = np.moveaxis(self.singular_values, -1, 0)
            quantities |= {f"singular value {i + 1}": v for i, v in enumerate(values)}
        steps, sequences = np.nonzero(self.live)
        return to_polars(
            {
                "step": np.tile(self.steps[steps], len(quantities)),
                "sequence": np.tile(sequences, len(quantities)),
                "quantity": np.repeat(list(quantities), len(steps)),
                "value": np.concatenate([part[self.live] for part in quantities.values()]),
            }
        )

    def plot(self) -> Any:
        """An altair chart: mean norm and spectral radius of each step."""
        polars = optional("polars")
        frame = self.to_frame().filter(~polars.col("quantity").str.starts_with("singular"))
        means = frame.group_by("step", "quantity", maintain_order=True).agg(polars.mean("value"))
        title, titles = "Jacobian of each step, mean over sequences", ("step t", "of ds_t/ds_(t-1)")
        return line_chart(means, "step", "value", "quantity", title, titles)

    def __repr__(self) -> str:
        steps, batch = self.live.shape
        count = f"{plural(steps, 'step')}, {plural(batch, 'sequence')}"
        whose = "ds_t" if self.unit is None else f"ds_t[{self.unit}]"
        lines = [f"Jacobians {whose}/ds_(t-1): {count}"]
        for name, part in (("norm", self.norm), ("spectral radius", self.spectral_radius)):
            known = part[np.isfinite(part)]
            if len(known):
                low, middle, high = np.quantile(known, (0.05, 0.5, 0.95))
                span = f"(5 to 95 %: {number(low)} to {number(high)})"
                lines.append(
                    f"  {name:<16} {number(middle)} {span}, by step {bars(_by_step(part))}"
                )
        if self.broken is not None:
            lines.append("  not finite at step {}, sequence {}, first".format(*self.broken))
        return "\n".join([*lines, *noted(self.notes)])


def jacobians(
    model: Any,
    inputs: Any,
    *,
    state: Any = None,
    lengths: Any = None,
    reset: Tensor | None = None,
    reset_state: Any = None,
    reverse: bool = False,
    backend: str = "auto",
    singular_values: bool = True,
    unit: int | None = None,
) -> Jacobians:
    """Norm, singular values and spectral radius of the step's Jacobian along the way it went.

    The state's floating leaves are one vector of N numbers, side by side, layers and all. States
    are found by one unroll; then every step is independent, and all of them are differentiated as
    the rows of a few large batches. Steps are counted from 0, as torch's indices are: J_0 is
    ds_0/d(what the sequence starts from).

    Args:
        model, inputs, state, lengths, reset, reset_state, reverse, backend: as for
            `bptt.inspect.credit`.
        singular_values: whether to keep all, not the largest alone.
        unit: one of the N numbers, to look at its row of J_t alone: `norm` is then that of
            ds_t[unit]/ds_{t-1}, how strongly the unit hears the state, and `spectral_radius` the
            size of ds_t[unit]/ds_{t-1}[unit], how much of itself it keeps.

    Returns:
        `Jacobians`; a step at which a sequence is reset has J = 0, for nothing gets through. Where
        a step has no derivative, such as relu at exactly 0, J is what autograd takes for it, NaN
        where it has nothing; `notes` names the function, the line and the first time.

    Raises:
        What `bptt.unroll` raises for the same arguments.
        ArgumentError: a unit that the state has not; a state of whole numbers alone.
        CellError: a cell whose rows depend on each other.

    Source: Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural
    networks": a product of Jacobians whose largest singular values stay below 1 must vanish.

    >>> import torch, bptt
    >>> cell = bptt.cells.Elman(2, 3, bias=False)  # at s = 0, x = 0: J = Ws
    >>> found = jacobians(cell, torch.zeros(5, 1, 2))
    >>> found.norm.shape, found.singular_values.shape
    ((5, 1), (5, 1, 3))
    >>> print(f"{abs(found.norm[0, 0] - torch.linalg.matrix_norm(cell.Ws, 2).item()):.4f}")
    0.0000
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
    chosen = None if unit is None else number_of(unit, start(given))
    path = follow(given)
    found = measured(path, singular_values=singular_values, unit=chosen)
    return replace(found, notes=tuple(map(str, kinks(path))))


def _by_step(part: np.ndarray) -> np.ndarray:
    """(T,) mean over the sequences whose number is finite; NaN where there is none."""
    known = np.isfinite(part)
    sums = np.where(known, part, 0.0).sum(1)
    return np.where(known.any(1), sums / np.maximum(known.sum(1), 1), np.nan)


def measured(
    path: Trajectory,
    wanted: Tensor | None = None,
    *,
    singular_values: bool = False,
    unit: int | None = None,
) -> Jacobians:
    """The Jacobians along a trajectory, or at some of its rows (T, B), NaN elsewhere."""
    wanted = path.live if wanted is None else wanted & path.live
    count = path.units if singular_values and unit is None else 1
    singular = torch.full((*path.live.shape, count), torch.nan, dtype=torch.float64)
    radius = torch.full(path.live.shape, torch.nan, dtype=torch.float64)
    own = _radius if unit is None else partial(_kept, unit=unit)
    for piece, found in matrices(path, wanted & ~path.reset, unit):
        singular.flatten(0, 1)[piece.rows] = _where_finite(torch.linalg.svdvals, found)[:, :count]
        radius.flatten()[piece.rows] = _where_finite(own, found)[:, 0]
    singular[path.reset], radius[path.reset] = 0.0, 0.0
    parts = (singular, radius, wanted, path.reset)
    singular, radius, wanted, reset = (path.in_time(part) for part in parts)
    live = wanted & path.live  # what lies beyond a length comes last in either order
    singular[~live], radius[~live] = torch.nan, torch.nan
    return Jacobians(
        steps=np.arange(len(radius)),
        norm=singular[..., 0].numpy(),
        singular_values=singular.numpy() if singular_values else None,
        spectral_radius=radius.numpy(),
        live=live.numpy(),
        reset=(reset & live).numpy(),
        unit=unit,
    )


def _radius(matrices: Tensor) -> Tensor:
    """(N, 1) largest absolute eigenvalues."""
    return torch.linalg.eigvals(matrices).abs().amax(-1, keepdim=True)


def _kept(rows: Tensor, unit: int) -> Tensor:
    """(N, 1) how much of itself a unit keeps, of its rows (N, 1, H)."""
    return rows[:, :, unit].abs()


def _where_finite(of: Callable[[Tensor], Tensor], matrices: Tensor) -> Tensor:
    """Figures of each matrix (N, ...), NaN where it has a number that is none."""
    finite = matrices.isfinite().flatten(1).all(1)
    figures = of(matrices.where(finite[:, None, None], 0.0)).double()
    figures[~finite] = torch.nan
    return figures


def matrices(
    path: Trajectory, wanted: Tensor, unit: int | None = None
) -> Iterator[tuple[Piece, Tensor]]:
    """J_t of the wanted rows (T, B), piece by piece: (N, H, H), [n, i, j] = ds_t[i]/ds_{t-1}[j].

    Of a unit its row alone: (N, 1, H).

    Raises:
        ArgumentError: the state has no floating numbers.
    """
    if not path.units:
        raise ArgumentError(
            "state: expected floating numbers to differentiate, got leaves of "
            f"{', '.join(str(leaf.dtype).removeprefix('torch.') for leaf in path.before)} alone."
        )
    size = path.before[path.real[0]].element_size()
    for piece in path.pieces(wanted, BYTES // (path.units**2 * size)):
        yield piece, _matrix(path, piece, unit)


def _matrix(path: Trajectory, piece: Piece, unit: int | None) -> Tensor:
    """J_t of a piece's rows, (N, H, H), or (N, 1, H)."""
    of = path.before[path.real[0]]
    wanted = torch.eye(path.units, dtype=of.dtype, device=of.device)
    wanted = wanted if unit is None else wanted[unit : unit + 1]
    many, few = len(wanted), len(piece.rows)
    if path.apart or few * many > WIDE:
        after, before = _ways_back(path, piece)
        found = [_way_back(after, before, one.to(after).expand_as(after)) for one in wanted]
        return torch.stack(found, 1)
    after, before = _ways_back(path, _repeated(piece, many))
    return _way_back(after, before, wanted.to(after).repeat(few, 1)).view(few, many, path.units)


def _ways_back(path: Trajectory, piece: Piece) -> tuple[Tensor, Tensor]:
    """s_t and s_{t-1} of the rows, as vectors (N, H), the first with its graph."""
    with torch.enable_grad():
        before = flat(path, piece.before).requires_grad_()
        _, after = path.again(piece, unflat(path, before, piece.before))
        return flat(path, after), before


def _way_back(after: Tensor, before: Tensor, adjoint: Tensor) -> Tensor:
    """adjoint^T J; zero where the state before is not looked at."""
    if not after.requires_grad:
        return torch.zeros_like(after)
    (found,) = pull([after], [before], [adjoint], keep=True)
    return torch.zeros_like(after) if found is None else found


def _repeated(piece: Piece, times: int) -> Piece:
    """Every row so many times, one after the other."""
    parts = (piece.inputs, piece.before, piece.after)
    inputs, before, after = ([leaf.repeat_interleave(times, 0) for leaf in p] for p in parts)
    rows = piece.rows.repeat_interleave(times)
    return Piece(rows, inputs, before, after, piece.step)


def flat(path: Trajectory, state: Leaves) -> Tensor:
    """The floating leaves of a state side by side, (N, H)."""
    return torch.cat([state[i].flatten(1) for i in path.real], 1)


def unflat(path: Trajectory, vector: Tensor, state: Leaves) -> Leaves:
    """A state with the numbers of a vector; integer leaves as they are in `state`."""
    leaves, start = list(state), 0
    for i in path.real:
        size = state[i][0].numel()
        leaves[i] = vector[:, start : start + size].view(state[i].shape).to(state[i].dtype)
        start += size
    return leaves
