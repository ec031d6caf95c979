"""The example that the lesson works: a network, what it sees and what it should say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptt.errors import ArgumentError
from bptt.lesson.activations import ACTIVATIONS
from bptt.lesson.arrays import to_array
from bptt.lesson.losses import CROSS_ENTROPY, LOSSES, SQUARED, Loss
from bptt.lesson.sizes import AXES, Size, infer


class Weights(NamedTuple):
    """What is trained: Wx (I, H), Ws (H, H) and Wy (H, K)."""

    Wx: Tensor
    Ws: Tensor
    Wy: Tensor


@dataclass(frozen=True)
class Example:
    """A simple recurrent network and one sequence for it, all in float64.

    `s_t = phi(x_t Wx + s_{t-1} Ws)`, `y_t = s_t Wy` (or its softmax), for t = 1 to len(x).

    Attributes:
        weights: Wx (I, H), Ws (H, H), Wy (H, K).
        s0: (H,) the state before the first step.
        x: (t, I) inputs.
        d: (t, K) desired outputs; with cross-entropy each row is a distribution over the K classes.
        activation: phi, element by element.
        loss: squared error with a linear output, or cross-entropy with softmax.

    Raises:
        ArgumentError: the shapes do not fit together, a number is not finite, or d does not suit
            the loss.
    """

    weights: Weights
    s0: Tensor
    x: Tensor
    d: Tensor
    activation: Callable[[Tensor], Tensor] = torch.tanh
    loss: Loss = SQUARED

    def __post_init__(self) -> None:
        arrays = {**self.weights._asdict(), "s0": self.s0, "x": self.x, "d": self.d}
        infer(arrays)
        for name, array in arrays.items():
            if not array.isfinite().all():
                raise ArgumentError(f"{name} holds NaN or infinity; every number must be finite.")
        if self.loss is CROSS_ENTROPY:
            _check_distributions(self.d)

    @property
    def t(self) -> int:
        """The time at which the network is trained: the last step."""
        return len(self.x)

    @property
    def activation_name(self) -> str:
        return getattr(self.activation, "__name__", type(self.activation).__name__)


def make_example(
    given: Mapping[str, Any] | None = None,
    *,
    t: int | None = None,
    inputs: int | None = None,
    hidden: int | None = None,
    outputs: int | None = None,
    activation: str = "tanh",
    loss: str = "squared",
    seed: int = 16,
) -> Example:
    """An example from any arrays of your own, the rest drawn at random.

    Args:
        given: any of Wx, Ws, Wy, s0, x, d, as tensors or nested lists.
        t: the time to train at; of a longer x or d the first t rows are used. Where nothing else
            says it: 3.
        inputs, hidden, outputs: I, H and K. Where nothing else says it: 2, 2, and 1 (with
            cross-entropy 2).
        activation: a name in `ACTIVATIONS`.
        loss: a name in `LOSSES`.
        seed: of the numbers drawn, which do not depend on the arrays given, but on the sizes.
            The default makes a clear lesson.

    Raises:
        ArgumentError: sizes and arrays disagree, or a name or a number is out of range.

    >>> example = make_example({"Ws": [[0.5]]}, t=2)
    >>> example.weights.Ws, example.x.shape
    (tensor([[0.5000]], dtype=torch.float64), torch.Size([2, 2]))
    """
    phi, judge = _named(ACTIVATIONS, activation, "activation")[0], _named(LOSSES, loss, "loss")
    asked = {"t": (t, "t"), "I": (inputs, "inputs"), "H": (hidden, "hidden")}
    asked["K"] = (outputs, "outputs")
    told = {axis: Size(value, word) for axis, (value, word) in asked.items() if value is not None}
    arrays = _first_steps({name: to_array(name, a) for name, a in (given or {}).items()}, t)
    sizes = {axis: size.value for axis, size in infer(arrays, told).items()}
    full = _draw(_with_defaults(sizes, judge), judge, seed) | arrays
    weights = Weights(*(full[name] for name in Weights._fields))
    return Example(weights, full["s0"], full["x"], full["d"], phi, judge)


def _named(table: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in table:
        raise ArgumentError(f"{what} is one of {', '.join(table)}; got {name!r}.")
    return table[name]


def _first_steps(arrays: dict[str, Tensor], t: int | None) -> dict[str, Tensor]:
    """Of an x or d longer than t the first t rows; one too short is left for `infer` to refuse."""
    return {n: a[:t] if AXES[n][0] == "t" and a.ndim else a for n, a in arrays.items()}


def _with_defaults(sizes: Mapping[str, int], loss: Loss) -> dict[str, int]:
    classes = 2 if loss is CROSS_ENTROPY else 1
    return {"t": 3, "I": 2, "H": 2, "K": classes, **sizes}


def _draw(sizes: Mapping[str, int], loss: Loss, seed: int) -> dict[str, Tensor]:
    """Every array, by the seed: numbers of one decimal and none 0, to follow with a pencil."""
    if not 0 <= seed < 2**63:
        raise ArgumentError(f"the seed must be a whole number from 0 to 2^63 - 1, got {seed}.")
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for name, axes in AXES.items():
        shape = [sizes[axis] for axis in axes]
        values = torch.rand(shape, dtype=torch.float64, generator=generator) * 2 - 1
        spread = (2 / sizes["H"]) ** 0.5 if name in Weights._fields else 1.0
        tenths = (values.abs() * 10 * spread).ceil().clamp(max=9)
        drawn[name] = tenths.copysign(values) / 10
    if loss is CROSS_ENTROPY:
        drawn["d"] = torch.eye(sizes["K"], dtype=torch.float64)[drawn["d"].argmax(-1)]
    return drawn


def _check_distributions(d: Tensor) -> None:
    if d.shape[1] == 1:
        raise ArgumentError(
            "cross-entropy chooses between outputs and needs 2 of them; there is 1."
        )
    for row, values in enumerate(d, start=1):
        if (values < 0).any() or abs(values.sum() - 1) > 1e-9:
            raise ArgumentError(
                f"with cross-entropy each row of d is a distribution: numbers of at least 0 that "
                f"sum to 1, such as [0, 1] for the second class; row {row} is {values.tolist()}."
            )
