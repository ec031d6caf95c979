"""The loss of each step, and its gradient to that step's output."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils import _pytree as pytree

from bptt.errors import ArgumentError
from bptt.inspect.subject import Subject
from bptt.nn.network import Network
from bptt.step import Leaves

Loss = Callable[..., Tensor]

HOW = (
    "Pass `targets` for the squared error, or `loss(outputs, targets)` that returns one number for "
    "each step and sequence, (T, B), such as\n\n"
    "    lambda y, d: (y - d).square().sum(-1)\n"
)


class Losses(NamedTuple):
    """E_t of all steps.

    Attributes:
        rows: (T, B) each sequence's part; zero beyond its length.
        gradients: (T, B, ...) per leaf of the outputs, dE_t/dy_t; None where nothing reaches.
    """

    rows: Tensor
    gradients: list[Tensor | None]


class StepLoss:
    """E_t as a function of the outputs.

    Args:
        subject: model and batch.
        loss: `loss(outputs, targets)`, or `loss(outputs)` without targets, (T, B) or (T, B, ...);
            None: a network's own, else the squared error.
        targets: laid out as the model's sequences, or None.

    Raises:
        ArgumentError: neither loss nor targets, or a loss that cannot be called.
    """

    def __init__(self, subject: Subject, loss: Loss | None, targets: Any) -> None:
        self._loss = _default(subject.model, targets) if loss is None else loss
        if not callable(self._loss):
            raise ArgumentError(f"loss: expected a function, got {loss!r}. {HOW}")
        if subject.reading is not None:
            self._loss, targets = subject.reading.loss(loss, targets), None
        if targets is not None and subject.batch_first:
            targets = pytree.tree_map(lambda leaf: leaf.transpose(0, 1), targets)
        self._given = () if targets is None else (targets,)
        self._live = torch.arange(subject.steps)[:, None] < subject.counts()

    def rows(self, outputs: Any) -> Tensor:
        """(T, B) each sequence's part of E_t, zero beyond its length."""
        return _rows(self._loss(outputs, *self._given), self._live)

    def at(self, outputs: Any) -> Losses:
        """E_t and dE_t/dy_t of every step.

        Raises:
            ArgumentError: a loss of another shape, without gradient, or one that mixes steps.
        """
        leaves, spec = pytree.tree_flatten(outputs)
        leaves = [leaf.detach().requires_grad_(leaf.is_floating_point()) for leaf in leaves]
        with torch.enable_grad():
            rows = self.rows(pytree.tree_unflatten(leaves, spec))
            weights = 1 + torch.rand(len(rows), generator=torch.Generator().manual_seed(0))
            found = _gradients(rows, leaves, self._live, torch.ones(len(rows)))
            again = _gradients(rows, leaves, self._live, weights)
        for once, twice in zip(found, again, strict=True):
            _check_apart(once, twice, weights)
        return Losses(rows.detach(), found)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """(T, B) the sum over features of (d_t - y_t)^2."""
    if outputs.shape != targets.shape:
        raise ArgumentError(
            f"targets: expected the outputs' shape {tuple(outputs.shape)} for the squared error, "
            f"got {tuple(targets.shape)}. {HOW}"
        )
    return (targets - outputs).square().flatten(2).sum(2)


def _default(model: Any, targets: Any) -> Loss:
    if targets is None:
        raise ArgumentError(f"loss: expected one, got neither loss nor targets. {HOW}")
    if isinstance(model, Network) and model.output == "softmax":
        return _cross_entropy
    return squared_error


def _cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """(T, B) -sum_k d_tk log y_tk, y the softmax of the scores."""
    scores = scores.flatten(0, 1)
    return cross_entropy(scores, targets.flatten(0, 1), reduction="none").reshape(targets.shape[:2])


def _rows(found: Any, live: Tensor) -> Tensor:
    """(T, B) of what a loss returned, zero where it does not count."""
    if not isinstance(found, Tensor) or found.shape[:2] != live.shape:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ArgumentError(
            f"loss: expected one number for each step and sequence, (T, B) = {tuple(live.shape)}, "
            f"got {shape}. Leave out the sum or mean over steps and sequences (torch's losses do "
            f"with reduction='none'). {HOW}"
        )
    if not found.requires_grad:
        raise ArgumentError(
            "loss: expected a function of the outputs with a gradient, got one without. Compute it "
            "by torch's operations on the outputs that it is given, without detach() or no_grad()."
        )
    return torch.where(live, found.flatten(2).sum(2) if found.dim() > 2 else found, 0.0)


def _gradients(rows: Tensor, leaves: Leaves, live: Tensor, weights: Tensor) -> list[Tensor | None]:
    """dE/dy for E = sum_t w_t E_t, zero where nothing counts."""
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    seed = torch.where(live, weights[:, None], 0.0).to(rows.dtype)
    found = iter(torch.autograd.grad(rows, wanted, seed, retain_graph=True, allow_unused=True))
    gradients = [next(found) if leaf.requires_grad else None for leaf in leaves]
    return [None if g is None else torch.where(_like(live, g), g, 0.0) for g in gradients]


def _check_apart(once: Tensor | None, twice: Tensor | None, weights: Tensor) -> None:
    """A step's loss looks at that step's output alone: weighing it weighs its gradient."""
    if once is None or twice is None:
        return
    expected = once * _like(weights.to(once.dtype), once)
    scale = expected.abs().nan_to_num(0.0, 0.0, 0.0).amax(tuple(range(1, once.dim())), keepdim=True)
    wrong = ((twice - expected).abs() > 1e-3 * scale + 1e-30).flatten(1).any(1).nonzero()
    if len(wrong):
        raise ArgumentError(
            f"loss: expected each step's loss to depend on that step's output alone, but the "
            f"output at step {int(wrong[0])} moves the loss of another step. Return E_t (T, B) "
            "without mixing steps: no mean, shift or normalisation over time, in the loss or in "
            "what a model does after its recurrent part."
        )


def _like(rows: Tensor, leaf: Tensor) -> Tensor:
    return rows.reshape(*rows.shape, *[1] * (leaf.dim() - rows.dim()))
