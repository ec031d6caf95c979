"""How much of an error's gradient travels on each line of a drawing."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bptt.backends.each import Passage
from bptt.picture.back import Back
from bptt.picture.inside import Edges, Inside, norms
from bptt.picture.sketch import Sketch


class Flow(NamedTuple):
    """What n loss times send back through the w steps before each.

    What belongs to step t - j of loss time t is at [t, j]; 0 where there is no such step.

    Attributes:
        leaves: by leaf of the state (n, w + 1), ||dE_t/ds_k||: the last is before the first step.
        inputs: (n, w) ||dE_t/dx_k|| over all inputs.
        outputs: (n,) ||dE_t/dy_t||.
        edges: by (source, target) among the sketch's parts (n, w); None where the cell's own way
            back is not that of the operations it is drawn with, or draws random numbers.
    """

    leaves: list[np.ndarray]
    inputs: np.ndarray
    outputs: np.ndarray
    edges: Edges | None

    @property
    def states(self) -> np.ndarray:
        """(n, w + 1) ||dE_t/ds_k|| over all leaves."""
        return np.linalg.norm(self.leaves, axis=0)


def measure(passage: Passage, sketch: Sketch, times: Sequence[int], window: int) -> Flow:
    """What travels where.

    Args:
        passage: the unroll, as `bptt.inspect` has run it.
        sketch: what is drawn of a step.
        times: (n,) the loss times, ascending.
        window: w, the steps drawn, the loss time itself the last.
    """
    states, inputs = Back(passage, times, window).run()
    losses = [leaf[list(times)] for leaf in passage.losses if leaf is not None]
    outputs = np.linalg.norm([norms(leaf, 1) for leaf in losses], axis=0)
    inside = sketch.compiled is not None and not sketch.of("draw")
    edges = Inside(passage, sketch, times, states).edges() if inside else None
    leaves = [norms(leaf, 2).T for leaf in states]
    fed = np.linalg.norm([norms(leaf, 2).T for leaf in inputs], axis=0)
    return Flow(leaves, fed, outputs, edges)
