"""Runs back through time: what passes through their pieces read and leave (`passes.py`)."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from bptt.compiler.compiled import Direction
from bptt.course import Course
from bptt.fused import passes
from bptt.fused.job import Job
from bptt.fused.loop import Rows, loop
from bptt.fused.passes import Group, Layout, Part, Pass
from bptt.methods.spans import Spans, Way

LAYOUTS = 32  # that are remembered


def layout(course: Course, way: Way, size: int) -> Layout | None:
    """The runs of a way back, with sums over about `size` steps; None where all go to the first.

    Where they lie depends on no number that is computed: it is laid out once for all calls alike.
    """
    if way.alike is not None and course.lengths is None and course.reset is None:
        return _held(way.alike, course.steps, course.batch, course.reverse, size)
    spans = way.spans(course.counts)
    return None if spans is None else passes.layout(course, spans, size)


@functools.lru_cache(maxsize=LAYOUTS)
def _held(way: Way, steps: int, batch: int, reverse: bool, size: int) -> Layout | None:
    course = Course(steps, batch, None, None, reverse)
    spans = way.spans(course.counts)
    return None if spans is None else passes.layout(course, spans, size)


def by_phase(course: Course, spans: Spans, size: int) -> list[Layout]:
    """One for each phase, whose runs do not meet: each then goes back by itself."""
    phases = spans.phase.unique().tolist() or [0]
    return [passes.layout(course, spans.where(spans.phase == phase), size) for phase in phases]


class Runs:
    """The way back of some runs, part by part.

    Args:
        job: what was run.
        direction: the way back.
        laid: where the runs lie.
        seeds: by carry, (B, width) adjoints of the final state.

    Attributes:
        end: by carry, (B, width) what has arrived at the initial state.
        anew: and at resets.
    """

    def __init__(self, job: Job, direction: Direction, laid: Layout, seeds: Rows) -> None:
        self._job, self._direction = job, direction
        self.end = {name: torch.zeros_like(seed) for name, seed in seeds.items()}
        self.anew = {name: torch.zeros_like(seed) for name, seed in seeds.items()}
        self._rooms: Rows = {}  # what a part keeps lies where the last one's did
        self._through = [seeds]  # by pass, what sequences have come to; before the first: seeds
        for name, seed in seeds.items():
            self.end[name][laid.resting] = seed[laid.resting]

    def run(self, part: Part, reads: Rows) -> Rows:
        """Adjoints kept at each step of a part, summed over the runs, until the next part runs.

        Args:
            part: what goes back.
            reads: what the loop reads in its rows.
        """
        (start, stop), batch = part.window, self._job.course.batch
        kept = self._room((stop - start) * batch)
        if len(part.untouched):
            for leaf in kept.values():
                leaf.index_fill_(0, part.untouched, 0.0)
        for group in part.groups:
            first, last = ((time - start) * batch for time in group.window)
            self._group(group, self._reads(reads, kept, slice(first, last)))
        return kept

    def _room(self, rows: int) -> Rows:
        """Memory for what the loop keeps."""
        found = {}
        for name, _, shape, *_ in self._direction.kept:
            room = self._rooms.get(name)
            if room is None or len(room) < rows:
                room = torch.empty(rows, *shape, dtype=self._job.compiled.dtype)
                self._rooms[name] = room
            found[name] = room[:rows]
        return found

    def _reads(self, reads: Rows, kept: Rows, rows: slice) -> Rows:
        """What the loop reads and fills in a group of rows."""
        steps = self._direction.names.step
        own = {name: reads[name][rows] for name in steps}
        return {**reads, **own, **{name: leaf[rows] for name, leaf in kept.items()}}

    def _group(self, group: Group, memories: Rows) -> None:
        """All passes; what sequences come to counts for the next group, not for this one."""
        results = {n: s.new_zeros(group.size, *s.shape[1:]) for n, s in self._through[0].items()}
        through = list(self._through)
        for number, one in enumerate(group.passes, 1):
            end = self._pass(one, number, group.window, memories, results)
            results = _spread(one.active, end, results)
            at = through[min(number, len(through) - 1)]
            after = {n: at[n].index_copy(0, one.over, leaf[one.edge]) for n, leaf in end.items()}
            through[number : number + 1] = [after]
        self._through = through

    def _pass(
        self, one: Pass, number: int, window: tuple[int, int], memories: Rows, results: Rows
    ) -> Rows:
        """What rows come to."""
        begin = self._begin(one, number, results)
        end = {name: torch.empty_like(leaf) for name, leaf in begin.items()}
        names, own = self._direction.names.sequence, one.rows.sequence
        assert own is not None
        apart = {name: memories[name].index_select(0, own) for name in names}
        shape = window[1] - window[0], self._job.course.batch
        loop(self._job, self._direction, {**memories, **apart}, shape, one.rows, begin, end, None)
        for name, leaf in end.items():
            _add(self.end[name], one.owners, leaf, one.reached)
            _add(self.anew[name], one.parted, leaf, one.left)
        return end

    def _begin(self, one: Pass, number: int, results: Rows) -> Rows:
        """What rows begin with."""
        if one.source is None:
            return results
        known = [results, *self._through[number - 1 : number + 1]]
        return {n: torch.cat([k[n] for k in known]).index_select(0, one.source) for n in results}


def _spread(active: Tensor | None, end: Rows, results: Rows) -> Rows:
    """Results of some of a group's rows among all of them."""
    if active is None:
        return end
    return {name: results[name].index_copy(0, active, leaf) for name, leaf in end.items()}


def _add(total: Tensor, owners: Tensor, leaf: Tensor, places: Tensor) -> None:
    if len(places):
        total.index_add_(0, owners, leaf.index_select(0, places))


def entering(laid: Layout, part: Part, losses: Sequence[Tensor | None]) -> list[Tensor | None]:
    """A part's dE/d(outputs), zero where it enters no run."""
    if laid.entering is None:
        return list(losses)
    mask = laid.entering[slice(*part.window)]
    return [
        a if a is None else torch.where(mask.view(*mask.shape, *[1] * (a.dim() - 2)), a, 0.0)
        for a in losses
    ]
