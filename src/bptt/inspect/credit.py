"""The credit map: which earlier steps an error is blamed on, and by how much."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from bptt.backends.each import At, Back, together
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
        for at in Back(passage, chosen([t], len(self.steps)), inputs=False).run():
            for name, term in zip(self._run.names, at.terms, strict=True):
                if term is not None:
                    whole = np.zeros((len(self.steps), *term.shape[2:]), _dtype(term))
                    found.setdefault(name, whole)[at.steps] = term[:, 0].numpy()
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
    maps = _Maps(ran, wanted, parameters)
    return Credit(
        np.array(wanted), np.arange(given.steps), ran.losses.rows.sum(1)[wanted].numpy(),
        np.linalg.norm(maps.state, axis=2), maps.state,
        np.linalg.norm(maps.inputs, axis=2) if maps.has_inputs else None,
        maps.parameters, maps.gradients, ran,
    )  # fmt: skip


class _Maps:
    """Norms by loss time and step, as the way back gives them."""

    def __init__(self, ran: Run, times: list[int], parameters: bool) -> None:
        steps, batch = ran.passage.course.steps, ran.passage.course.batch
        self.state = np.zeros((len(times), steps, batch))
        self.inputs, self.has_inputs = np.zeros_like(self.state), False
        self.parameters: dict[str, np.ndarray] = {}
        back = ran.back(times, True, parameters)
        for at in back.run():
            self._add(at, ran.names)
        self.gradients = {
            name: leaf.numpy()
            for name, leaf in zip(ran.names, back.sums(), strict=True)
            if leaf is not None
        }

    def _add(self, at: At, names: list[str]) -> None:
        self.state[at.rows, at.steps] = at.state.transpose(0, 1).numpy()
        if any(leaf is not None for leaf in at.inputs):
            self.has_inputs = True
            self.inputs[at.rows, at.steps] = together(at.inputs, 3).transpose(0, 1).numpy()
        for name, found in zip(names, at.norms, strict=True):
            if found is not None:
                whole = self.parameters.setdefault(name, np.zeros(self.state.shape[:2]))
                whole[at.rows, at.steps] = found.T.numpy()
