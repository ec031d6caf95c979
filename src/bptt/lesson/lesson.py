"""The lesson: one example worked from its inputs to one step of training."""

import math
from dataclasses import dataclass

from bptt.errors import ArgumentError
from bptt.lesson.chain import Chain, back
from bptt.lesson.checks import Check, Others, check, others_of
from bptt.lesson.example import Example, Weights
from bptt.lesson.forward import Forward, run


@dataclass(frozen=True)
class Lesson:
    """Everything that `bptt explain` shows, as tensors.

    Attributes:
        example: the network and its sequence.
        forward: states, outputs and errors.
        chain: dE_t/dW, factor by factor and term by term.
        others: the gradient by `bptt.unroll` and by finite differences.
        checks: for Wx, Ws and Wy, how far these lie from it.
        learning_rate: of the one step of gradient descent.
        stepped: the weights after it, W - learning_rate dE_t/dW.
        before, after: E_t on either side of it.
    """

    example: Example
    forward: Forward
    chain: Chain
    others: Others
    checks: dict[str, Check]
    learning_rate: float
    stepped: Weights
    before: float
    after: float


def work(example: Example, learning_rate: float = 0.1) -> Lesson:
    """Work an example: forward, back through time, checks, one step of gradient descent.

    Args:
        example: what to work, from `make_example` or `Example` itself.
        learning_rate: of the step, above 0.

    Raises:
        ArgumentError: the learning rate is not a number above 0, or the example's numbers overflow.

    >>> from bptt.lesson import make_example
    >>> lesson = work(make_example(t=3))
    >>> lesson.after < lesson.before
    True
    """
    if not 0 < learning_rate < math.inf:
        raise ArgumentError(f"the learning rate must be a number above 0, got {learning_rate}.")
    forward = run(example)
    chain = back(example, forward)
    _check_finite(forward, chain)
    gradient = chain.gradient
    pairs = zip(example.weights, gradient, strict=True)
    stepped = Weights(*(weight - learning_rate * slope for weight, slope in pairs))
    before, after = float(forward.E[-1]), float(run(example, stepped).E[-1])
    others = others_of(example)
    checks = check(example, gradient, others)
    return Lesson(example, forward, chain, others, checks, learning_rate, stepped, before, after)


def _check_finite(forward: Forward, chain: Chain) -> None:
    parts = (forward.s, forward.E, *chain.gradient)
    if not all(part.isfinite().all() for part in parts):
        raise ArgumentError(
            "the states, errors or gradients of this example are too large for float64; take "
            "smaller weights, fewer steps, or an activation that is bounded, such as tanh."
        )
