"""Runs back through time: what passes through their pieces read and leave (`passes.py`)."""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bptt.compiler.compiled import Direction
from bptt.course import Course
from bptt.fused import passes
from bptt.fused.forward import add_kept
from bptt.fused.job import Job, Values
from bptt.fused.legs import Legs
from bptt.fused.loop import Fixed, Rows
from bptt.fused.passes import Group, Layout, Leg, Part, Pass
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
        fixed: what the direction computes once.

    Attributes:
        end: by carry, (B, width) what has arrived at the initial state.
        anew: and at resets.
    """

    def __init__(
        self, job: Job, direction: Direction, laid: Layout, seeds: Rows, fixed: Fixed
    ) -> None:
        self._job, self._direction, self._fixed = job, direction, fixed
        self.end = {name: torch.zeros_like(seed) for name, seed in seeds.items()}
        self.anew = {name: torch.zeros_like(seed) for name, seed in seeds.items()}
        self._rooms: Rows = {}  # what a part keeps lies where the last one's did
        self._through = [seeds]  # by pass, what sequences have come to; before the first: seeds
        for name, seed in seeds.items():
            self.end[name][laid.resting] = seed[laid.resting]

    def run(self, part: Part, values: Values) -> Values:
        """What the loop keeps at each step of a part, until the next part runs, and its sums.

        Args:
            part: what goes back.
            values: what there is for the way back, in its rows.
        """
        (start, stop), batch = part.window, self._job.course.batch
        kept = self._room((stop - start) * batch)
        if len(part.untouched):
            for leaf in kept.values():
                leaf.index_fill_(0, part.untouched, 0.0)
        legs = Legs(self._job, self._direction, values, self._fixed, kept)
        for group in part.groups:
            first, last = group.window
            self._group(group, legs, (first - start, last - start))
        add_kept(self._direction, kept, legs.sums)
        return legs.sums

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

    def _group(self, group: Group, legs: Legs, window: tuple[int, int]) -> None:
        """All passes; what sequences come to counts for the next group, not for this one."""
        results = {n: s.new_zeros(group.size, *s.shape[1:]) for n, s in self._through[0].items()}
        through = list(self._through)
        for number, one in enumerate(group.passes, 1):
            goes = functools.partial(legs.run, window=window)
            results = self._pass(one, goes, results, self._through[number - 1 : number + 1])
            at = through[min(number, len(through) - 1)]
            after = {
                name: at[name].index_copy(0, one.over, leaf.index_select(0, one.edge))
                for name, leaf in results.items()
            }
            through[number : number + 1] = [after]
        self._through = through

    def _pass(
        self, one: Pass, goes: Callable[..., Rows], results: Rows, through: Sequence[Rows]
    ) -> Rows:
        """What rows have come to behind one more pass."""
        found = results
        for leg in one.legs:
            end = goes(leg, begin=_begin(leg, [results, found, *through]))
            found = _spread(leg.active, end, found)
        for name, leaf in found.items():
            _add(self.end[name], one.owners, leaf, one.reached)
            _add(self.anew[name], one.parted, leaf, one.left)
        return found


def _begin(leg: Leg, known: Sequence[Rows]) -> Rows:
    """What rows begin with, among these."""
    if leg.source is None:
        return known[0]
    return {n: torch.cat([k[n] for k in known]).index_select(0, leg.source) for n in known[0]}


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
