"""How wrong a truncated gradient is, for a range of steps to go back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bptt.errors import ArgumentError
from bptt.inspect.charts import SIDE, thinned
from bptt.inspect.losses import Loss
from bptt.inspect.models import subject
from bptt.inspect.passage import Run, run
from bptt.inspect.showing import bars, noted, number, optional, plural, to_polars
from bptt.inspect.subject import Lengths, whole_numbers
from bptt.inspect.trajectory import check_some
from bptt.methods import Full, Method, Truncated


@dataclass(frozen=True, eq=False, repr=False)
class Truncation:
    """Bias and direction of truncated gradients g_K against the exact gradient g.

    Attributes:
        k1: steps between two ways back.
        k2: (n,) steps that each goes back.
        bias: (n,) ||g_K - g|| / ||g|| over all parameters.
        cosine: (n,) between g_K and g.
        parameters: by name (n, 2) the same for each: bias, cosine.
        chunked: (n, 2) bias and cosine of what is often done instead: the sequence cut into chunks
            of k2 steps, the state detached between them.
        notes: where the step has no derivative, so that gradients are of what stands for it.
    """

    k1: int
    k2: np.ndarray
    bias: np.ndarray
    cosine: np.ndarray
    parameters: dict[str, np.ndarray]
    chunked: np.ndarray
    notes: tuple[str, ...] = ()

    def to_frame(self) -> Any:
        """A polars DataFrame: k2, gradient ("all", "chunked" or a parameter), bias, cosine."""
        both = np.stack([self.bias, self.cosine], 1)
        parts = {"all": both, "chunked": self.chunked, **self.parameters}
        whole = np.concatenate(list(parts.values()))
        return to_polars(
            {
                "k2": np.tile(self.k2, len(parts)),
                "gradient": np.repeat(list(parts), len(self.k2)),
                "bias": whole[:, 0],
                "cosine": whole[:, 1],
            }
        )

    def plot(self) -> Any:
        """An altair chart: bias by the number of steps to go back."""
        alt = optional("altair")
        frame, _ = thinned(self.to_frame(), "k2")
        x = alt.X("k2:Q", scale=alt.Scale(type="log", nice=False), title="steps back, k2")
        return (
            alt.Chart(frame, title="Bias of a truncated gradient", width=SIDE, height=260)
            .mark_line(point=True)
            .encode(
                x=x,
                y=alt.Y("bias:Q", title="||g_K - g|| / ||g||"),
                color=alt.Color("gradient:N", sort=None, scale=alt.Scale(scheme="tableau10")),
                tooltip=[
                    "k2", "gradient", alt.Tooltip("bias", format=".3g"),
                    alt.Tooltip("cosine", format=".3g"),
                ],
            )
        )  # fmt: skip

    def __repr__(self) -> str:
        enough = np.flatnonzero(self.bias < 0.1)
        head = (
            f"going back {plural(int(self.k2[enough[0]]), 'step')} is enough for a bias below 10 %"
            if len(enough)
            else f"none of up to {self.k2[-1]} steps back brings the bias below 10 %"
        )
        every = "step" if self.k1 == 1 else f"{self.k1} steps"
        row_of = "  {:<7} {:<10} {:<10} {}".format
        lines = [f"Truncation, every {every}: {head}", row_of("k2", "bias", "cosine", "chunked")]
        for row, k2 in enumerate(self.k2):
            own = number(self.bias[row]), number(self.cosine[row]), number(self.chunked[row, 0])
            lines.append(row_of(k2, *own))
        return "\n".join([*lines, f"  bias {bars(self.bias)}", *noted(self.notes)])


def truncation(
    model: Any,
    inputs: Any,
    loss: Loss | None = None,
    *,
    targets: Any = None,
    k1: int = 1,
    k2: Sequence[int] | None = None,
    state: Any = None,
    lengths: Lengths = None,
    reset: Tensor | None = None,
    reset_state: Any = None,
    reverse: bool = False,
    unit: int | None = None,
    backend: str = "auto",
) -> Truncation:
    """Compare gradients of `bptt.Truncated(k1, k2)` with the exact one, E the sum of all E_t.

    Args:
        model, inputs, loss, targets, state, lengths, reset, reset_state, reverse, backend: as for
            `bptt.inspect.credit`.
        k1: steps between two ways back.
        k2: steps to go back, each at least k1; None: powers of two from k1 on, and all steps.
        unit: a number of the state, in place of loss and targets: E_t = s_t[unit].

    Raises:
        ArgumentError: a k2 below k1, a model without parameters; and what `credit` raises.

    >>> import torch, bptt
    >>> cell = bptt.cells.GRU(2, 4)
    >>> found = truncation(cell, torch.randn(9, 3, 2), lambda s: s.square())
    >>> found.k2.tolist(), float(found.bias[-1].round(3)), float(found.cosine[-1].round(3))
    ([1, 2, 4, 8, 9], 0.0, 1.0)
    """
    given = subject(
        model, inputs, state=state, lengths=lengths, reset=reset, reset_state=reset_state,
        reverse=reverse, backend=backend,
    )  # fmt: skip
    methods = [Truncated(k1, k) for k in _range(k1, k2, given.steps)]
    check_some(given.counts())
    ran = run(given, loss, targets, unit)
    if not ran.names:
        raise ArgumentError(
            "model: expected parameters that need a gradient, got none. Truncation changes their "
            "gradient alone; `bptt.inspect.decay` looks at the state's."
        )
    exact = _gradient(ran, Full())
    found = [_compared(_gradient(ran, method), exact) for method in methods]
    chunks = [_compared(_gradient(ran, Truncated(m.k2, m.k2)), exact)[0] for m in methods]
    whole = np.array([together for together, _ in found])
    apart = np.array([each for _, each in found])
    return Truncation(
        k1, np.array([m.k2 for m in methods]), whole[:, 0], whole[:, 1],
        {name: apart[:, i] for i, name in enumerate(ran.names)}, np.array(chunks), ran.notes,
    )  # fmt: skip


def _range(k1: int, k2: Sequence[int] | None, steps: int) -> list[int]:
    if k2 is None:
        first = k1 if isinstance(k1, int) else 1
        powers = (first << i for i in range(steps.bit_length()))
        return [*(k for k in powers if k < steps), max(steps, first)]
    found = whole_numbers(k2)
    if not found:
        raise ArgumentError(f"k2: expected whole numbers of steps to go back, got {k2!r}.")
    return sorted(set(found))


def _gradient(ran: Run, method: Method) -> list[Tensor]:
    """In float64, zero where nothing arrives."""
    sources = ran.passage.replica.sources
    return [
        torch.zeros_like(source).double() if g is None else g.double()
        for g, source in zip(ran.gradient(method), sources, strict=True)
    ]


def _compared(
    found: list[Tensor], exact: list[Tensor]
) -> tuple[tuple[float, float], list[tuple[float, float]]]:
    """Bias and cosine, over all parameters and for each."""
    each = [_pair(a.flatten(), b.flatten()) for a, b in zip(found, exact, strict=True)]
    whole = (torch.cat([leaf.flatten() for leaf in leaves]) for leaves in (found, exact))
    return _pair(*whole), each


def _pair(found: Tensor, exact: Tensor) -> tuple[float, float]:
    """||g_K - g|| / ||g|| and the cosine; 0 and 1 where both are 0."""
    size, own = float(exact.norm()), float(found.norm())
    if size == 0 and own == 0:
        return 0.0, 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        bias = np.float64(float((found - exact).norm())) / size
        cosine = np.float64(float(found @ exact)) / (size * own)
    return float(bias), float(cosine)
