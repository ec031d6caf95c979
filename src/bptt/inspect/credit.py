"""The credit map: which earlier steps an error is blamed on, and by how much."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bptt.backends.each import At, Back
from bptt.errors import ArgumentError
from bptt.inspect.charts import map_chart
from bptt.inspect.describing import described
from bptt.inspect.losses import Loss
from bptt.inspect.models import subject
from bptt.inspect.passage import Run, run
from bptt.inspect.showing import to_polars
from bptt.inspect.subject import Lengths, chosen
from bptt.methods import Full


@dataclass(frozen=True, eq=False, repr=False)
class Credit:
    """dE_t/ds_k and step k's term of dE_t/dW, for every loss time t and step k.

    Attributes:
        times: (n,) the loss times, from 0, ascending.
        steps: (T,) the steps, from 0.
        losses: (n,) E_t, summed over the batch.
        state: (n, T) ||dE_t/ds_k||, over the batch and all of the state; 0 where E_t does not
            depend on s_k. s_t itself is blamed for what it does to E_t by way of the outputs.
        per_sequence: (n, T, B) the same for each sequence.
        inputs: (n, T) ||dE_t/dx_k||; None for inputs without a gradient, such as codes.
        parameters: by name (n, T), the norm of the term of dE_t/dW that step k's use of W
            contributes (what the state that a sequence starts from contributes is its first
            step's); empty where parameters were left out.
        gradients: by name dE/dW, the sum of all terms.
        run: the model as it was run, from which the vectors are found again.

    Steps and times are counted from 0, as torch's indices are.
    """

    times: np.ndarray
    steps: np.ndarray
    losses: np.ndarray
    state: np.ndarray
    per_sequence: np.ndarray
    inputs: np.ndarray | None
    parameters: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]
    run: Run

    @property
    def notes(self) -> tuple[str, ...]:
        """Where the step has no derivative, so that gradients are of what stands for it."""
        return self.run.notes

    def terms(self, t: int) -> dict[str, np.ndarray]:
        """By parameter (T, *shape): what each step contributes to dE_t/dW; their sum is dE_t/dW.

        Raises:
            ArgumentError: a t beyond the sequence; a model that has changed since.
        """
        self.run.check_unchanged()
        found: dict[str, np.ndarray] = {}
        for at in Back(self.run.passage, chosen([t], len(self.steps)), None, True).run():
            for name, term in zip(self.run.names, at.terms, strict=True):
                if term is not None:
                    if name not in found:
                        found[name] = np.zeros((len(self.steps), *term.shape[2:]), _dtype(term))
                    found[name][at.steps] = term[:, 0].numpy()
        return found

    def total(self, t: int) -> dict[str, np.ndarray]:
        """dE_t/dW by parameter."""
        return {name: terms.sum(0) for name, terms in self.terms(t).items()}

    def check(self) -> float:
        """The largest relative difference between sums of terms and one backward through `unroll`.

        Of dE/dW over all loss times, and of dE_t/dW at the last one, term by term. A few roundings
        in size, unless something is wrong; NaN where a gradient is no number.
        """
        last = int(self.times[-1])
        pairs = [(self.gradients, self.times.tolist()), (self.total(last), [last])]
        found = [
            _difference(known.get(name), gradient)
            for known, times in pairs
            if known
            for name, gradient in zip(self.run.names, self.run.gradient(Full(), times), strict=True)
        ]
        return float(np.max(found, initial=0.0))

    def to_frame(self) -> Any:
        """A polars DataFrame: time, step, of ("state", "inputs" or a parameter), norm."""
        names, maps = zip(*self._maps().items(), strict=True)
        return to_polars(
            {
                "time": np.tile(np.repeat(self.times, len(self.steps)), len(maps)),
                "step": np.tile(self.steps, len(self.times) * len(maps)),
                "of": np.repeat(names, self.state.size),
                "norm": np.concatenate([part.ravel() for part in maps]),
            }
        )

    def plot(self, of: str = "state") -> Any:
        """An altair chart: the map of the state, the inputs or a parameter, logarithmic.

        Raises:
            ArgumentError: a name that is not among them.
        """
        maps = self._maps()
        if of not in maps:
            raise ArgumentError(f"of: expected one of {', '.join(maps)}, got {of!r}.")
        title = f"Which steps an error is blamed on: {of}"
        titles = ("step k", "loss time t", "norm")
        return map_chart(maps[of], self.times, self.steps, title, titles)

    def _maps(self) -> dict[str, np.ndarray]:
        """By name (n, T)."""
        inputs = {} if self.inputs is None else {"inputs": self.inputs}
        return {"state": self.state, **self.parameters, **inputs}

    def __repr__(self) -> str:
        return described(self)


def _difference(known: np.ndarray | None, gradient: Tensor | None) -> float:
    """The largest difference, relative to the gradient's largest number."""
    if known is None and gradient is None:
        return 0.0
    whole = np.zeros(1) if gradient is None else gradient.numpy().astype(float)
    difference = np.abs((0.0 if known is None else known) - whole).max(initial=0.0)
    return float(difference / np.abs(whole).max(initial=0.0)) if difference != 0 else 0.0


def _dtype(tensor: Tensor) -> Any:
    return tensor[:0].numpy().dtype


def credit(
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
    parameters: bool = True,
    unit: int | None = None,
    backend: str = "auto",
) -> Credit:
    """Take every loss E_t back through time by itself: which steps is it blamed on?

        G[t, k] = || the part of dE_t/dW that step k's use of W contributes ||,    k <= t

    and ||dE_t/ds_k|| for the state. Summed over k, the parts themselves, not their norms, are
    dE_t/dW: `Credit.check` compares. Loss times are one more dimension of the batch of the backward
    pass; the forward pass runs once.

    Args:
        model: a cell, as `unroll` takes it; a module of `bptt.nn` of one direction; or a model of
            your own whose forward runs one of these. Then its recurrent part is looked at, and all
            that comes after belongs to the loss.
        inputs: (T, B, ...), laid out as the model's forward takes it; of a model of your own,
            whatever its forward takes.
        loss: `loss(outputs, targets)`, or `loss(outputs)` without targets: (T, B) or (T, B, ...),
            each step's from that step's output alone. None: the squared error, or a network's own.
            Of the outputs of a model of your own it may be (B, T) too, or (B,): of each sequence's
            last step.
        targets: laid out as the inputs; of a model of your own, as the loss takes them.
        times: the loss times wanted, from 0, negative ones from the end; None: all.
        state, lengths, reset, reset_state, reverse, backend: as for `unroll`; all but the backend
            go to the forward of a model of your own, by name, where they are given.
        parameters: whether terms of dE_t/dW are wanted; without, it takes about half the time.
        unit: a number of the state, in place of loss and targets: E_t = s_t[unit], summed over the
            batch. The state's floating leaves count side by side, layers and all.

    Returns:
        `Credit`. Random numbers of a step are the same at each call; torch's generator is left
        alone.

    Raises:
        ArgumentError: a loss time beyond the sequence, a loss that mixes steps or has no gradient,
            a unit that the state has not, a bidirectional model, one of your own that runs no
            recurrent part or several.
        What `unroll` raises for the same arguments.

    >>> import torch, bptt
    >>> cell = bptt.cells.Elman(2, 4)
    >>> found = bptt.inspect.credit(cell, torch.randn(6, 3, 2), lambda s: s.square())
    >>> found.state.shape, sorted(found.parameters)
    ((6, 6), ['Ws', 'Wx', 'b'])
    >>> bool(found.check() < 1e-5)  # float32
    True
    >>> found = bptt.inspect.credit(cell, torch.randn(6, 3, 2), unit=3)  # E_t = s_t[3]
    >>> f"{found.state[5, 5]:.3f}"  # 1 in each of three sequences
    '1.732'

    A model of one's own, with one error a sequence:

    >>> class Classifier(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.gru, self.head = bptt.nn.GRU(2, 4, batch_first=True), torch.nn.Linear(4, 3)
    ...     def forward(self, x):
    ...         return self.head(self.gru(x)[1][0])
    >>> error = torch.nn.CrossEntropyLoss(reduction="none")
    >>> model, x, labels = Classifier(), torch.randn(5, 9, 2), torch.tensor([0, 2, 1, 0, 1])
    >>> found = bptt.inspect.credit(model, x, error, targets=labels)
    >>> found.losses.round(1).nonzero()[0].tolist(), "gru.weight_hh_l0" in found.parameters
    ([8], True)
    """
    given = subject(
        model, inputs, state=state, lengths=lengths, reset=reset, reset_state=reset_state,
        reverse=reverse, backend=backend,
    )  # fmt: skip
    ran = run(given, loss, targets, unit)
    wanted = chosen(times, given.steps)
    maps = _Maps(ran, wanted, parameters)
    return Credit(
        np.array(wanted), np.arange(given.steps), ran.losses.rows.sum(1)[wanted].numpy(),
        maps.norms["state"], maps.state, maps.norms.get("inputs"), maps.parameters,
        maps.gradients, ran,
    )  # fmt: skip


class _Maps:
    """Norms by loss time and step, as the way back gives them."""

    def __init__(self, ran: Run, times: list[int], parameters: bool) -> None:
        course, back = ran.passage.course, ran.back(times, "norms", parameters)
        self._shape = len(times), course.steps
        dtype = _dtype(next(leaf for leaf in ran.passage.before if leaf.is_floating_point()))
        self.state = np.zeros((*self._shape, course.batch), dtype)
        real = any(leaf.requires_grad for leaf in ran.passage.inputs)
        kinds = ("state", "inputs") if real else ("state",)
        self.norms = {kind: np.zeros(self._shape) for kind in kinds}
        self.parameters: dict[str, np.ndarray] = {}
        for at in back.run():
            self.state[at.rows, at.steps] = at.state.transpose(0, 1).numpy()
            self._put(self.norms, at, "state", torch.linalg.vector_norm(at.state, dim=2))
            if at.input_norms is not None:
                sizes = torch.linalg.vector_norm(at.input_norms, dim=2)
                self._put(self.norms, at, "inputs", sizes)
            for name, found in zip(ran.names, at.norms, strict=True):
                if found is not None:
                    self._put(self.parameters, at, name, found)
        sums = zip(ran.names, back.sums(), strict=True)
        self.gradients = {name: leaf.numpy() for name, leaf in sums if leaf is not None}

    def _put(self, maps: dict[str, np.ndarray], at: At, name: str, found: Tensor) -> None:
        """(L, M) at its loss times and steps."""
        if name not in maps:
            maps[name] = np.zeros(self._shape)
        maps[name][at.rows, at.steps] = found.T.numpy()
