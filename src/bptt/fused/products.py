"""Where a step's weights meet rows in products alone: the terms whose norm needs no matrix."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.compiler.compiled import Compiled
from bptt.compiler.graph import Graph
from bptt.compiler.once import refs
from bptt.compiler.record import Ref

# Operations that move a tensor's elements about, so that no norm changes.
_MOVES = frozenset(
    ("t", "transpose", "permute", "view", "_unsafe_view", "reshape", "squeeze", "unsqueeze",
     "alias", "clone", "contiguous")
)  # fmt: skip
_CUTS = _MOVES | {"slice", "select", "split", "split_with_sizes", "chunk", "unbind", "narrow"}


class Term(NamedTuple):
    """A part of a weight's gradient: the sum over rows of s d^T.

    Attributes:
        weight: the number of the weight.
        source: the node s that no loss moves; None for the number 1.
        row: the node d that hangs on the loss.
    """

    weight: int
    source: int | None
    row: int


def plain(compiled: Compiled, own: Sequence[Tensor], weights: frozenset[int]) -> tuple[Term, ...]:
    """The terms of weights that are made of products alone."""
    graph, step = compiled.step.graph, compiled.step
    seeded = graph.descendants([*graph.leaves("d_output"), *graph.leaves("d_state")])
    found: list[Term] = []
    gradients = {r: n for r, n in zip(step.frontier, step.d_fixed, strict=True) if n is not None}
    origins = _origins(compiled)
    for weight in sorted(weights):
        name = Ref(f"w{weight}")
        parts = [name] if name in gradients else [r for r in gradients if name in origins[r]]
        products = [_product(graph, gradients[part], seeded) for part in parts]
        whole = all(part == name or _is_cut(compiled, part) for part in parts)
        if whole and None not in products and _are_apart(compiled, own, weight, parts):
            found += [Term(weight, *product) for product in products if product is not None]
    return tuple(found)


def _product(graph: Graph, node: int, seeded: set[int]) -> tuple[int | None, int] | None:
    """(s, d) of a sum over rows of s d^T, in whatever order of elements; None if it is none."""
    while graph[node].op == "linear":
        if graph[node].attributes[0]._schema.name.removeprefix("aten::") not in _MOVES:
            return None
        (node,) = graph[node].operands
    op, operands, _, attributes, _ = graph[node]
    if op == "total":
        return None, operands[0]
    if op != "outer" or attributes:
        return None
    late = [o for o in operands if o in seeded]
    early = [o for o in operands if o not in seeded]
    return (early[0], late[0]) if len(early) == 1 else None


def _origins(compiled: Compiled) -> dict[Ref, set[Ref]]:
    """The tensors of the cell that each fixed tensor is made of."""
    found: dict[Ref, set[Ref]] = {}
    for operation in compiled.step.once:
        made = set()
        for ref in refs((operation.args, operation.kwargs)):
            made |= found.get(ref, {ref})
        found.update((name, made) for name in operation.results if name is not None)
    return {ref: found.get(ref, {ref}) for ref in compiled.step.frontier}


def _is_cut(compiled: Compiled, name: Ref) -> bool:
    """Whether a fixed tensor is a weight's elements, moved about or some of them left out."""
    makers = {n: op for op in compiled.step.once for n in op.results if n is not None}
    while name in makers:
        operation = makers[name]
        if operation.func._schema.name.removeprefix("aten::") not in _CUTS:
            return False
        (name,) = refs((operation.args, operation.kwargs))
    return True


def _are_apart(
    compiled: Compiled, own: Sequence[Tensor], weight: int, parts: Sequence[Ref]
) -> bool:
    """Whether no element of a weight is in two of its parts."""
    if len(parts) < 2:
        return True
    numbers = torch.arange(own[weight].numel()).to(own[weight].dtype).reshape(own[weight].shape)
    with torch.no_grad():
        given = [numbers if i == weight else t for i, t in enumerate(own)]
        fixed = compiled.weights.run(given)
    elements = torch.cat([fixed[part].flatten() for part in parts])
    return len(elements.unique()) == len(elements)
