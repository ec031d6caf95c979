"""A step's way back for each loss time by itself: its columns, and what is wanted of them."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

from torch import Tensor

from bptt.backends.each import Inputs
from bptt.compiler import split
from bptt.compiler.compiled import Compiled, Direction
from bptt.compiler.graph import Graph
from bptt.compiler.parallel import Parallel, parallel
from bptt.compiler.record import Ref
from bptt.fused import products
from bptt.fused.products import Term

Leaves = tuple[tuple[int, int], ...]  # (number of the leaf, node)


class Terms(NamedTuple):
    """A step's way back for each loss time by itself.

    Attributes:
        direction: its columns, with all that is wanted kept in trails.
        state_norms: of the gradients of the state before, kept by the loop.
        input_norms: of the inputs' gradients, kept by the loop.
        rows: computes what has a row for each sequence: of `inputs`, `before` and `made`.
        inputs, before: the gradients themselves, of leaves where they are wanted.
        early: every d that what comes from later steps moves.
        made: those of them that the loop does not keep.
        own: computes every d at a loss's own step, where nothing comes from later ones: `d`.
        d: all of them.
        sources: computes every s.
        plain: the terms of the weights whose norm needs no matrix.
        sums: computes what is summed over rows: the gradients of `reached`.
        reached: the fixed tensors that have one.
        mixed: the weights whose terms have to be computed.
        seeded: the nodes that hang on a loss, or on what comes from later steps.
    """

    direction: Direction
    state_norms: Leaves
    input_norms: Leaves
    rows: Parallel
    inputs: Leaves
    before: Leaves
    early: tuple[int, ...]
    made: tuple[int, ...]
    own: Parallel
    d: tuple[int, ...]
    sources: Parallel
    plain: tuple[Term, ...]
    sums: Parallel
    reached: tuple[Ref, ...]
    mixed: frozenset[int]
    seeded: frozenset[int]

    @property
    def looks_everywhere(self) -> bool:
        """Whether trails are read at steps that a loss time does not go through, too."""
        kept = {part.node for part in self.direction.kept}
        summed = kept & self.seeded & {*self.sums.given}
        return bool(self.rows.given or self.mixed or summed - {*self.early})


class Wanted(NamedTuple):
    """What is wanted of each loss time at each step, besides the norms of the state's gradients.

    Attributes:
        inputs: the inputs' gradients: "norms", "vectors" or None.
        before: whether the state's gradients themselves.
        weights: the weights whose terms are.
        whole: those of them whose terms have to be computed in any case.
    """

    inputs: Inputs
    before: bool
    weights: frozenset[int]
    whole: frozenset[int]


_KNOWN: WeakKeyDictionary[Compiled, dict[Wanted, Terms]] = WeakKeyDictionary()


def terms(compiled: Compiled, own: Sequence[Tensor], wanted: Wanted) -> Terms:
    """The terms of a step, whose cell has these tensors."""
    known = _KNOWN.setdefault(compiled, {})
    if wanted not in known:
        known[wanted] = _made(compiled, own, wanted)
    return known[wanted]


def _made(compiled: Compiled, own: Sequence[Tensor], wanted: Wanted) -> Terms:
    graph = compiled.step.graph.copy()
    step = compiled.step._replace(graph=graph)
    seeded = graph.descendants([*graph.leaves("d_output"), *graph.leaves("d_state")])
    plain = products.plain(compiled, own, wanted.weights - wanted.whole)
    pairs = zip(step.frontier, step.d_fixed, strict=True)
    sums = {ref: node for ref, node in pairs if node is not None and wanted.weights}
    d_inputs, d_before = (
        tuple((leaf, n) for leaf, n in enumerate(nodes) if n in seeded)
        for nodes in (step.d_inputs, step.d_before)
    )
    inputs = d_inputs if wanted.inputs == "vectors" else ()
    before = d_before if wanted.before else ()
    waiting = graph.descendants(graph.leaves("d_state"))
    rows = tuple(dict.fromkeys(term.row for term in plain))
    early = tuple(row for row in rows if row in waiting)
    given = compiled.backward(frozenset()).columns.given
    stored = [node for node in given if graph[node].op != "d_output"]
    state_norms = _norms(graph, d_before)
    input_norms = _norms(graph, d_inputs) if wanted.inputs == "norms" else ()
    vectors = [node for _, node in (*inputs, *before)]
    small = [node for _, node in (*state_norms, *input_norms)]
    columns = split.backward(step, stored, vectors, [*sums.values(), *rows], small)
    made = [row for row in early if row not in columns.kept]
    at_hand = (*columns.given, *columns.before, *columns.kept)
    sources = dict.fromkeys(term.source for term in plain if term.source is not None)
    return Terms(
        _with_trails(compiled.direction(columns, "d_state", frozenset())),
        state_norms,
        input_norms,
        parallel(graph, at_hand, (*vectors, *made), compiled.dtype),
        inputs,
        before,
        early,
        tuple(made),
        parallel(graph, at_hand, rows, compiled.dtype),
        rows,
        parallel(graph, stored, tuple(sources), compiled.dtype),
        plain,
        parallel(graph, at_hand, tuple(sums.values()), compiled.dtype),
        tuple(sums),
        wanted.weights - {term.weight for term in plain},
        frozenset(seeded),
    )


def _with_trails(direction: Direction) -> Direction:
    """The loop keeping what it keeps for each of several rows that share a sequence."""
    memories = tuple(
        memory._replace(kind="trail") if memory.name in direction.names.kept else memory
        for memory in direction.loop.memories
    )
    return dataclasses.replace(direction, loop=direction.loop._replace(memories=memories), made={})


LEAST = 1e-30  # numbers are divided by the largest of them, or by this


def _norms(graph: Graph, leaves: Leaves) -> Leaves:
    """Euclid's norm of each leaf, whose squares may leave the range of its numbers."""
    return tuple((leaf, _norm(graph, node)) for leaf, node in leaves)


def _norm(graph: Graph, node: int) -> int:
    axes = range(len(graph[node].shape))
    sizes = graph.call("abs", node)
    largest = graph.reduce("max", sizes, axes, keep=True)
    unit = graph.call("maximum", largest, graph.number(LEAST))
    scaled = graph.call("mul", sizes, graph.call("reciprocal", unit))
    squares = graph.reduce("sum", graph.call("mul", scaled, scaled), axes, keep=True)
    norm = graph.call("mul", graph.call("sqrt", squares), unit)
    return graph.call("where", graph.call("isinf", largest), largest, norm)
