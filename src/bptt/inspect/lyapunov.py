"""Lyapunov exponents: how fast small changes of the state grow or fade, on average over time."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bptt.errors import ArgumentError
from bptt.inspect.charts import line_chart
from bptt.inspect.jacobian import matrices
from bptt.inspect.kinks import kinks
from bptt.inspect.models import subject
from bptt.inspect.showing import bars, noted, number, to_polars
from bptt.inspect.subject import Subject
from bptt.inspect.trajectory import Trajectory, follow

BLOCKS = 10  # of a sequence, whose means tell how far chance moves the mean over all of them
SHOWN = 5  # exponents in a chart or text
LEAST = 2 * BLOCKS  # steps: fewer give no error that means anything


@dataclass(frozen=True, eq=False, repr=False)
class Lyapunov:
    """Lyapunov exponents, in nats a step: a change of the state grows as exp(exponent * steps).

    Attributes:
        exponents: (N,) descending; above 0: chaos, small changes grow without end; -inf where a
            direction is forgotten within a step.
        history: (T', N) the estimate after each step that counts, step `warmup` (from 0) the first:
            whether it has settled.
        error: (N,) standard error of the mean over time and sequences; NaN beside -inf.
        warmup: steps at the beginning that do not count.
        units: numbers in a state, the length of the whole spectrum.
        notes: where the step has no derivative, so that figures are of what stands for it.
    """

    exponents: np.ndarray
    history: np.ndarray
    error: np.ndarray
    warmup: int
    units: int
    notes: tuple[str, ...] = ()

    @property
    def is_chaotic(self) -> bool:
        """Whether the largest exponent is above 0 by more than twice its error."""
        return bool(self.exponents[0] > 2 * self.error[0])

    def to_frame(self) -> Any:
        """A polars DataFrame: index, exponent, error."""
        index = np.arange(1, len(self.exponents) + 1)
        return to_polars({"index": index, "exponent": self.exponents, "error": self.error})

    def plot(self) -> Any:
        """An altair chart of how the estimates of the largest exponents went."""
        shown = self.history[:, :SHOWN]
        steps = np.arange(self.warmup, self.warmup + len(shown))
        frame = to_polars(
            {
                "step": np.repeat(steps, shown.shape[1]),
                "estimate": shown.flatten(),
                "exponent": np.tile(np.arange(1, shown.shape[1] + 1), len(shown)),
            }
        )
        title, titles = "Lyapunov exponents: how the estimate went", ("step", "nats a step")
        return line_chart(
            frame, "step", "estimate", "exponent", title, titles, mark="O", zero=False
        )

    def __repr__(self) -> str:
        pairs = zip(self.exponents[:SHOWN], self.error[:SHOWN], strict=True)
        first = ", ".join(
            number(value) + (f" ± {number(error)}" if np.isfinite(value) else "")
            for value, error in pairs
        )
        more = ", ..." if len(self.exponents) > SHOWN else ""
        verdict = "chaos: small changes grow" if self.is_chaotic else "small changes do not grow"
        lines = [
            f"Lyapunov exponents, nats a step: {first}{more}",
            f"  {verdict}; {len(self.exponents)} of {self.units}, from {len(self.history)} steps "
            f"after {self.warmup}",
            f"  estimate of the largest so far {bars(self.history[:, 0])} "
            f"({number(self.history[0, 0])} to {number(self.history[-1, 0])})",
        ]
        return "\n".join([*lines, *noted(self.notes)])


def lyapunov(
    model: Any,
    inputs: Any,
    *,
    state: Any = None,
    exponents: int | None = None,
    warmup: int | None = None,
    backend: str = "auto",
) -> Lyapunov:
    """Lyapunov exponents of a cell driven by given inputs, by the method of QR decompositions.

    N orthonormal changes of the state are carried on by each step's Jacobian and made orthonormal
    again, J_t Q_{t-1} = Q_t R_t; the exponents are the means of log |diag R_t| over time. Every
    sequence of the batch is a run of its own, and the figures are their mean.

    Args:
        model, inputs, state, backend: as for `bptt.inspect.credit`. Sequences of one length without
            resets, for the exponents are of a long run: the longer, the better (hundreds of steps).
        exponents: how many, the largest first; None: the whole spectrum.
        warmup: steps at the beginning that do not count, while the state settles and the changes
            turn into their directions; None: a tenth.

    Returns:
        `Lyapunov`: exponents with their errors, and how the estimate went. Of a step with corners,
        such as relu's, they are those of its pieces, as is usual; `notes` says where the way went
        over one exactly, and which functions have a stand-in for their derivative, as spikes do:
        then exponents are of what is learnt by, not of the network itself.

    Raises:
        What `bptt.unroll` raises for the same arguments.
        ArgumentError: fewer than 20 steps after the warm-up, more exponents than the state has
            numbers, a Jacobian that is no number.

    Source: Benettin, Galgani, Giorgilli & Strelcyn 1980, "Lyapunov characteristic exponents for
    smooth dynamical systems"; Shimada & Nagashima 1979, "A numerical approach to ergodic problem of
    dissipative dynamical systems"; for recurrent networks Engelken, Wolf & Abbott 2023, "Lyapunov
    spectra of chaotic recurrent neural networks".

    >>> import torch, bptt
    >>> def doubling(x, s):  # linear: the exponents are the logarithms of 2 and 1/2
    ...     return s * torch.tensor([2.0, 0.5])
    >>> found = lyapunov(doubling, torch.zeros(50, 1, 1), state=torch.zeros(1, 2))
    >>> found.exponents.round(4)
    array([ 0.6931, -0.6931])
    """
    given = subject(model, inputs, state=state, backend=backend)
    start = _warmup(given, warmup)
    path = follow(given)
    return spectrum(path, exponents, start, tuple(map(str, kinks(path))))


def spectrum(path: Trajectory, count: int | None, warmup: int, notes: tuple[str, ...]) -> Lyapunov:
    """The exponents along a trajectory of sequences of one length without resets."""
    units = path.units
    count = units if count is None else count
    whole = isinstance(count, int) and not isinstance(count, bool)
    if not whole or not 1 <= count <= units:
        raise ArgumentError(
            f"exponents: expected 1 to {units}, the numbers in a state, got {count!r}."
        )
    logs = stretches(path, count, notes)[warmup:].double()  # (T', B, N)
    history = logs.mean(1).cumsum(0) / torch.arange(1, len(logs) + 1)[:, None]
    order = history[-1].argsort(descending=True)
    return Lyapunov(
        exponents=history[-1][order].numpy(),
        history=history[:, order].numpy(),
        error=_error(logs)[order].numpy(),
        warmup=warmup,
        units=units,
        notes=notes,
    )


def stretches(path: Trajectory, count: int, notes: tuple[str, ...]) -> Tensor:
    """log |diag R_t|, (T, B, N), of N orthonormal changes that each step carries on.

    Raises:
        ArgumentError: a Jacobian that is no number.
    """
    batch = path.course.batch
    basis = _start(path.units, count).expand(batch, -1, -1)
    found = []
    for piece, jacobians in matrices(path, path.live):
        _check_finite(jacobians, piece.rows, batch, notes)
        for matrix in jacobians.double().split(batch):
            basis, triangle = torch.linalg.qr(matrix @ basis)
            found.append(triangle.diagonal(dim1=-2, dim2=-1).abs().log())
    return torch.stack(found)


def _start(units: int, count: int) -> Tensor:
    """(H, N) orthonormal directions that no cell is likely to treat specially."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(units, count, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(drawn).Q


def _error(logs: Tensor) -> Tensor:
    """(N,) standard error of the mean over (T, B, N), from blocks of steps.

    Neighbouring steps are alike, so it is blocks that count as independent; sequences may be alike,
    so it is their mean whose blocks are compared.
    """
    length = len(logs) // BLOCKS
    blocks = logs[-length * BLOCKS :].mean(1).unflatten(0, (BLOCKS, length)).mean(1)
    return blocks.std(0) / BLOCKS**0.5


def _warmup(given: Subject, warmup: int | None) -> int:
    """Steps that do not count."""
    steps = given.steps
    chosen = steps // 10 if warmup is None else warmup
    if not isinstance(chosen, int) or chosen < 0 or steps - chosen < LEAST:
        raise ArgumentError(
            f"warmup: expected a whole number that leaves at least {LEAST} of the {steps} steps to "
            f"average over, got {warmup!r}. Give longer inputs: hundreds of steps."
        )
    return chosen


def _check_finite(jacobians: Tensor, rows: Tensor, batch: int, notes: tuple[str, ...]) -> None:
    broken = (~jacobians.isfinite().flatten(1).all(1)).nonzero()
    if len(broken):
        step, sequence = divmod(int(rows[broken[0, 0]]), batch)
        why = notes or ("bptt.inspect.diagnose says where the state stops being a number.",)
        raise ArgumentError(
            f"inputs: the Jacobian at step {step} of sequence {sequence} is not finite, so there "
            f"is no rate. {' '.join(why)}"
        )
