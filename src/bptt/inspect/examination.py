"""All inspections of one sample, as far as they can be done."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bptt.errors import ArgumentError, BackendError, CellError
from bptt.inspect.breakage import first_breakage
from bptt.inspect.credit import credit
from bptt.inspect.decay import decay
from bptt.inspect.finding import Seen
from bptt.inspect.glimpse import first_steps
from bptt.inspect.jacobian import measured
from bptt.inspect.kinks import kinks
from bptt.inspect.losses import Loss, Losses, StepLoss
from bptt.inspect.lyapunov import LEAST, Lyapunov, lyapunov
from bptt.inspect.memory import memory
from bptt.inspect.sample import Sample, rows_of, targets_of
from bptt.inspect.saturation import saturated
from bptt.inspect.trajectory import Trajectory, follow
from bptt.inspect.travel import GROWN, growth_of
from bptt.inspect.truncation import truncation
from bptt.methods import Method, Truncated

EFFORT = 2.5e8  # rows times H^3 whose eigenvalues are found in about a second
MOST = 256  # rows: more do not move a median
GROWTH = 1e10  # rows times H^3 whose growth is followed in a few seconds
TIMES = 64  # loss times that are taken back: more do not move their mean
RUNS, EXPONENTS = 2, 8  # sequences and exponents that are followed


class Examination:
    """The results of a sample.

    Attributes:
        results: by name credit, decay, truncation, memory, jacobians, lyapunov, saturation; None
            where there is none.
        missing: by name, why not.
        losses: (T,) E_t; empty where the state is no number.
    """

    def __init__(self, part: Sample, loss: Loss | None, method: Method | None) -> None:
        self.part, self.given_loss = part, loss
        self.loss = StepLoss(part.given, loss, part.targets)
        self.method = method if isinstance(method, Truncated) else None
        self.missing: dict[str, str] = {}
        self.path = follow(part.given)
        self.breakage = first_breakage(self.path)
        self.losses = np.zeros(0)
        self.results = self._units() | self._travel()

    def seen(self) -> Seen:
        """What rules are told."""
        part = self.part
        seen = Seen(
            steps=part.given.steps, start=part.start, sequences=part.sequences,
            breakage=self.breakage, reverse=part.given.reverse, method=self.method,
            losses=self.losses, norms=np.zeros(0), largest=_largest(self.path),
            spread=_spread(self.path), kinks=kinks(self.path), **self.results,
        )  # fmt: skip
        growth = growth_of(seen)
        grown = [] if growth is None else np.flatnonzero(growth > GROWN)
        return seen._replace(norms=self._norms(int(grown[0]))) if len(grown) else seen

    def _units(self) -> dict[str, Any]:
        """What is asked of each step by itself, and of all in a row."""
        some = _some(self.path)
        return {
            "jacobians": self._try("jacobians", lambda: measured(self.path, some)),
            "saturation": self._try("saturation", lambda: saturated(self.path)),
            "lyapunov": self._unless_broken("lyapunov", self._exponents),
        }

    def _travel(self) -> dict[str, Any]:
        """What is asked of the way back from losses; a loss that does not do is an error."""
        if self.breakage is not None:
            names = ("credit", "decay", "truncation", "memory")
            return {name: self._unless_broken(name, lambda: None) for name in names}
        losses = self._losses()
        times = _times(losses)
        found = {"credit": self._on_sample(credit, times=times, parameters=False)}
        if not np.isfinite(self.losses).all():
            self.missing |= dict.fromkeys(
                ("decay", "truncation", "memory"), "The loss is no number."
            )
            return found | dict.fromkeys(("decay", "truncation", "memory"))
        k1 = {} if self.method is None else {"k1": self.method.k1}
        return found | {
            "decay": self._try("decay", lambda: self._on_sample(decay, times=times)),
            "truncation": self._try("truncation", lambda: self._on_sample(truncation, **k1)),
            "memory": self._try("memory", lambda: self._on_sample(memory, times=times)),
        }

    def _losses(self) -> Losses:
        """Of all steps."""
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            outputs, _ = self.part.given.unroll()
        found = self.loss.at(outputs)
        self.losses = found.rows.sum(1).double().numpy()
        return found

    def _on_sample(self, of: Callable[..., Any], **more: Any) -> Any:
        given = self.part.given
        return of(given.cell, loss=self.loss.rows, **given.arguments(), **more)

    def _try(self, name: str, of: Callable[[], Any]) -> Any:
        """A result; None, and why, for a cell or batch that it cannot be had of."""
        try:
            return of()
        except (ArgumentError, BackendError, CellError) as error:
            self.missing[name] = str(error)
            return None

    def _unless_broken(self, name: str, of: Callable[[], Any]) -> Any:
        if self.breakage is None:
            return self._try(name, of)
        self.missing[name] = "The state is no number at some step."
        return None

    def _exponents(self) -> Lyapunov:
        """Of the longest sequences, from their first steps."""
        given = self.part.given
        if given.reset is not None and bool(given.reset.any()):
            raise ArgumentError("Lyapunov exponents are of a run without resets.")
        chosen = given.counts().argsort(descending=True, stable=True)[:RUNS]
        most = int(GROWTH / self.path.units**3 / len(chosen))
        end = int(given.counts()[chosen].min())
        if min(most, end) < 2 * LEAST:
            have = f"only {end}" if end < most else f"time for {most} (H = {self.path.units})"
            raise ArgumentError(
                f"Lyapunov exponents take {2 * LEAST} steps at least, and there is {have}."
            )
        end = min(most, end)
        few = rows_of(given, chosen)
        inputs = first_steps(few.inputs, end, given.reverse)
        count = min(EXPONENTS, self.path.units)
        return lyapunov(given.cell, inputs, state=few.state, exponents=count, backend=given.backend)

    def _norms(self, lag: int) -> np.ndarray:
        """(B,) the length of each sequence's gradient, taken back no further than to a lag."""
        method, batch = Truncated(1, max(1, lag)), range(self.part.given.batch)
        return np.array([_gradient_norm(self.part, self.given_loss, method, b) for b in batch])


