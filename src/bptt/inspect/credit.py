"""The credit map: which earlier steps an error is blamed on, and by how much."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bptt.backends.each import walk
from bptt.backends.product import Found
from bptt.inspect.losses import Loss
from bptt.inspect.passage import Run, run
from bptt.inspect.subject import Lengths, chosen, subject


@dataclass(frozen=True, eq=False)
class Credit:
    """dE_t/ds_k and step k's term of dE_t/dW, for every loss time t and step k.

    Attributes:
        times: (n,) the loss times, ascending.
        steps: (T,) the steps.
        losses: (n,) E_t, summed over the batch.
        state: (n, T) ||dE_t/ds_k||, over the batch and all of the state; 0 where t does not
            depend on s_k.
        per_sequence: (n, T, B) the same for each sequence.
        inputs: (n, T) ||dE_t/dx_k||; None for inputs without a gradient, such as codes.
        parameters: by name (n, T), the norm of the term of dE_t/dW that step k's use of W
            contributes; empty where parameters were left out.
        gradients: by name dE/dW, summed over the loss times.
    """

    times: np.ndarray
    steps: np.ndarray
    losses: np.ndarray
    state: np.ndarray
    per_sequence: np.ndarray
    inputs: np.ndarray | None
    parameters: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]
    _run: Run = field(repr=False)

    def terms(self, t: int) -> dict[str, np.ndarray]:
        """By parameter (T, *shape): what each step contributes to dE_t/dW; their sum is dE_t/dW."""
        passage, found = self._run.passage, {}
        for at in walk(passage, chosen([t], len(self.steps)), inputs=False):
            for name, term in zip(self._run.names, at.weights, strict=True):
                if term is not None:
                    shape = len(self.steps), *term.shape[1:]
                    found.setdefault(name, np.zeros(shape, _dtype(term)))[at.step] = term[0].numpy()
        return found

    def total(self, t: int) -> dict[str, np.ndarray]:
        """dE_t/dW by parameter."""
        return {name: terms.sum(0) for name, terms in self.terms(t).items()}


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
    backend: str = "auto",
) -> Credit:
    """Take every loss E_t back through time by itself.

    Args:
        model: a cell, as `unroll` takes it, or a module of `bptt.nn` of one direction.
        inputs: (T, B, ...), laid out as the model's forward takes it.
        loss: `loss(outputs, targets)`, or `loss(outputs)` without targets: (T, B) or (T, B, ...),
            each step's from that step's output alone. None: the squared error, or a network's own.
        targets: laid out as the inputs.
        times: the loss times wanted, negative ones from the end; None: all.
        state, lengths, reset, reset_state, reverse, backend: as for `unroll`.
        parameters: whether terms of dE_t/dW are wanted.

    Raises:
        ArgumentError: a loss time beyond the sequence, a loss that mixes steps, a bidirectional
            model.

    >>> import torch, bptt
    >>> cell = bptt.cells.Elman(2, 4)
    >>> found = bptt.inspect.credit(cell, torch.randn(6, 3, 2), lambda s: s.square())
    >>> found.state.shape, sorted(found.parameters)
    ((6, 6), ['Ws', 'Wx', 'b'])
    """
    given = subject(
        model, inputs, state=state, lengths=lengths, reset=reset, reset_state=reset_state,
        reverse=reverse, backend=backend,
    )  # fmt: skip
    ran = run(given, loss, targets)
    wanted = chosen(times, given.steps)
    per = np.zeros((len(wanted), given.steps, given.batch))
    inner = np.zeros_like(per)
    norms: dict[str, np.ndarray] = {}
    sums: dict[str, np.ndarray] = {}
    seen = False
    for at in walk(ran.passage, wanted, weights=parameters):
        per[at.rows, at.step] = _norm(at.state, 2)
        seen = seen or any(leaf is not None for leaf in at.inputs)
        inner[at.rows, at.step] = _norm(at.inputs, 2)
        for name, term in zip(ran.names, at.weights, strict=True):
            if term is not None:
                norms.setdefault(name, np.zeros(per.shape[:2]))[at.rows, at.step] = _norm([term], 1)
                sums[name] = sums.get(name, 0) + term.sum(0).numpy()
    return Credit(
        np.array(wanted), np.arange(given.steps), ran.losses.rows.sum(1)[wanted].numpy(),
        np.linalg.norm(per, axis=2), per, np.linalg.norm(inner, axis=2) if seen else None,
        norms, sums, ran,
    )  # fmt: skip


def _norm(leaves: Found, axes: int) -> Any:
    """Over all leaves and what follows so many axes."""
    flat = [leaf.reshape(*leaf.shape[:axes], -1).double() for leaf in leaves if leaf is not None]
    return torch.linalg.vector_norm(torch.cat(flat, -1), dim=-1).numpy() if flat else 0.0
