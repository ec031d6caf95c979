"""The adjoints of many loss times at once, each for itself, step by step.

A backward pass sums what all losses leave at a step. Here E_t's adjoint enters at step t, and at
step k the vector-Jacobian product of one step is taken for every t that has entered, in one batched
call. So each pair (t, k) has its own dE_t/ds_k, its own dE_t/dx_k, and its own term of dE_t/dW,
which step k's use of W contributes.

Steps are counted in time, in reverse too: so sequences of unlike lengths meet at the same step. The
state that a sequence or an episode starts from belongs to the step that starts from it.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bptt.backends.norms import norm, together
from bptt.backends.point import Point, Run, pulled
from bptt.backends.product import Found, is_real
from bptt.backends.sweeps import add
from bptt.course import Course
from bptt.draws import Draws
from bptt.replica import Replica
from bptt.step import Leaves, Step

MEMORY = 1 << 26  # bytes that the terms of the loss times that go back at once may take

Inputs = Literal["norms", "vectors"] | None  # what is wanted of the inputs' gradients


class Passage(NamedTuple):
    """An unroll that has been run once.

    Attributes:
        step: the cell as a step, of a replica.
        replica: the cell with its weights as leaves of their own.
        course: who steps when.
        draws: the random numbers of the run.
        inputs: (T, B, ...) per leaf.
        before: (T, B, ...) per leaf: the state that each step starts from.
        losses: (T, B, ...) per leaf of the outputs: dE_t/dy_t; None where the loss does not look.
        initial, fresh: what sequences and episodes start from, (B, ...) per leaf, with its history.
    """

    step: Step
    replica: Replica
    course: Course
    draws: Draws
    inputs: Leaves
    before: Leaves
    losses: Found
    initial: Leaves
    fresh: Leaves


class At(NamedTuple):
    """What M loss times leave at L steps; None for a leaf that nothing reaches.

    Attributes:
        rows: which of the loss times.
        steps: which steps.
        state: (L, M, B) ||dE_t/ds_k||, in float64.
        input_norms: (L, M, B) ||dE_t/dx_k||, in float64; None if not wanted, or nothing reaches.
        inputs: (L, M, B, ...) per leaf: dE_t/dx_k, where the vectors are wanted.
        norms: (L, M) per weight: the norm of the term of dE_t/dW, in float64.
        terms: (L, M, ...) per weight: the term itself; None where it is not held.
    """

    rows: slice
    steps: slice
    state: Tensor
    input_norms: Tensor | None
    inputs: Found
    norms: Found
    terms: Found


class Back:
    """The way back of loss times through an unroll.

    Args:
        passage: what was run.
        times: the loss times, ascending.
        inputs, weights: whether those are wanted besides the state's adjoints.
    """

    def __init__(
        self, passage: Passage, times: Sequence[int], inputs: Inputs, weights: bool
    ) -> None:
        self.passage, self.times = passage, torch.as_tensor(times)
        self.inputs, self.weights = inputs, weights
        self.starts = Starts(passage, weights)
        self._sums: Found = [None] * len(passage.replica.weights)

    def run(self) -> Iterator[At]:
        """Every step, from the last that a loss time has to the first of all."""
        most = sum(w.nbytes for w in self.passage.replica.weights if self.weights)
        most += 4 * sum(leaf[0].nbytes for leaf in self.passage.before)
        size = max(MEMORY // max(most, 1), 1)
        for first in range(0, len(self.times), size):
            yield from self._group(slice(first, min(first + size, len(self.times))))

    def sums(self) -> Found:
        """dE/dW of all loss times together, once they have run."""
        return self._sums

    def _group(self, group: slice) -> Iterator[At]:
        course, times = self.passage.course, self.times[group]
        adjoint: Found = [
            leaf.new_zeros(len(times), *leaf.shape[1:]) if is_real(leaf) else None
            for leaf in self.passage.before
        ]
        longest = int(course.counts.max())
        order = range(longest) if course.reverse else range(longest - 1, -1, -1)
        for step in order:
            entered = times <= step if course.reverse else times >= step
            rows = entered.nonzero().flatten()
            if len(rows):
                part = slice(int(rows[0]), int(rows[-1]) + 1)
                own = [None if leaf is None else leaf[part] for leaf in adjoint]
                whole = slice(group.start + part.start, group.start + part.stop)
                yield self._step(step, whole, own)

    def _step(self, step: int, rows: slice, adjoint: Found) -> At:
        """Take the adjoints of the loss times that have entered back through a step, in place."""
        passage, now = self.passage, self.times[rows] == step
        point, live = point_at(passage, step, self.inputs is not None), _live(passage.course, step)
        state = [None if leaf is None else leaf.clone() for leaf in adjoint]
        losses: Found = [None] * len(passage.losses)
        if bool(now.any()):
            losses = [None if g is None else masked(live, g[step], 0) for g in passage.losses]
        entering = [None if leaf is None else _placed(leaf, now) for leaf in losses]
        weights = passage.replica.weights if self.weights else []
        shares = point.pull([*entering, *state], weights)
        for leaf, direct in zip(state, point.direct(losses), strict=True):
            if leaf is not None and direct is not None:
                leaf[now] += direct
        steps = torch.full((len(now),), step)
        before = [None if g is None else masked(live, g) for g in shares.state]
        terms = self._terms(shares.weights, self.starts.pull(steps, before))
        goes = ~self.starts.ends(steps)
        for whole, leaf in zip(adjoint, before, strict=True):
            if whole is not None:
                whole.copy_(torch.zeros_like(whole) if leaf is None else masked(goes, leaf))
        norms = [None if term is None else norm(term, 1)[None] for term in terms]
        inputs, terms = (
            [None if leaf is None else leaf[None] for leaf in leaves]
            for leaves in (shares.inputs, terms)
        )
        sizes = together(inputs, 3) if any(leaf is not None for leaf in inputs) else None
        where = rows, slice(step, step + 1)
        return At(*where, together(state, 2)[None], sizes, inputs, norms, terms)

    def _terms(self, shares: Found, begun: Found) -> Found:
        """Terms of dE_t/dW, added to those of the steps before."""
        terms = [add(a, b) for a, b in zip(shares, begun, strict=True)] if shares else begun
        found = [None if term is None else term.sum(0) for term in terms]
        self._sums = [add(a, b) for a, b in zip(self._sums, found, strict=True)]
        return terms


class Starts:
    """Where sequences and episodes begin: there adjoints end.

    Args:
        passage: what was run.
        weights: whether weights are to be reached from the states that they start from.
    """

    def __init__(self, passage: Passage, weights: bool = True) -> None:
        self._course, self._sources = passage.course, passage.replica.sources
        self._initial, self._fresh = passage.initial, passage.fresh
        leaves = [leaf for leaf in (*self._initial, *self._fresh) if leaf.requires_grad]
        seeds = [torch.zeros_like(leaf)[None] for leaf in leaves]
        found = pulled(list(zip(leaves, seeds, strict=True)), self._sources) if weights else []
        self.reached = [index for index, leaf in enumerate(found) if leaf is not None]

    def ends(self, steps: Tensor) -> Tensor:
        """(n, B) whether a sequence or an episode begins with the step."""
        reset = self._course.reset
        begins = self._begins(steps)
        return begins if reset is None else begins | reset[steps]

    def pull(self, steps: Tensor, adjoints: Found) -> Found:
        """What reaches the weights by the states that are started from.

        Args:
            steps: (n,) the steps.
            adjoints: (n, B, ...) per leaf: dE_t/ds_{k-1}.
        """
        nothing: Found = [None] * len(self._sources)
        ends = self.ends(steps)
        if not self.reached or not bool(ends.any()):
            return nothing
        reset = self._course.reset
        anew = torch.zeros_like(ends) if reset is None else reset[steps]
        pairs = [
            (leaf, masked(mask, adjoint))
            for leaves, mask in ((self._initial, ends & ~anew), (self._fresh, anew))
            for leaf, adjoint in zip(leaves, adjoints, strict=bool(leaves))
            if adjoint is not None and leaf.requires_grad
        ]
        return pulled(pairs, self._sources)

    def _begins(self, steps: Tensor) -> Tensor:
        counts = self._course.counts
        return steps[:, None] == (counts - 1 if self._course.reverse else torch.zeros_like(counts))


def point_at(passage: Passage, step: int, gradient: bool) -> Point:
    """A step of a passage, a live row in place of each that does not count."""
    live = _live(passage.course, step)
    x, before = (
        [_sound(leaf[step], live) for leaf in leaves] for leaves in (passage.inputs, passage.before)
    )
    return Point(_step_at(passage, step), x, before, gradient, passage.draws)


ROWS = 4096  # rows that are run at once: enough for one product, few enough for what lies between


def direct(passage: Passage, together: bool) -> Found:
    """(T, B, ...) per leaf of the state: what reaches s_t from E_t at the same step.

    Args:
        passage: what was run.
        together: whether rows of several steps may be run as one batch.
    """
    course = passage.course
    found: Found = [
        leaf.new_zeros(leaf.shape) if is_real(leaf) else None for leaf in passage.before
    ]
    longest = int(course.counts.max())
    size = max(ROWS // max(course.batch, 1), 1) if together else 1
    for first in range(0, longest, size):
        part = slice(first, min(first + size, longest))
        point = _points(passage, part) if together else point_at(passage, first, False)
        losses = [None if g is None else g[part].flatten(0, 1) for g in passage.losses]
        for whole, leaf in zip(found, point.direct(losses), strict=True):
            if whole is not None and leaf is not None:
                whole[part] = leaf.reshape(whole[part].shape)
    return found


def _points(passage: Passage, part: slice) -> Point:
    """Several steps as the rows of one."""
    course = passage.course
    rows = torch.arange(course.steps)[part, None].expand(-1, course.batch).flatten()
    columns = torch.arange(course.batch).repeat(part.stop - part.start)
    if course.lengths is not None:
        live = rows < course.lengths[columns]
        donor = live.nonzero()[0]
        rows, columns = (torch.where(live, own, own[donor]) for own in (rows, columns))
    x, before = (
        [leaf[rows, columns] for leaf in leaves] for leaves in (passage.inputs, passage.before)
    )
    return Point(passage.step, x, before, False, passage.draws)


def _step_at(passage: Passage, step: int) -> Run:
    """The cell as a step, its draws told which one it is."""
    course, draws = passage.course, passage.draws
    if course.reverse and course.lengths is not None and draws.used:
        return Apart(passage.step, draws, (course.lengths - 1 - step).clamp(min=0))
    draws.begin(course.steps - 1 - step if course.reverse else step)
    return passage.step


class Apart:
    """A step in which each sequence has the random numbers of its own place.

    In reverse, sequences of unlike lengths come to the same time at different places in their
    order: the step is run once for each place, and every sequence takes its own rows.

    Args:
        step: the cell as a step.
        draws: the random numbers.
        places: (B,) in the order of processing.
    """

    def __init__(self, step: Step, draws: Draws, places: Tensor) -> None:
        self._step, self._draws, self._places = step, draws, places

    def __call__(self, inputs: Leaves, state: Leaves) -> tuple[Leaves, Leaves]:
        outputs, after = [], []
        for place in self._places.unique().tolist():
            self._draws.begin(place)
            found = self._step(inputs, state)
            own = self._places == place
            outputs, after = (
                [_rows_of(own, new, old) for new, old in zip(leaves, kept or leaves, strict=True)]
                for leaves, kept in zip(found, (outputs, after), strict=True)
            )
        return outputs, after


def _rows_of(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Rows (B, ...) of the one where a mask (B,) holds, of the other where not."""
    return torch.where(mask.reshape(-1, *[1] * (new.dim() - 1)), new, old)


def _live(course: Course, step: int) -> Tensor | None:
    return None if course.lengths is None else step < course.lengths


def _sound(leaf: Tensor, live: Tensor | None) -> Tensor:
    if live is None:
        return leaf
    rows = torch.arange(len(live), device=leaf.device)
    return leaf[torch.where(live, rows, live.nonzero()[0])]


def _placed(leaf: Tensor, now: Tensor) -> Tensor:
    """(n, B, ...) the losses (B, ...) of one row, zero in all others."""
    return torch.where(now.reshape(-1, *[1] * leaf.dim()), leaf, leaf.new_zeros(()))


def masked(mask: Tensor | None, leaf: Tensor, axis: int = 1) -> Tensor:
    """Zero where a mask, (B,) along an axis or (n, B) along the first two, does not hold."""
    if mask is None:
        return leaf
    before = [1] * (axis + 1 - mask.dim())
    mask = mask.reshape(*before, *mask.shape, *[1] * (leaf.dim() - axis - 1))
    return torch.where(mask, leaf, leaf.new_zeros(()))
