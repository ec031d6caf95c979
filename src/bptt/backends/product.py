"""The vector-Jacobian product of one step, and the sum over steps of each weight's share of it.

Two ways to the same numbers. `VectorJacobian` runs the step and lets autograd differentiate it.
`Replay` does so for the last step only, writes down which operations that took, and applies those
to all the other steps: without modules, autograd graphs, or a second time what is known from the
forward pass. It is not asked where a step may not be the same each time: where it makes Python look
at the data, say.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from bptt import edges
from bptt.backends.programs import Programs, Rows
from bptt.compiler.program import Program, Task, build
from bptt.compiler.record import Operation, Recording, Ref, Watch
from bptt.draws import Draws
from bptt.errors import CellError
from bptt.step import Leaves, Step

Found = list[Tensor | None]

# `torch.autograd.grad` without its checks of shapes, which take as long as a small step's gradient.
_gradients = torch.autograd.Variable._execution_engine.run_backward


class Graph(NamedTuple):
    """One step's own: from the inputs and state that it took, leaves, to what it gave."""

    taken: Leaves
    given: Leaves


class Point(NamedTuple):
    """Where a step is differentiated: what it took in and what it returned."""

    inputs: Leaves
    state: Leaves
    results: Leaves  # outputs and new state as they were kept
    own: bool  # whether those are the step's own in every row: none rests
    graph: Graph | None = None  # what it left forward, where that was kept


class Seeds(NamedTuple):
    """dE/d(outputs) and dE/d(new state) of one step."""

    outputs: Found
    state: Found


class Shares(NamedTuple):
    """What one step passes on: dE/d(inputs), dE/d(state before), and its part of dE/d(weights)."""

    inputs: Found
    state: Found
    weights: Found
    fresh: tuple[int, ...] = ()  # weights whose share is a tensor of its own


class Totals:
    """The sum over steps of each weight's share."""

    def __init__(self, count: int) -> None:
        self._sums: list = [None] * count
        self._own = [False] * count  # whether a sum's memory is this one's; a first share's is not
        self._memory: set[int] = set()  # of first shares that were fresh
        self._settled = False  # whether all of them are its own

    def add(self, shares: Found, fresh: Sequence[int] = ()) -> None:
        """Add what a step, or some steps, left.

        Args:
            shares: per weight, or None.
            fresh: those whose memory nobody else holds, unless two of them share theirs.
        """
        present = [share for share in shares if share is not None]
        if self._settled and len(present) == len(shares):
            torch._foreach_add_(self._sums, present)
            return
        for index, share in enumerate(shares):
            if share is not None:
                self._add(index, share, index in fresh)
        self._settled = bool(shares) and all(self._own)

    def _add(self, index: int, share: Tensor, fresh: bool) -> None:
        total = self._sums[index]
        if total is None:
            self._sums[index] = self._alone(share) if fresh else share  # or a seed of another step
            self._own[index] = fresh
        elif self._own[index]:
            total += share
        else:
            self._sums[index], self._own[index] = total + share, True

    def _alone(self, share: Tensor) -> Tensor:
        """A fresh share; a copy of it, where two of them are one."""
        memory = share.untyped_storage().data_ptr()
        if memory in self._memory:
            return share.clone()
        self._memory.add(memory)
        return share

    def sums(self) -> Found:
        """One for each weight, with memory of its own."""
        return [
            total if total is None or own else total.clone()
            for total, own in zip(self._sums, self._own, strict=True)
        ]


def pull(
    given: Leaves,
    seeds: Seeds,
    taken: Leaves,
    inputs: int,
    weights: Leaves,
    retain: bool = False,
) -> Shares:
    """The product of a step that has been run, by autograd on its graph.

    Args:
        given: outputs and new state.
        seeds: their adjoints.
        taken: inputs and state; the shares of those that need a gradient are found.
        inputs: how many of them are inputs.
        weights: all of which need a gradient.
        retain: whether the graph is to be used again.
    """
    pairs = zip(given, seeds.outputs + seeds.state, strict=True)
    pairs = [(root, seed) for root, seed in pairs if seed is not None and root.requires_grad]
    targets = [*(leaf for leaf in taken if leaf.requires_grad), *weights]
    if not pairs or not targets:
        return Shares([None] * inputs, [None] * (len(taken) - inputs), [None] * len(weights))
    roots, weighed = zip(*pairs, strict=True)
    found = iter(
        _gradients(roots, weighed, retain, False, tuple(targets), True, accumulate_grad=False)
    )
    shares = [next(found) if leaf.requires_grad else None for leaf in taken]
    return Shares(shares[:inputs], shares[inputs:], list(found))


