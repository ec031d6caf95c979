"""Functions with a backward pass of the user's own, such as spikes with a surrogate gradient."""

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from bptt.inspect.trajectory import Piece, Trajectory
from bptt.step import Leaves


def own_slopes(path: Trajectory, piece: Piece) -> list[tuple[Any, Tensor]]:
    """Each `torch.autograd.Function` that a step applies number by number, and its |slope|.

    In the order in which they are applied. What its backward pass makes of ones is the slope; one
    that gives another shape than it takes is not applied number by number, and left out.
    """
    with torch.enable_grad():
        real = [leaf.is_floating_point() for leaf in piece.before]
        before = [b.detach().requires_grad_(r) for b, r in zip(piece.before, real, strict=True)]
        outputs, after = path.run(piece, before)
    found = []
    for node in _nodes([*outputs, *after]):
        slope = _slope(node)
        if slope is not None:
            found.append((node._forward_cls, slope))  # type: ignore[attr-defined]
    return found


def functions(results: Leaves) -> list[Any]:
    """Every `torch.autograd.Function` that results were made by, once."""
    return list(dict.fromkeys(node._forward_cls for node in _nodes(results)))


def place_of(function: Any) -> str:
    """The file and line of its backward pass."""
    file = inspect.getsourcefile(function.backward)
    return f"{file}:{inspect.getsourcelines(function.backward)[1]}" if file else ""


def _nodes(results: Leaves) -> list[Any]:
    """The Python functions in the graph, in the order in which they were applied."""
    stack = list({leaf.grad_fn for leaf in results if leaf.grad_fn is not None})
    seen, found = set(stack), []
    while stack:
        node = stack.pop()
        if isinstance(node, BackwardCFunction):
            found.append(node)
        above = {edge for edge, _ in node.next_functions if edge is not None} - seen
        seen |= above
        stack += above
    return sorted(found, key=lambda node: node._sequence_nr())


def _slope(node: Any) -> Tensor | None:
    """|dy/dx| of a function of one tensor to one of the same shape; None for others."""
    (shape, *more) = [tuple(result.shape) for result in node._input_metadata]
    if more:
        return None
    dtype = node._input_metadata[0].dtype
    with torch.no_grad():
        given = node.apply(torch.ones(shape, dtype=dtype))
    given = given if isinstance(given, tuple) else (given,)
    found = [part for part in given if part is not None]
    return found[0].abs() if len(found) == 1 and tuple(found[0].shape) == shape else None
