"""The adjoints of many loss times at once, each for itself, by kernels.

Loss times are one more dimension of the batch: M of them go back together, as M copies of every
sequence, each with its own loss alone. What the forward pass has left is the same for all copies,
and is copied once for all groups of M.

The term of dE_t/dW that step k contributes is sum_b s_b d_b^T, s what the weight multiplies and d
the adjoint of the product. Its norm needs no matrix of the weight's size: it is that of R d, with
s^T = Q R, which has as many rows as there are sequences. Where a weight does not meet rows in one
product (a mask times its absolute value, a weight used twice), the term itself is computed.

Rows are steps, sequences and loss times, (L, B, M), in this order.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.backends.each import At, Inputs
from bptt.backends.norms import norm, together
from bptt.backends.product import Found
from bptt.backends.sweeps import add
from bptt.fused.job import Values
from bptt.fused.shared import Ran, Shared
from bptt.fused.trails import Trails, Work
from bptt.fused.weighing import Mixed, Weighing

ROWS = 256  # sequences that go back at once: what they carry stays in the cache next to the core
MEMORY = 1 << 26  # bytes that terms which have to be computed, or inputs' gradients, may take


class _Left(NamedTuple):
    """What some loss times leave at the L steps that they go through.

    Attributes:
        inputs: (L, B, M, ...) per leaf.
        weighed: (L, M) by weight, of terms that are computed.
        weighing: weighs the others.
    """

    inputs: Found
    weighed: dict[int, Tensor]
    weighing: Weighing


class Back:
    """The way back of loss times through an unroll.

    Args:
        ran: the unroll.
        times: the loss times, ascending.
        inputs, weights: whether those are wanted besides the state's adjoints.
    """

    def __init__(self, ran: Ran, times: Sequence[int], inputs: Inputs, weights: bool) -> None:
        self.shared = shared = Shared(ran, times, inputs, weights)
        self._passage, self._wanted = ran.passage, [t.requires_grad for t in ran.given.own]
        self._mixed = Mixed(shared.compiled, shared.own, shared.terms, shared.fixed)
        self._work = Work()
        self._totals = {  # by node, summed over loss times
            node: torch.zeros_like(value).unflatten(0, (shared.course.steps, -1))
            for node, value in shared.first.items()
            if node in shared.terms.sums.given and node in shared.terms.seeded
        }
        self._summed = self._totals.keys() & {*shared.terms.early}  # while they are weighed
        for node in self._summed:
            first = shared.first[node].unflatten(0, (shared.course.steps, -1))
            self._totals[node][shared.times] = first[shared.times]
        self._begun: Found = [None] * len(shared.places)

    def run(self) -> Iterator[At]:
        """Every pair of a loss time and a step, some loss times at once."""
        size, times = self._size(), self.shared.times
        for first in range(0, len(times), size):
            rows = slice(first, min(first + size, len(times)))
            yield self._at(rows, Trails(self.shared, self._work, torch.tensor(times[rows])))

    def sums(self) -> Found:
        """dE/dW of all loss times together, once they have run."""
        shared, found = self.shared, self.shared.terms.sums
        if not shared.times:
            return self._begun
        totals = {node: total.flatten(0, 1) for node, total in self._totals.items()}
        values = {**shared.values, **shared.first, **totals}
        given, rows = [values[node] for node in found.given], shared.course.steps
        sums = found.run(given, shared.fixed, rows, rows * shared.course.batch)
        reached = dict(zip(shared.terms.reached, sums, strict=True))
        pulled = shared.compiled.weights.pull(shared.own, self._wanted, reached)
        return [add(pulled[place], b) for place, b in zip(shared.places, self._begun, strict=True)]

    def _size(self) -> int:
        """How many loss times go back at once."""
        shared, batch = self.shared, max(self.shared.course.batch, 1)
        graph = shared.terms.direction.columns.graph
        row = sum(math.prod(graph[node].shape) for _, node in shared.terms.inputs)
        row *= shared.course.steps * batch * shared.compiled.dtype.itemsize
        return max(min(ROWS // batch, MEMORY // max(row, 1), len(shared.times)), 1)

    def _at(self, rows: slice, trails: Trails) -> At:
        """What some loss times leave at all steps that they go through."""
        left, found = self._room(trails), self.shared.terms
        for window in trails.windows():
            self._go(trails, window, left)
        trails.complete()
        self._enter(trails, left)
        inputs = [None if leaf is None else leaf.transpose(1, 2) for leaf in left.inputs]
        sizes = trails.norm(found.input_norms, trails.span)
        sizes = together(inputs, 3) if found.inputs else sizes
        norms: Found = [left.weighed.get(place) for place in self.shared.places]
        nothing: Found = [None] * len(norms)
        return At(rows, trails.span, self._state(trails), sizes, inputs, norms, nothing)

    def _room(self, trails: Trails) -> _Left:
        """Room for what loss times leave."""
        found, shape = self.shared.terms, trails.shape(trails.span)
        graph, dtype = found.direction.columns.graph, self.shared.compiled.dtype
        inputs: Found = [None] * len(self._passage.inputs)
        for leaf, node in found.inputs:
            inputs[leaf] = torch.empty(*shape, *graph[node].shape, dtype=dtype)
        weighed = {place: torch.zeros(shape[::2], dtype=torch.float64) for place in found.mixed}
        live, totals = trails.live(), {n: self._totals[n] for n in self._summed}
        plain = self.shared.plain.begin(found.early, trails.span, live, trails.count, totals)
        return _Left(inputs, weighed, plain)

    def _go(self, trails: Trails, window: slice, left: _Left) -> None:
        """Go through a window and note what is left there."""
        vectors, shape = trails.run(window), trails.shape(window)
        found, fixed = self.shared.terms, self.shared.fixed
        part = slice(window.start - trails.span.start, window.stop - trails.span.start)
        given = [trails.take(node, window, vectors).flatten(0, 2) for node in found.rows.given]
        values = found.rows.run(given, fixed, shape[0], shape.numel())
        apart = iter(value.unflatten(0, shape) for value in values)
        for leaf, _ in found.inputs:
            whole = left.inputs[leaf]
            assert whole is not None
            whole[part] = next(apart)
        before = {leaf: next(apart) for leaf, _ in found.before}
        left.weighing.weigh({**vectors, **dict(zip(found.made, apart, strict=True))}, part.start)
        begun = self._began(before, window)
        if found.mixed:
            for place, leaf in self._computed(trails, window, vectors, begun).items():
                left.weighed[place][part] = leaf
        for node in self._totals.keys() - self._summed:
            self._totals[node][window] += vectors[node].sum(2)

    def _enter(self, trails: Trails, left: _Left) -> None:
        """Add what each loss leaves at its own step, and clear what none goes through."""
        past = trails.past(trails.span)
        for whole in left.weighed.values():
            whole.masked_fill_(past, 0.0)
        times, own = trails.times - trails.span.start, torch.arange(trails.count)
        plain, nothing = left.weighing.norms(), torch.zeros(past.shape, dtype=torch.float64)
        for place, alone in self.shared.alone.items():
            left.weighed[place] = plain.get(place, nothing).clone()
            left.weighed[place][times, own] = alone[trails.times]

    def _state(self, trails: Trails) -> Tensor:
        """(L, M, B) ||dE_t/ds_k||: what reaches s_k from the next step, or from its own loss."""
        shared, span = self.shared, trails.span
        many = span.stop - span.start, trails.count, shared.course.batch
        found = torch.zeros(many, dtype=torch.float64)
        sizes = trails.norm(shared.terms.state_norms, span)
        if sizes is not None:
            goes = ~shared.starts.ends(torch.arange(span.start, span.stop))[:, None]
            to, source = slice(None, -1), slice(1, None)
            if shared.course.reverse:
                to, source = source, to
            found[to] = torch.where(goes, sizes, 0.0)[source]
        found[trails.times - span.start, torch.arange(trails.count)] = shared.direct[trails.times]
        return found

    def _computed(
        self, trails: Trails, window: slice, vectors: Values, begun: dict[int, Found]
    ) -> dict[int, Tensor]:
        """(L, M) by weight, of terms that have to be computed: a few steps at a time."""
        shared, found = self.shared, self.shared.terms
        taken = [trails.take(n, window, vectors).transpose(1, 2) for n in found.sums.given]
        size = max(MEMORY // (trails.count * sum(shared.own[i].nbytes for i in found.mixed)), 1)
        mixed = [i for i, place in enumerate(shared.places) if place in found.mixed]
        parts: dict[int, list[Tensor]] = {index: [] for index in mixed}
        for first in range(0, window.stop - window.start, size):
            steps = slice(first, min(first + size, window.stop - window.start))
            computed = self._mixed.vectors([value[steps].flatten(0, 1) for value in taken])
            for index, done in parts.items():
                leaf = computed.get(shared.places[index])
                more = _with(leaf, index, trails.count, steps, window.start, begun)
                done += [norm(term, 1) for term in more]
        return {shared.places[index]: torch.stack(done) for index, done in parts.items()}

    def _began(self, before: dict[int, Tensor], window: slice) -> dict[int, Found]:
        """By step, what the states that are started from leave to the weights, (M, ...) each."""
        if not self.shared.starts.reached:
            return {}
        steps = torch.arange(window.start, window.stop)
        found = {}
        for step in steps[self.shared.starts.ends(steps).any(1)].tolist():
            adjoints = [
                before[i][step - window.start].transpose(0, 1).reshape(-1, *leaf.shape[1:])
                if i in before else None
                for i, leaf in enumerate(self._passage.before)
            ]  # fmt: skip
            many = next(len(a) for a in adjoints if a is not None)
            found[step] = self.shared.starts.pull(torch.full((many,), step), adjoints)
            sums = [None if term is None else term.sum(0) for term in found[step]]
            self._begun = [add(a, b) for a, b in zip(self._begun, sums, strict=True)]
        return found


def _with(
    own: Tensor | None,
    index: int,
    count: int,
    steps: slice,
    start: int,
    begun: dict[int, Found],
) -> Iterator[Tensor]:
    """(M, ...) the terms of one weight, step by step, with what begins there."""
    for place, step in enumerate(range(steps.start, steps.stop)):
        found = None if own is None else own[place * count : (place + 1) * count]
        more = begun[start + step][index] if start + step in begun else None
        both = add(found, more)
        yield torch.zeros(count, 1) if both is None else both
