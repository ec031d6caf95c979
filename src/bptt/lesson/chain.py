"""The chain rule back through time, written out: every factor and every term, none summed away.

This recursion is written by hand from the formulas and shares no code with `bptt.unroll`, so that
each checks the other.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bptt.lesson.activations import derivative
from bptt.lesson.example import Example, Weights
from bptt.lesson.forward import Forward


@dataclass(frozen=True)
class Chain:
    """dE_t/dW taken apart. Index k - 1 of a field of length t belongs to step k.

    Attributes:
        read_out: (K,) dE_t/dz_t with z_t = s_t Wy; for the linear output z_t = y_t.
        slopes: (t, H) phi'(a_k).
        jacobians: (t, H, H) ds_k/ds_{k-1} = diag(phi'(a_k)) Ws^T; row i, column j is the derivative
            of unit i by unit j of the step before.
        adjoints: (t + 1, H) dE_t/ds_k for k = 0 to t.
        deltas: (t, H) dE_t/da_k.
        terms: Ws (t, H, H) and Wx (t, I, H): what step k's use of the weight adds to dE_t/dW, by
            the path from E_t back to s_k; Wy (1, H, K), which E_t reaches in one step only.
    """

    read_out: Tensor
    slopes: Tensor
    jacobians: Tensor
    adjoints: Tensor
    deltas: Tensor
    terms: Weights

    @property
    def gradient(self) -> Weights:
        """dE_t/dWx, dE_t/dWs and dE_t/dWy: the sums of their terms."""
        return Weights(*(terms.sum(0) for terms in self.terms))


def back(example: Example, forward: Forward) -> Chain:
    """Go back from E_t, t the last step, through every step before it.

    Source: Werbos 1990, "Backpropagation through time: what it does and how to do it".

    >>> from bptt.lesson import make_example, run
    >>> example = make_example(t=3)
    >>> back(example, run(example)).terms.Ws.shape
    torch.Size([3, 2, 2])
    """
    t, (_, Ws, Wy) = example.t, example.weights
    slopes = derivative(example.activation, forward.a)
    jacobians = slopes[:, :, None] * Ws.T
    read_out = example.loss.slope(forward.y[-1], example.d[-1])
    adjoints = [Wy @ read_out]
    for k in range(t, 0, -1):
        adjoints.append(adjoints[-1] @ jacobians[k - 1])
    adjoints = torch.stack(adjoints[::-1])
    deltas = adjoints[1:] * slopes
    terms = Weights(
        Wx=example.x[:, :, None] * deltas[:, None, :],
        Ws=forward.s[:-1, :, None] * deltas[:, None, :],
        Wy=torch.outer(forward.s[-1], read_out)[None],
    )
    return Chain(read_out, slopes, jacobians, adjoints, deltas, terms)
