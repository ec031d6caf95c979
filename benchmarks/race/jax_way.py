"""The way through jax: the same cell, jitted, with its gradients."""

from typing import Any

import jax
import numpy as np
import torch
from torch import Tensor

from race import jax_cells
from race.jobs import Job
from race.ways import Numbers, Runner


def _array(tensor: Tensor) -> jax.Array:
    return jax.numpy.asarray(tensor.detach().numpy())


def _tensor(array: jax.Array) -> Tensor:
    return torch.from_numpy(np.array(array))


def _turned(name: str, tensor: Tensor) -> Tensor:
    """Between nn.Linear's (out, in) and (in, out)."""
    return tensor.t() if name.endswith(".weight") and tensor.dim() == 2 else tensor


def jax_scan(job: Job) -> Runner:
    """`jax.lax.scan` under `jax.jit`, the products with x_t before it; ready when it has run."""
    weights = {n: _array(_turned(n, p)) for n, p in job.module.named_parameters()}
    fixed = {n: _array(b) for n, b in job.module.named_buffers()}
    x, state, adjoint = _array(job.inputs), tuple(map(_array, job.state)), _array(job.adjoint)

    def outputs(w: Any, x: Any, s: Any, fixed: Any) -> jax.Array:
        return jax_cells.run(job.name, w | fixed, x, s)

    @jax.jit
    def forward(w: Any, x: Any, s: Any, fixed: Any) -> jax.Array:
        return outputs(w, x, s, fixed)

    @jax.jit
    def train(w: Any, x: Any, s: Any, fixed: Any, adjoint: Any) -> Any:
        found, back = jax.vjp(lambda w, x, s: outputs(w, x, s, fixed), w, x, s)
        return found, back(adjoint)

    def read(result: Any) -> Numbers:
        found, (dw, dx, ds) = result
        named = {"outputs": found, "inputs": dx} | {f"state {i}": d for i, d in enumerate(ds)}
        return {n: _turned(n, _tensor(a)) for n, a in (named | dw).items()}

    return Runner(
        lambda: jax.block_until_ready(forward(weights, x, state, fixed)),
        _tensor,
        lambda: jax.block_until_ready(train(weights, x, state, fixed, adjoint)),
        read,
    )