class VectorJacobian:
    """`product(point, seeds) -> shares`, by autograd through one step.

    Args:
        step: the step, whose weights are leaves.
        weights: every tensor with gradient that the step reaches otherwise than by argument.
        wanted: per leaf of the inputs, whether its gradient is needed.
        draws: the random numbers of the step.
    """

    def __init__(self, step: Step, weights: Leaves, wanted: Sequence[bool], draws: Draws) -> None:
        self._step, self._weights, self.wanted, self.draws = step, weights, wanted, draws
        self.count, self.room = len(weights), sum(weight.numel() for weight in weights) // 2
        self._known = {id(weight) for weight in weights}
        self.results: Leaves = []  # outputs and new state of the step that was run last

    def __call__(self, point: Point, seeds: Seeds, recording: Recording | None = None) -> Shares:
        if point.graph is not None and recording is None:
            self.results = []
            taken, given = point.graph
            return pull(given, seeds, taken, len(point.inputs), self._weights, retain=True)
        inputs = [_leaf(x, wanted) for x, wanted in zip(point.inputs, self.wanted, strict=True)]
        state = [_leaf(leaf, is_real(leaf)) for leaf in point.state]
        self.draws.rewind()
        if recording is None:
            return self._differentiate(inputs, state, seeds, nullcontext())
        with recording, self.draws.told(recording):
            return self._differentiate(inputs, state, seeds, Watch(recording))

    def _differentiate(
        self, inputs: Leaves, state: Leaves, seeds: Seeds, watch: AbstractContextManager
    ) -> Shares:
        with torch.enable_grad(), watch, self.draws.inside():
            outputs, new = self._step(inputs, state)
        self.results = outputs + new
        self._check(self.results, inputs + state)
        return pull(self.results, seeds, inputs + state, len(inputs), self._weights)

    def _check(self, roots: Leaves, arguments: Leaves) -> None:
        """No step reaches a weight that the first one did not: its gradient would be lost."""
        own = {id(leaf) for leaf in arguments}
        for leaf in edges.ends(roots, since=0).leaves:
            if id(leaf) not in self._known and id(leaf) not in own:
                raise CellError(
                    f"A step reaches a tensor of shape {tuple(leaf.shape)} that the first step did "
                    "not, and that bptt cannot find in the cell, so its gradient would be lost. "
                    "Make it an attribute of the cell's module, or close over it."
                )


