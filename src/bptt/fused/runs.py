"""Runs back through time: what passes through their pieces read and leave (`passes.py`)."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from bptt.compiler.compiled import Direction
from bptt.course import Course
from bptt.fused import passes
from bptt.fused.forward import add_kept
from bptt.fused.job import Job, Values
from bptt.fused.legs import Legs
from bptt.fused.loop import Fixed, Rows
from bptt.fused.passes import Ends, Layout, Part
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
    """

    def __init__(
        self, job: Job, direction: Direction, laid: Layout, seeds: Rows, fixed: Fixed
    ) -> None:
        self._job, self._direction, self._laid, self._fixed = job, direction, laid, fixed
        self._seeds, self._rooms = seeds, Rows()  # a part keeps what the last one's lay in
        self._carried: Rows = {}  # of every run
        for name, seed in seeds.items():
            carried = self._carried[name] = seed.new_zeros(laid.count, seed.shape[1])
            carried[laid.final.runs] = seed[laid.final.sequences]

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
            for leg in group.legs:
                legs.run(leg, (first - start, last - start), self._carried)
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

    def ends(self) -> tuple[Rows, Rows]:
        """By carry, (B, width) what has arrived at the initial state, and at resets."""
        end, anew = self._arrived(self._laid.reached), self._arrived(self._laid.left)
        for name, seed in self._seeds.items():
            end[name][self._laid.resting] = seed[self._laid.resting]
        return end, anew

    def _arrived(self, ends: Ends) -> Rows:
        """What some runs have come to, added up by sequence."""
        return {
            name: torch.zeros_like(self._seeds[name]).index_add_(0, ends.sequences, leaf[ends.runs])
            for name, leaf in self._carried.items()
        }


def entering(laid: Layout, part: Part, losses: Sequence[Tensor | None]) -> list[Tensor | None]:
    """A part's dE/d(outputs), zero where it enters no run."""
    if laid.entering is None:
        return list(losses)
    mask = laid.entering[slice(*part.window)]
    return [
        a if a is None else torch.where(mask.view(*mask.shape, *[1] * (a.dim() - 2)), a, 0.0)
        for a in losses
    ]
