"""The same long sequence by jax: `lax.scan`, and equinox's scan with checkpoints.

What it holds is what XLA plans for the compiled program beyond its arguments and results.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from equinox.internal import scan
from torch import Tensor

from back import clock, exact, long
from back.clock import Result, Spent, Watch
from back.long import Case

Weights = dict[str, jax.Array]
SUMS = 1e-3  # allowed: a million steps' gradients are added one after another there
FLOATS = 4 * long.UNITS  # bytes of a state


def checkpoints(budget: str) -> int:
    """As many states as fit: "64MB" holds 250,000.

    >>> checkpoints("64MB"), checkpoints("256kB")
    (250000, 1000)
    """
    unit = {"kB": 1_000, "MB": 1_000_000}[budget[-2:]]
    return int(budget[:-2]) * unit // FLOATS


def _named(case: Case) -> list[tuple[str, Tensor]]:
    """Wx, Ws, b and Wy."""
    return [(name.rpartition(".")[2], w) for name, w in case.cell.named_parameters()]


def _array(tensor: Tensor) -> jax.Array:
    return jnp.asarray(tensor.detach().numpy())


def _loss(weights: Weights, inputs: jax.Array, adjoint: jax.Array, budget: str) -> jax.Array:
    """sum(y * dE/dy), whose gradient is that of E."""

    def step(s: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        s = jnp.tanh(x @ weights["Wx"] + s @ weights["Ws"] + weights["b"])
        return s, s @ weights["Wy"]

    start = jnp.zeros((1, long.UNITS))
    if budget == "full":
        found = jax.lax.scan(step, start, inputs)[1]
    else:
        found = scan(step, start, inputs, kind="checkpointed", checkpoints=checkpoints(budget))[1]
    return jnp.sum(found * adjoint)


def compiled(case: Case, budget: str) -> tuple[Callable[[], Any], float]:
    """A run, and the megabytes that XLA plans to hold."""
    weights = {name: _array(weight) for name, weight in _named(case)}
    given = weights, _array(case.inputs), _array(case.adjoint)
    program = jax.jit(jax.grad(_loss), static_argnums=3).lower(*given, budget).compile()
    held = program.memory_analysis().temp_size_in_bytes / 1e6
    return lambda: jax.block_until_ready(program(*given)), held


def _way(run: Callable[[], Any]) -> clock.Way:
    def timed() -> Spent:
        watch = Watch()
        run()
        return watch.spent()

    return timed


def measure(steps: int, budgets: tuple[str, ...], seconds: float) -> Result:
    """Times and megabytes, after the gradients have been compared with ours.

    Raises:
        AssertionError: they differ.
    """
    one = long.case(steps)
    wanted = long.gradients(one, "full")
    programs = {words: compiled(one, words) for words in ("full", *budgets)}
    for words, (run, _) in programs.items():
        found = run()
        tensors = [torch.from_numpy(np.array(found[name])) for name, _ in _named(one)]
        exact.agree(f"jax, {words}", tensors, wanted, SUMS)
    ways = {words: _way(run) for words, (run, _) in programs.items()}
    held = {words: held for words, (_, held) in programs.items()}
    return {"steps": steps, "times": clock.in_turn(ways, seconds), "held": held}
