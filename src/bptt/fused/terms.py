"""Where a step's weights meet rows: what each loss time's terms of their gradients are made of."""

from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from bptt.compiler import split
from bptt.compiler.compiled import Compiled, Direction
from bptt.compiler.graph import Graph
from bptt.compiler.once import refs
from bptt.compiler.parallel import Parallel, parallel
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


class Terms(NamedTuple):
    """A step's way back for each loss time by itself.

    Attributes:
        direction: its columns, with all that is wanted kept.
        rows: computes what has a row for each sequence: `roots`.
        roots: the gradients of the inputs, of the state before, then the terms' d.
        inputs, before: which leaves of the inputs and of the state have a gradient.
        sources: computes every s.
        plain: the terms of the weights whose norm needs no matrix.
        sums: computes what is summed over rows: the gradients of `reached`.
        reached: the fixed tensors that have one.
        mixed: the weights whose terms have to be computed.
    """

    direction: Direction
    rows: Parallel
    roots: tuple[int, ...]
    inputs: tuple[int, ...]
    before: tuple[int, ...]
    sources: Parallel
    plain: tuple[Term, ...]
    sums: Parallel
    reached: tuple[Ref, ...]
    mixed: frozenset[int]


_KNOWN: WeakKeyDictionary[Compiled, dict[tuple, Terms]] = WeakKeyDictionary()


def terms(
    compiled: Compiled,
    own: Sequence[Tensor],
    inputs: bool,
    weights: frozenset[int],
    whole: frozenset[int],
) -> Terms:
    """The terms of a step.

    Args:
        compiled: the step.
        own: the tensors of its cell.
        inputs: whether the inputs' gradients are wanted.
        weights: the weights whose terms are.
        whole: those of them whose terms have to be computed in any case.
    """
    known = _KNOWN.setdefault(compiled, {})
    key = inputs, weights, whole
    if key not in known:
        known[key] = _made(compiled, own, inputs, weights, whole)
    return known[key]


def _made(
    compiled: Compiled,
    own: Sequence[Tensor],
    inputs: bool,
    weights: frozenset[int],
    whole: frozenset[int],
) -> Terms:
    step, graph = compiled.step, compiled.step.graph
    plain = _plain(compiled, own, weights - whole)
    pairs = zip(step.frontier, step.d_fixed, strict=True)
    sums = {ref: node for ref, node in pairs if node is not None and weights}
    d_inputs = {i: n for i, n in enumerate(step.d_inputs) if n is not None and inputs}
    d_before = {i: n for i, n in enumerate(step.d_before) if n is not None}
    rows = dict.fromkeys(term.row for term in plain)
    beside = (*d_before.values(), *rows)
    roots = (*d_inputs.values(), *beside)
    given = compiled.backward(frozenset()).columns.given
    stored = [node for node in given if graph[node].op != "d_output"]
    columns = split.backward(step, stored, list(d_inputs.values()), [*sums.values(), *beside])
    direction = compiled.direction(columns, "d_state", frozenset())
    at_hand = (*columns.given, *columns.before, *columns.kept)
    sources = dict.fromkeys(term.source for term in plain if term.source is not None)
    return Terms(
        direction,
        parallel(graph, at_hand, roots, compiled.dtype),
        roots,
        tuple(d_inputs),
        tuple(d_before),
        parallel(graph, stored, tuple(sources), compiled.dtype),
        plain,
        parallel(graph, at_hand, tuple(sums.values()), compiled.dtype),
        tuple(sums),
        weights - {term.weight for term in plain},
    )


def _plain(compiled: Compiled, own: Sequence[Tensor], weights: frozenset[int]) -> tuple[Term, ...]:
    """The terms of weights that are made of products alone."""
    graph, step = compiled.step.graph, compiled.step
    seeds = [n for n, node in enumerate(graph.nodes) if node.op in ("d_output", "d_state")]
    seeded = graph.descendants(seeds)
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
