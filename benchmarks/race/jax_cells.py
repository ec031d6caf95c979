"""The same cells as a good user of jax writes them: a pair of functions of a dict of weights.

`before(w, x)` does for all t at once what does not wait for the state, x (T, B, I); `step(w, p,
state)` is what `jax.lax.scan` runs, p its row (B, ...). Weights have the names and numbers of the
PyTorch cell, matrices as (in, out). `once(w)` makes weights of weights.

Tried for the LSTM and not faster forward + backward: `unroll` of 2, 4 and 8, gates by slices, by
reshape or by a product each (faster forward alone, slower with one sequence), sigmoid through tanh.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Weights = dict[str, jax.Array]
tanh, sigmoid = jnp.tanh, jax.nn.sigmoid


class JaxCell(NamedTuple):
    before: Callable[[Weights, jax.Array], Any]
    step: Callable[[Weights, Any, tuple[jax.Array, ...]], tuple[jax.Array, ...]]
    once: Callable[[Weights], Weights] = lambda w: w


def _split(a: jax.Array) -> list[jax.Array]:
    return jnp.split(a, 4, axis=-1)


def _elman(w: Weights, p: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    (s,) = state
    return (tanh(p + s @ w["Ws"]),)


def _gru(w: Weights, p: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    (s,) = state
    pr, pz, pn = jnp.split(p, 3, axis=-1)
    qr, qz, qn = jnp.split(s @ w["Ws"] + w["bs"], 3, axis=-1)
    r, z = sigmoid(pr + qr), sigmoid(pz + qz)
    n = tanh(pn + r * qn)
    return ((1 - z) * n + z * s,)


def _lstm(w: Weights, p: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    h, c = state
    i, f, g, o = _split(p + h @ w["Ws"])
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def _leaky(w: Weights, p: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    (s,) = state
    return (s + w["rate"] * (tanh(p + s @ w["signed"]) - s),)


def _leaky_once(w: Weights) -> Weights:
    return w | {"signed": jnp.abs(w["Ws"]) * w["mask"], "rate": sigmoid(w["leak"])}


def _normal(w: Weights, name: str, a: jax.Array) -> jax.Array:
    centred = a - a.mean(-1, keepdims=True)
    scale = jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return centred * scale * w[f"{name}.weight"] + w[f"{name}.bias"]


def _layer_norm(w: Weights, p: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    h, c = state
    i, f, g, o = _split(p + _normal(w, "of_recur", h @ w["recur.weight"]))
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(_normal(w, "of_memory", c)), c


def _peephole(w: Weights, p: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    h, c = state
    i, f, g, o = _split(p + h @ w["recur.weight"])
    c = sigmoid(f + w["pf"] * c) * c + sigmoid(i + w["pi"] * c) * tanh(g)
    return sigmoid(o + w["po"] * c) * tanh(c), c


def _minimal(w: Weights, p: Any, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    (s,), (gate, drive) = state, p
    f = sigmoid(gate + s @ w["gate_recur.weight"])
    n = tanh(drive + (f * s) @ w["recur.weight"])
    return ((1 - f) * s + f * n,)


def _linear(w: Weights, name: str, x: jax.Array) -> jax.Array:
    return x @ w[f"{name}.weight"] + w[f"{name}.bias"]


CELLS = {
    "tanh RNN": JaxCell(lambda w, x: x @ w["Wx"] + w["b"], _elman),
    "GRU": JaxCell(lambda w, x: x @ w["Wx"] + w["bx"], _gru),
    "LSTM": JaxCell(lambda w, x: x @ w["Wx"] + w["b"], _lstm),
    "leaky": JaxCell(lambda w, x: x @ w["Wx"] + w["b"], _leaky, _leaky_once),
    "layer-norm LSTM": JaxCell(
        lambda w, x: _normal(w, "of_drive", x @ w["drive.weight"]), _layer_norm
    ),
    "peephole LSTM": JaxCell(lambda w, x: _linear(w, "drive", x), _peephole),
    "minimal gated": JaxCell(
        lambda w, x: (_linear(w, "gate", x), _linear(w, "drive", x)), _minimal
    ),
}


def run(name: str, weights: Weights, x: jax.Array, state: tuple[jax.Array, ...]) -> jax.Array:
    """Outputs (T, B, H), the state's first leaf at every step."""
    cell = CELLS[name]
    made = cell.once(weights)

    def step(carry: tuple[jax.Array, ...], p: Any) -> tuple[tuple[jax.Array, ...], jax.Array]:
        carry = cell.step(made, p, carry)
        return carry, carry[0]

    return jax.lax.scan(step, state, cell.before(made, x))[1]
