"""`torch.autograd.grad` without its import of symbolic shapes, a second at first use."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge


def pull(
    roots: Sequence[Tensor], targets: Sequence[Tensor], seeds: Sequence[Tensor], *, keep: bool
) -> tuple[Tensor | None, ...]:
    """Adjoints of the targets from those of the roots, None where none reaches.

    Args:
        roots, targets: of one graph.
        seeds: the roots' adjoints.
        keep: whether the graph is used again.

    >>> x = torch.ones(2, requires_grad=True)
    >>> pull([x * 3], [x], [torch.ones(2)], keep=False)
    (tensor([3., 3.]),)
    """
    run = torch.autograd.Variable._execution_engine.run_backward
    edges = tuple(get_gradient_edge(target) for target in targets)
    return run(tuple(roots), tuple(seeds), keep, False, edges, True, accumulate_grad=False)