def _gradient_norm(part: Sample, loss: Loss | None, method: Method, sequence: int) -> float:
    """The length of the gradient of one sequence's loss, summed over steps, to the parameters."""
    chosen = torch.tensor([sequence])
    few = rows_of(part.given, chosen)
    cell = few.cell
    weights = (
        [p for p in cell.parameters() if p.requires_grad] if isinstance(cell, nn.Module) else []
    )
    if not weights:
        return float("nan")
    targets = targets_of(part.given, part.targets, 0, chosen)
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        outputs, _ = few.unroll(method=method)
        error = StepLoss(few, loss, targets).rows(outputs).sum()
        found = torch.autograd.grad(error, weights, allow_unused=True)
    return float(nn.utils.get_total_norm([g for g in found if g is not None]))


def _some(path: Trajectory) -> Tensor:
    """(T, B) rows spread over the steps that count, few enough for eigenvalues."""
    rows = path.live.flatten().nonzero().flatten()
    count = max(1, min(MOST, len(rows), int(EFFORT / max(1, path.units) ** 3)))
    chosen = torch.zeros_like(path.live).flatten()
    chosen[rows[torch.linspace(0, len(rows) - 1, count).long()]] = True
    return chosen.view_as(path.live)


def _times(losses: Losses) -> list[int] | None:
    """Loss times to look at: such as have a loss, spread over the steps; None for all."""
    found = losses.gradients
    there = sum(leaf.flatten(1).abs().sum(1) for leaf in found if leaf is not None)
    times = there.nonzero().flatten() if isinstance(there, Tensor) else torch.zeros(0)
    if not len(times):
        return None
    return times[torch.linspace(0, len(times) - 1, min(TIMES, len(times))).long()].tolist()


def _largest(path: Trajectory) -> float:
    """Number in the states that is one."""
    states = [path.after[i][path.live].flatten() for i in path.real]
    numbers = torch.cat([state[state.isfinite()].abs().double() for state in states])
    return float(numbers.max()) if len(numbers) else 0.0


def _spread(path: Trajectory) -> np.ndarray:
    """(I,) standard deviation of each input feature over the rows that count."""
    parts = [leaf.flatten(2) if leaf.dim() > 2 else leaf[..., None] for leaf in path.inputs]
    rows = torch.cat([part.double()[path.live] for part in parts], 1)
    return rows.std(0, correction=0).numpy()
