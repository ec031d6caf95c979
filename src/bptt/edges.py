"""Where the autograd graph of a step ends: the tensors it took in otherwise than by argument."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from bptt.errors import CellError


def now() -> int:
    """A number greater than that of every graph node made so far, in this thread."""
    with torch.enable_grad():
        node = _EMPTY.view(0).grad_fn
    return node._sequence_nr()  # type: ignore[union-attr]


def retained() -> bool:
    """Whether the backward pass that is running now may be followed by another one."""
    asked = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return True if asked is None else bool(asked())


def hooked() -> bool:
    """Whether hooks see each tensor that is saved, as `torch.utils.checkpoint`'s do."""
    asked = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return asked is not None and asked(False) is not None


class Ends(NamedTuple):
    """What a graph ends at.

    Attributes:
        leaves: its leaves.
        python: whether a part of its backward pass is Python, which no recording sees into.
    """

    leaves: list[Tensor]
    python: bool


def ends(roots: Iterable[Tensor], since: int) -> Ends:
    """What the graph above `roots` ends at.

    Args:
        roots: what a step returned.
        since: `now()` as it was before the step.

    Raises:
        CellError: the graph goes on into what was computed before the step.
    """
    stack = [root.grad_fn for root in roots if root.grad_fn is not None]
    leaves = {id(root): root for root in roots if root.requires_grad and root.is_leaf}
    seen, python = set(stack), False
    while stack:
        node = stack.pop()
        if type(node) is _Leaf:
            leaves[id(node.variable)] = node.variable  # type: ignore[attr-defined]
            continue
        if node._sequence_nr() < since:
            raise CellError(_outside(node.name()))
        python = python or isinstance(node, BackwardCFunction)
        for above, _ in node.next_functions:
            if above is not None and above not in seen:
                seen.add(above)
                stack.append(above)
    return Ends(list(leaves.values()), python)


_EMPTY = torch.empty(0, requires_grad=True)
_Leaf = type(torch.autograd.graph.get_gradient_edge(_EMPTY).node)


def _outside(name: str) -> str:
    return (
        f"The step uses a tensor that was computed before it (by {name}) and that bptt cannot "
        "find, so its gradient would be lost. Make it an attribute of the cell's module, close "
        "over it, or pass it with the inputs or the state."
    )
