"""`Truncated(k1, k2)` beside what is used in its place: chunk-and-detach, and a step-wise recipe.

Chunk-and-detach is Truncated(k, k): its losses go back (k + 1) / 2 steps on average. The recipe
(discuss.pytorch.org/t/15500, its accepted answer) goes back k2 steps, one autograd call a step; it
adds to gradients left over from its last turn, so that for k1 < k2 it is wrong.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import bptt
from back import clock, exact
from back.clock import Result, Spent, Watch
from race import jobs
from race.jobs import Shape

CELLS = ("tanh RNN", "GRU", "LSTM")
K1, K2 = 20, 40
T, CHECKED = 10_000, 240  # a multiple of K1: a last chunk of fewer steps goes back fewer
BATCHES = (1, 16)


class Case(NamedTuple):
    """What is differentiated: inputs (T, B, I), dE/dy (T, B, H); gradients go to the cell alone."""

    cell: nn.Module
    inputs: Tensor
    adjoint: Tensor
    state: pytree.PyTree

    def gradients(self) -> list[Tensor]:
        """Those that have gathered, taken away."""
        weights = list(self.cell.parameters())
        found = [w.grad for w in weights if w.grad is not None]
        self.cell.zero_grad()
        return found


def case(name: str, shape: Shape) -> Case:
    job = jobs.job(name, shape)
    state = pytree.tree_map(Tensor.detach, job.bare_state)
    return Case(job.module, job.inputs.detach(), job.adjoint, state)


def ours(case: Case, method: bptt.methods.Method, backend: str = "auto") -> Spent:
    """`bptt.unroll` by some method."""
    watch = Watch()
    found = bptt.unroll(case.cell, case.inputs, case.state, method=method, backend=backend)[0]
    with watch.backward():
        found.backward(case.adjoint)
    return watch.spent()


def chunks(case: Case, k: int) -> Spent:
    """Chunk-and-detach, every chunk by `bptt.unroll`."""
    watch, state = Watch(), case.state
    for inputs, adjoint in zip(case.inputs.split(k), case.adjoint.split(k), strict=True):
        found, state = bptt.unroll(case.cell, inputs, state)
        with watch.backward():
            found.backward(adjoint)
        state = pytree.tree_map(Tensor.detach, state)
    return watch.spent()


def recipe(case: Case, k1: int, k2: int) -> Spent:
    """Every k1 steps the last loss goes back k2 steps, one autograd call a step."""
    watch, state = Watch(), case.state
    ring: deque[tuple[Sequence[Tensor], Sequence[Tensor]]] = deque(maxlen=k2)
    for t, x in enumerate(case.inputs, 1):
        before = pytree.tree_map(lambda leaf: leaf.detach().requires_grad_(), state)
        state = case.cell(x, before)
        ring.append((pytree.tree_leaves(before), pytree.tree_leaves(state)))
        if t % k1 == 0:
            with watch.backward():
                _back(ring, case.adjoint[t - 1])
    return watch.spent()


def _back(ring: deque[tuple[Sequence[Tensor], Sequence[Tensor]]], adjoint: Tensor) -> None:
    ring[-1][1][0].backward(adjoint, retain_graph=True)
    for i in range(len(ring) - 1, 0, -1):
        torch.autograd.backward(
            ring[i - 1][1], [leaf.grad for leaf in ring[i][0]], retain_graph=True
        )


def check(name: str, shape: Shape) -> float:
    """Ours beside the reference backend in float64; chunks beside Truncated(k1, k1).

    Raises:
        AssertionError: they do not agree.
    """
    one = case(name, shape)
    ours(one, bptt.Truncated(K1, K2))
    found = one.gradients()
    chunks(one, K1)
    in_chunks = one.gradients()
    double = Case(one.cell.double(), *pytree.tree_map(Tensor.double, tuple(one[1:])))
    ours(double, bptt.Truncated(K1, K2), "reference")
    error = exact.agree(f"Truncated({K1}, {K2}), {name}", found, double.gradients())
    ours(double, bptt.Truncated(K1, K1), "reference")
    exact.agree(f"chunk-and-detach, {name}", in_chunks, double.gradients())
    return error


def measure(name: str, batch: int, steps: int, budget: float) -> Result:
    """One cell at one batch size: agreement, then times."""
    shape = Shape(steps, batch, 8, 64)
    error = check(name, shape._replace(T=min(steps, CHECKED)))
    one = case(name, shape)
    ways = {
        "truncated": lambda: ours(one, bptt.Truncated(K1, K2)),
        "chunks": lambda: chunks(one, K1),
        "recipe": lambda: recipe(one, K1, K2),
        "full": lambda: ours(one, bptt.Full()),
    }
    times = clock.in_turn(ways, budget)
    return {"cell": name, "shape": shape, "error": error, "times": times}
