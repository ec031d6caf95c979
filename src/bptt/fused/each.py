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

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.backends.each import At, Passage, Starts
from bptt.backends.norms import norm, together
from bptt.backends.product import Found
from bptt.backends.sweeps import add
from bptt.compiler.record import Ref
from bptt.course import Course
from bptt.fused.copies import Copies
from bptt.fused.job import Given, Job, Values
from bptt.fused.loop import Rows, loop, memories
from bptt.fused.terms import Terms, terms
from bptt.fused.weighing import Mixed, Plain

ROWS = 128  # sequences that go back at once: what they carry stays in the cache next to the core
MEMORY = 1 << 26  # bytes that copies of what the forward pass has left may take


class Ran(NamedTuple):
    """An unroll that kernels have run once.

    Attributes:
        job: what was run.
        given: its tensors.
        values: what the forward pass has left, (T * B, ...) per node.
        passage: the same, step by step.
        direct: (T, B, ...) per leaf of the state, what reaches s_t from E_t at the same step.
    """

    job: Job
    given: Given
    values: Values
    passage: Passage
    direct: Found


class Back:
    """The way back of loss times through an unroll.

    Args:
        ran: the unroll.
        times: the loss times, ascending.
        inputs, weights: whether those are wanted besides the state's adjoints.
    """

    def __init__(self, ran: Ran, times: Sequence[int], inputs: bool, weights: bool) -> None:
        self.ran, self.course, self.compiled = ran, ran.job.course, ran.job.compiled
        self.longest = int(self.course.counts.max())
        self.times = [t for t in times if t < self.longest]  # the others have no loss
        self.starts = Starts(ran.passage, weights)
        self.own = [tensor.detach() for tensor in ran.given.own]
        numbers = {id(tensor): number for number, tensor in enumerate(ran.given.own)}
        self.places = [numbers[id(source)] for source in ran.passage.replica.sources]
        wanted = frozenset(self.places) if weights else frozenset()
        begun = frozenset(self.places[index] for index in self.starts.reached)
        self.terms = terms(self.compiled, self.own, inputs, wanted, begun)
        self.fixed = self.terms.direction.once.run(self.own)
        self.values = _values(ran, self.terms, self.fixed, self.times)
        self.reads = memories(ran.job, self.terms.direction, self.values, self.fixed)
        self.plain = Plain(self.terms, self.values, self.fixed, self.course, self.compiled.dtype)
        self.mixed = Mixed(self.compiled, self.own, self.terms, self.fixed)
        rows = self.course.steps * self.course.batch
        self.summed = self.carries(rows) if weights else {}
        self.begun: Found = [None] * len(self.places)
        self._usual: Tensor | None = None  # by lag, what brings adjoints' norms to about 1

    def run(self) -> Iterator[At]:
        """Every pair of a loss time and a step, some loss times at once."""
        size = self._size()
        copies = Copies(self, size) if self.times else None
        for first in range(0, len(self.times), size):
            rows = slice(first, min(first + size, len(self.times)))
            if copies is None or rows.stop - first != copies.count:
                copies = Copies(self, rows.stop - first)
            yield self._at(rows, copies)

    def sums(self) -> Found:
        """dE/dW of all loss times together, once they have run: the adjoints' sums, one step on."""
        found, course, names = self.terms, self.course, self.terms.direction.names
        if not self.summed:
            return self.begun
        rows = course.steps * course.batch
        kept = self.kept(rows)
        tiled = {name: self.reads[name].repeat(course.steps, 1) for name in names.sequence}
        reads = {**self.reads, **tiled, **kept}
        ends = {name: torch.empty_like(leaf) for name, leaf in self.summed.items()}
        loop(self.ran.job, found.direction, reads, (1, rows), None, self.summed, ends, None)
        values = {**self.values, **self.by_node(kept)}
        given = [values[node] for node in found.sums.given]
        sums = found.sums.run(given, self.fixed, course.steps, rows)
        reached = dict(zip(found.reached, sums, strict=True))
        wanted = [tensor.requires_grad for tensor in self.ran.given.own]
        pulled = self.compiled.weights.pull(self.own, wanted, reached)
        return [add(pulled[place], b) for place, b in zip(self.places, self.begun, strict=True)]

    def _at(self, rows: slice, copies: Copies) -> At:
        """What some loss times leave at all of their steps."""
        times, found = torch.tensor(self.times[rows]), self.terms
        low, high = int(times[0]), int(times[-1]) + 1
        window = slice(low, self.longest) if self.course.reverse else slice(0, high)
        kept = copies.run(times, window)
        count = (window.stop - window.start) * self.course.batch * copies.count
        given = copies.take(found.rows.given, window, kept)
        values = found.rows.run(given, self.fixed, window.stop - window.start, count)
        ends = len(found.inputs), len(found.inputs) + len(found.before)
        values[: ends[1]] = [value.contiguous() for value in values[: ends[1]]]
        for value in values[: ends[1]]:
            copies.clear_past(value, times, window)
        values = [value.unflatten(0, (-1, self.course.batch, copies.count)) for value in values]
        inputs: Found = [None] * len(self.ran.passage.inputs)
        for index, value in zip(found.inputs, values, strict=False):
            inputs[index] = value.transpose(1, 2)
        before = dict(zip(found.before, values[ends[0] : ends[1]], strict=True))
        d = dict(zip(found.roots[ends[1] :], values[ends[1] :], strict=True))
        begun = self._begun(before, window)
        scale = self._scale(times, window)
        plain = self.plain.norms(d, times, window, scale)
        norms = self._norms(plain, copies, kept, window, begun)
        copies.clear(times)
        steps = torch.arange(window.start, window.stop)[:, None]
        past = steps > times if not self.course.reverse else steps < times
        norms = [n if n is None else n.masked_fill(past, 0.0) for n in norms]
        state = self._state(before, times, window, scale).masked_fill(past[..., None], 0.0)
        self._learn(state, window)
        return At(rows, window, state, inputs, norms, [None] * len(norms))

    def _scale(self, times: Tensor, window: slice) -> Tensor | None:
        """(L,) what brings norms at each step to about 1, by what loss times before have shown."""
        if self._usual is None or self.compiled.dtype == torch.float64:
            return None
        own = times[0] if self.course.reverse else times[-1]
        lags = (torch.arange(window.start, window.stop) - own).abs()
        return self._usual[lags.clamp(max=len(self._usual) - 1)]

    def _learn(self, state: Tensor, window: slice) -> None:
        """Note how large adjoints are by lag, from (L, M, B) norms."""
        by_lag = state.amax((1, 2)) if self.course.reverse else state.amax((1, 2)).flip(0)
        largest = by_lag.nan_to_num(0.0, 0.0, 0.0).clamp(1e-37, 1e37)
        self._usual = torch.exp2(-torch.log2(largest).round())

    def _state(
        self, before: dict[int, Tensor], times: Tensor, window: slice, scale: Tensor | None
    ) -> Tensor:
        """(L, M, B) ||dE_t/ds_k||: what reaches s_k from the next step, or from the loss at once.

        Args:
            before: (L, B, M, ...) per leaf: the adjoint of the state that each step starts from.
            times: (M,) the loss times.
            window: the L steps.
            scale: (L,) what brings norms to about 1, if that is known.
        """
        steps = torch.arange(window.start, window.stop)
        goes, own = ~self.starts.ends(steps), torch.arange(len(times))
        found = torch.zeros(len(steps), self.course.batch, len(times), dtype=torch.float64)
        behind, ahead = slice(1, None), slice(None, -1)
        to, source = (behind, ahead) if self.course.reverse else (ahead, behind)
        if before:
            kept = goes[source, :, None]
            found[to] = torch.where(kept, together(list(before.values()), 3, scale)[source], 0.0)
            for leaf, adjoint in before.items():
                whole = self.summed.get(self.terms.direction.names.carried[leaf])
                if whole is not None:
                    rows = whole.view(self.course.steps, self.course.batch, -1)[window][to]
                    sums = adjoint[source].flatten(3).sum(2)
                    rows += torch.where(kept, sums, 0.0)
        direct = [None if d is None else d[times] for d in self.ran.direct]
        found[times - window.start, :, own] = together(direct, 2)
        return found.transpose(1, 2)

    def _begun(self, before: dict[int, Tensor], window: slice) -> dict[int, Found]:
        """By step, what the states that are started from leave to the weights, (M, ...) each."""
        if not self.starts.reached:
            return {}
        steps = torch.arange(window.start, window.stop)
        found = {}
        for step in steps[self.starts.ends(steps).any(1)].tolist():
            adjoints = [
                before[i][step - window.start].transpose(0, 1).reshape(-1, *leaf.shape[1:])
                if i in before else None
                for i, leaf in enumerate(self.ran.passage.before)
            ]  # fmt: skip
            many = next(len(a) for a in adjoints if a is not None)
            found[step] = self.starts.pull(torch.full((many,), step), adjoints)
            sums = [None if term is None else term.sum(0) for term in found[step]]
            self.begun = [add(a, b) for a, b in zip(self.begun, sums, strict=True)]
        return found

    def _norms(
        self,
        plain: dict[int, Tensor],
        copies: Copies,
        kept: Rows,
        window: slice,
        begun: dict[int, Found],
    ) -> Found:
        """(L, M) per weight; terms that have to be computed are, a few steps at a time."""
        found = [plain.get(place) for place in self.places]
        if not self.terms.mixed:
            return found
        given = copies.take(self.terms.sums.given, window, kept)
        shape = window.stop - window.start, self.course.batch, copies.count
        given = [value.unflatten(0, shape).transpose(1, 2) for value in given]
        size = max(MEMORY // (copies.count * sum(self.own[i].nbytes for i in self.terms.mixed)), 1)
        parts: dict[int, list[Tensor]] = {index: [] for index in self._whole()}
        for first in range(0, shape[0], size):
            steps = slice(first, min(first + size, shape[0]))
            vectors = self.mixed.vectors([value[steps].flatten(0, 1) for value in given])
            for index, done in parts.items():
                own = vectors.get(self.places[index])
                done += [
                    norm(whole, 1)
                    for whole in _with(own, index, copies.count, steps, window.start, begun)
                ]
        for index, done in parts.items():
            found[index] = torch.stack(done)
        return found

    def _whole(self) -> list[int]:
        """Which weights' terms have to be computed."""
        return [i for i, place in enumerate(self.places) if place in self.terms.mixed]

    def kept(self, rows: int) -> Rows:
        """Room for what the loop keeps of so many rows."""
        graph, names = self.terms.direction.columns.graph, self.terms.direction.names
        dtype = self.compiled.dtype
        return {
            name: torch.empty(rows, *graph[n].shape, dtype=dtype) for name, n in names.kept.items()
        }

    def by_node(self, kept: Rows) -> Values:
        """What the loop has kept, as values of the graph."""
        graph, names = self.terms.direction.columns.graph, self.terms.direction.names.kept
        return {n: kept[name] != 0 if graph[n].mask else kept[name] for name, n in names.items()}

    def carries(self, rows: int) -> Rows:
        """Zero adjoints, (rows, width) by name."""
        direction = self.terms.direction
        widths = {m.name: m.width for m in direction.loop.memories if m.kind == "carry"}
        names = [name for name in direction.names.carried if name in widths]
        return {name: torch.zeros(rows, widths[name], dtype=self.compiled.dtype) for name in names}

    def _size(self) -> int:
        """How many loss times go back at once."""
        loop_ = self.terms.direction.loop
        row = (
            sum(m.width for m in loop_.memories if m.kind == "step") * self.compiled.dtype.itemsize
        )
        steps = max(self.course.steps * self.course.batch * row, 1)
        most = min(ROWS // self.course.batch, MEMORY // steps, len(self.times))
        return max(most, 1)


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


def _values(ran: Ran, found: Terms, fixed: dict[Ref, Tensor], times: Sequence[int]) -> Values:
    """What the way back reads at all steps, with the losses of the chosen times."""
    compiled, course, direction = ran.job.compiled, ran.job.course, found.direction
    needed = {*direction.taken, *found.sources.given, *found.rows.given, *found.sums.given}
    values = {n: _sound(course, ran.values[n].detach()) for n in needed if n in ran.values}
    chosen = torch.zeros(course.steps, dtype=torch.bool)
    chosen[times] = True
    for node, index, shape in compiled.losses:
        loss = ran.passage.losses[index]
        if loss is None:
            values[node] = torch.zeros(course.steps * course.batch, *shape, dtype=compiled.dtype)
        else:
            kept = chosen.reshape(-1, *[1] * (loss.dim() - 1))
            loss = torch.where(kept, loss, 0.0).to(compiled.dtype)
            values[node] = loss.reshape(-1, *shape).contiguous()
    before, rows = direction.before, course.steps * course.batch
    made = before.run([values[n] for n in before.given], fixed, course.steps, rows)
    return {**values, **dict(zip(direction.columns.before, made, strict=True))}


def _sound(course: Course, value: Tensor) -> Tensor:
    """A value with a live row in place of each that does not count: those may hold anything."""
    lengths = course.lengths
    if lengths is None:
        return value
    live = (torch.arange(course.steps)[:, None] < lengths).flatten()
    return value.index_select(0, torch.where(live, torch.arange(len(live)), live.nonzero()[0]))
