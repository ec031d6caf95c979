"""What all loss times of an unroll share on their way back.

What the forward pass has left; and what each loss leaves at its own step, where alone it enters:
that is one step of many rows, for all loss times at once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.backends.each import Inputs, Passage, Starts
from bptt.backends.norms import together
from bptt.backends.product import Found
from bptt.compiler.record import Ref
from bptt.course import Course
from bptt.fused.job import Given, Job, Values
from bptt.fused.loop import Rows, loop, memories
from bptt.fused.terms import Terms, Wanted, terms
from bptt.fused.weighing import Plain


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


class Shared:
    """What all loss times of an unroll share.

    Args:
        ran: the unroll.
        times: the loss times, ascending.
        inputs, weights: whether those are wanted besides the state's adjoints.

    Attributes:
        job, course, compiled: what was run.
        longest: steps of the longest sequence.
        times: the loss times at which there is a loss.
        starts: where sequences and episodes begin.
        own: the tensors of the cell.
        places: the number among those of each weight.
        terms: what is wanted, and the columns that give it.
        fixed: what is made of fixed tensors alone.
        values: by node (T * B, ...), what is there for all steps, with the losses.
        reads: by memory, what the loop reads.
        without_losses: those that hang on losses, as they are where none enters.
        first: by node (T * B, ...), what the loop keeps of each loss's own step.
        entered: by carry (T * B, width), what goes on from there to the step before.
        direct: (T, B) ||dE_t/ds_t||.
        inside: (T, B) where adjoints end before the first step of all; None where they nowhere do.
        plain: the norms of terms that are products.
        alone: by weight (T,), norms of the terms of each loss at its own step.
    """

    def __init__(self, ran: Ran, times: Sequence[int], inputs: Inputs, weights: bool) -> None:
        self.job, self.course, self.compiled = ran.job, ran.job.course, ran.job.compiled
        self.longest = int(self.course.counts.max())
        self.times = [t for t in times if t < self.longest]  # the others have no loss
        self.starts = Starts(ran.passage, weights)
        self.own = [tensor.detach() for tensor in ran.given.own]
        numbers = {id(tensor): number for number, tensor in enumerate(ran.given.own)}
        self.places = [numbers[id(source)] for source in ran.passage.replica.sources]
        wanted = frozenset(self.places) if weights else frozenset()
        begun = frozenset(self.places[index] for index in self.starts.reached)
        self.terms = terms(self.compiled, self.own, Wanted(inputs, bool(begun), wanted, begun))
        self.fixed = self.terms.direction.once.run(self.own)
        self.values = _values(ran, self.terms, self.fixed, self.times)
        self.reads = memories(self.job, self.terms.direction, self.values, self.fixed)
        names = self.terms.direction.names.step
        late = [name for name, node in names.items() if node in self.terms.seeded]
        self.without_losses = {name: torch.zeros_like(self.reads[name]) for name in late}
        self.first, self.entered = self._first()
        self.direct = together([None if d is None else d.detach() for d in ran.direct], 2)
        self.inside = self._inside()
        self.plain = Plain(self.terms, self.values, self.fixed, self.course, self.compiled.dtype)
        self.alone = self._alone()

    def kept(self, rows: int) -> Rows:
        """Room for what the loop keeps of so many rows."""
        direction, dtype = self.terms.direction, self.compiled.dtype
        return {part.name: torch.empty(rows, *part.shape, dtype=dtype) for part in direction.kept}

    def by_node(self, kept: Rows) -> Values:
        """What the loop has kept, as values of the graph."""
        parts = [part for part in self.terms.direction.kept if part.name in kept]
        return {p.node: kept[p.name] != 0 if p.mask else kept[p.name] for p in parts}

    def carries(self, rows: int) -> Rows:
        """Zero adjoints, (rows, width) by name."""
        direction = self.terms.direction
        widths = {m.name: m.width for m in direction.loop.memories if m.kind == "carry"}
        names = [name for name in direction.names.carried if name in widths]
        return {name: torch.zeros(rows, widths[name], dtype=self.compiled.dtype) for name in names}

    def _first(self) -> tuple[Values, Rows]:
        direction, rows = self.terms.direction, self.course.steps * self.course.batch
        names, tall = direction.names, self.course.steps
        kept = self.kept(rows)
        tiled = {name: self.reads[name].repeat(tall, 1) for name in names.sequence}
        ends = self.carries(rows)
        if self.times:
            reads, begin = {**self.reads, **tiled, **kept}, self.carries(rows)
            loop(self.job, direction, reads, (1, rows), None, begin, ends, None)
        return self.by_node(kept), ends

    def _inside(self) -> Tensor | None:
        course = self.course
        if course.reset is None and not (course.reverse and course.lengths is not None):
            return None
        return self.starts.ends(torch.arange(course.steps)).contiguous()

    def _alone(self) -> dict[int, Tensor]:
        found, steps, batch = self.terms.own, self.course.steps, self.course.batch
        if not self.terms.d or not self.times:
            return {}
        given = [{**self.values, **self.first}[node] for node in found.given]
        rows = found.run(given, self.fixed, steps, steps * batch)
        apart = [row.unflatten(0, (steps, batch, 1)) for row in rows]
        every = torch.zeros(steps, dtype=torch.int64), torch.ones(steps, dtype=torch.int64)
        weighing = self.plain.begin(self.terms.d, slice(None), every, 1, {})
        weighing.weigh(dict(zip(self.terms.d, apart, strict=True)), 0)
        return {weight: leaf[:, 0] for weight, leaf in weighing.norms().items()}


def _values(ran: Ran, found: Terms, fixed: dict[Ref, Tensor], times: Sequence[int]) -> Values:
    """What the way back reads at all steps, with the losses of the chosen times."""
    compiled, course, direction = ran.job.compiled, ran.job.course, found.direction
    needed = {*direction.taken, *found.sources.given, *found.rows.given, *found.sums.given}
    needed |= {*found.own.given}
    values = {n: _sound(course, ran.values[n].detach()) for n in needed if n in ran.values}
    chosen = torch.zeros(course.steps, course.batch, dtype=torch.bool)
    chosen[times] = True
    if course.live is not None:
        chosen &= course.live.view_as(chosen)
    for node, index, shape in compiled.losses:
        loss = ran.passage.losses[index]
        if loss is None:
            values[node] = torch.zeros(course.steps * course.batch, *shape, dtype=compiled.dtype)
        else:
            kept = chosen.reshape(*chosen.shape, *[1] * (loss.dim() - 2))
            loss = torch.where(kept, loss, 0.0).to(compiled.dtype)
            values[node] = loss.reshape(-1, *shape).contiguous()
    before, rows = direction.before, course.steps * course.batch
    made = before.run([values[n] for n in before.given], fixed, course.steps, rows)
    return {**values, **dict(zip(direction.columns.before, made, strict=True))}


def _sound(course: Course, value: Tensor) -> Tensor:
    """A value with a live row in place of each that does not count: those may hold anything."""
    live = course.live
    if live is None:
        return value
    return value.index_select(0, torch.where(live, torch.arange(len(live)), live.nonzero()[0]))