class Replay:
    """The same product: the first call goes to autograd and is written down, the others repeat it.

    What was written down, in this call or an earlier one, is used only if it begins with what the
    forward pass did at its first step, can be made a program, and gives the first call's numbers to
    the last bit; else autograd does it all.

    Args:
        exact: the product by autograd.
        fixed: weights and constants, in the order in which `opening` names them w0, w1, ...
        opening: the operations of a sequence's first step, written down in the forward pass.
        programs: those of earlier calls; new ones are put there.
        sure: whether one that has been proved need not be compared again.
        steps: how many there are.
    """

    def __init__(
        self,
        exact: VectorJacobian,
        fixed: Leaves,
        opening: tuple[Operation, ...],
        programs: Programs,
        sure: bool = False,
        steps: int = 0,
    ) -> None:
        self._exact, self._fixed, self._opening = exact, fixed, opening
        self._programs, self._sure, self._steps = programs, sure, steps
        self._program: Program | None = None
        self._begun = False

    def __call__(self, point: Point, seeds: Seeds) -> Shares:
        if not self._begun:
            self._begun = True
            return self._begin(point, seeds)
        if self._program is None:
            return self._exact(point, seeds)
        self._exact.results = []
        return self._run(self._program, point, seeds)

    def _begin(self, point: Point, seeds: Seeds) -> Shares:
        asked = point.own, *(leaf is None for leaf in seeds.outputs + seeds.state)
        asked = *asked, *self._exact.wanted
        sure = self._programs.sure(asked) if self._sure else None
        if sure is not None:
            self._set(sure)
            return self(point, seeds)
        program = self._programs.take(asked)
        old = program is not None
        if program is None:
            program, shares = self._record(point, seeds)
        else:
            shares = self._exact(point, seeds)
        if program is not None and self._agrees(program, point, seeds, shares):
            self._programs.found[asked] = program
            if old:
                self._programs.proved.add(asked)
            return self._run(program, point, seeds)  # as calls to come will: to the same bits
        return shares

    @property
    def results(self) -> Leaves:
        """Outputs and new state of the latest step, if it was run and not replayed."""
        return self._exact.results

    def _set(self, program: Program) -> None:
        self._program, self._values = program, program.once(*self._fixed)
        room = self._exact.room
        self._rows = Rows(program, self._values, self._steps, room)

    def _run(self, program: Program, point: Point, seeds: Seeds) -> Shares:
        drawn = self._exact.draws.made(program.drawn)
        found = program.step(*_arguments(point, drawn, seeds), *self._values)
        end = len(point.inputs) + len(point.state) + self._exact.count
        shares = _parted(list(found[:end]), len(point.inputs), len(point.state))
        self._rows.add(found[end:])
        return self._with_late(shares) if self._rows.enough() else shares

    def _with_late(self, shares: Shares) -> Shares:
        """The shares, and those of all the steps whose rows are waiting to be summed."""
        return shares._replace(weights=self._rows.sums(shares.weights), fresh=self._rows.places)

    def rest(self) -> Shares:
        """Shares of the weights that no call has returned yet."""
        nothing = Shares([], [], [None] * self._exact.count)
        return nothing if self._program is None or not self._rows else self._with_late(nothing)

    def _record(self, point: Point, seeds: Seeds) -> tuple[Program | None, Shares]:
        # Copies, so that no two arguments share their memory by chance: names go by memory.
        inputs, state, results = (_copies(leaves) for leaves in point[:3])
        point = Point(inputs, state, results, point.own)
        seeds = Seeds(*(_copies(leaves) for leaves in seeds))
        named = {"x": point.inputs, "s": point.state, "w": self._fixed}
        recording = Recording(**named, dy=_present(seeds.outputs), ds=_present(seeds.state))
        shares = self._exact(point, seeds, recording)
        return self._build(recording, point, seeds, shares), shares

    def _agrees(self, program: Program, point: Point, seeds: Seeds, shares: Shares) -> bool:
        """Whether the program gives what autograd gives, to the last bit, where that is not 0."""
        self._set(program)
        if not any(seed.any() for seed in _present([*seeds.outputs, *seeds.state])):
            seeds = Seeds(*(_random_like(leaves) for leaves in seeds))
            shares = self._exact(point, seeds)
        found = self._run(program, point, seeds)
        if self._rows:
            found = self._with_late(found)
        agrees = _equal(
            [*found.inputs, *found.state, *found.weights],
            [*shares.inputs, *shares.state, *shares.weights],
        )
        if not agrees:
            self._program = None
        return agrees

    def _build(
        self, recording: Recording, point: Point, seeds: Seeds, shares: Shares
    ) -> Program | None:
        operations = tuple(recording.operations)
        if recording.reason or operations[: len(self._opening)] != self._opening:
            return None
        found = [*shares.inputs, *shares.state, *shares.weights]
        results = tuple(None if leaf is None else recording.name(leaf) for leaf in found)
        if [leaf is None for leaf in found] != [name is None for name in results]:
            return None
        known = ()
        if point.own:
            names = [recording.name(leaf) for leaf in self._exact.results]
            known = tuple((name, Ref(f"a{i}")) for i, name in enumerate(names) if name is not None)
        drawn = self._exact.draws.numbers()
        parts = (point.inputs, point.state, drawn, point.results, *map(_present, seeds))
        counts = zip(("x", "s", "r", "a", "dy", "ds"), map(len, parts), strict=True)
        arguments = tuple(Ref(f"{name}{i}") for name, count in counts for i in range(count))
        weights = tuple(Ref(f"w{i}") for i in range(len(self._fixed)))
        draws = tuple(Ref(f"r{i}") for i in range(len(drawn)))
        count = self._exact.count
        return build(Task(operations, arguments, weights, known, results, count, draws))


def _arguments(point: Point, drawn: Sequence[Tensor], seeds: Seeds) -> Leaves:
    """In the order of a program's arguments, laid out in memory as when it was written down."""
    made = (*point.inputs, *point.state, *drawn, *point.results)
    leaves = (*made, *seeds.outputs, *seeds.state)
    return [leaf.contiguous() for leaf in leaves if leaf is not None]


def _present(leaves: Sequence[Tensor | None]) -> Leaves:
    return [leaf for leaf in leaves if leaf is not None]


def _copies(leaves: Sequence[Tensor | None]) -> list:
    contiguous = torch.contiguous_format
    return [None if leaf is None else leaf.clone(memory_format=contiguous) for leaf in leaves]


def _random_like(leaves: Sequence[Tensor | None]) -> list:
    generator = torch.Generator().manual_seed(0)
    return [
        None if leaf is None else torch.randn(leaf.shape, generator=generator).to(leaf)
        for leaf in leaves
    ]


def _equal(found: Sequence[Tensor | None], expected: Sequence[Tensor | None]) -> bool:
    return all(
        a is b if a is None or b is None else torch.equal(a, b)
        for a, b in zip(found, expected, strict=True)
    )


def is_real(leaf: Tensor) -> bool:
    """Whether a tensor can have a gradient."""
    return leaf.is_floating_point() or leaf.is_complex()


def _parted(found: Found, inputs: int, state: int) -> Shares:
    return Shares(found[:inputs], found[inputs : inputs + state], found[inputs + state :])


def _leaf(tensor: Tensor, wanted: bool) -> Tensor:
    return tensor.detach().requires_grad_() if wanted else tensor
