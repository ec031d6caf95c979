"""A step made ready for kernels: its two directions, each in columns, loops as stages."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from bptt.compiler import split, verify
from bptt.compiler.arrange import Names, arrange
from bptt.compiler.graph import CONTRACTIONS, LEAVES, SUMS, Graph
from bptt.compiler.lower import Step, lower
from bptt.compiler.once import Once
from bptt.compiler.parallel import Parallel, parallel
from bptt.compiler.record import Ref
from bptt.compiler.split import Columns
from bptt.compiler.stages import MASKS, Loop
from bptt.compiler.trace import Trace, Untraceable

# What gives numbers of moderate size where it takes such.
BOUNDED = frozenset(
    (*LEAVES, *SUMS, *CONTRACTIONS, *MASKS, "number", "slice", "cat", "reshape", "permute",
     "expand", "sum", "max", "add", "sub", "mul", "neg", "abs", "sign", "maximum", "minimum",
     "where", "sin", "cos", "atan", "tanh", "sigmoid", "erf", "erfc", "floor", "ceil", "round",
     "trunc")
)  # fmt: skip
# Bytes that weights' gradients may have which a loop adds up: half of a second cache.
NEAR = 1 << 20


class Slot(NamedTuple):
    """A value with rows: its node, its number among its kind, and the shape of a row."""

    node: int
    index: int
    shape: tuple[int, ...]


class Kept(NamedTuple):
    """What a loop stores at each step: its memory, which node that is, and the shape of a row.

    Attributes:
        leaf: of the state that it is, None if of none.
        mask: whether it is true or false.
    """

    name: str
    node: int
    shape: tuple[int, ...]
    leaf: int | None
    mask: bool


@dataclass(frozen=True)
class Direction:
    """Forward or backward, ready to run.

    Attributes:
        columns: which node is computed when.
        loop: the loop column as stages.
        names: what the loop's memories stand for.
        kept: those of them that it fills.
        before, after: what is computed for all steps at once.
        once: what is made of fixed tensors alone.
        taken: the values that it reads, by node.
        reads_states: whether the states before each step are among them.
        linear: the nodes that hang on a loss: where it is zero, so are they.
        absent: given values that are zero throughout.
        dtype: of its numbers.
        made: what backends have made of the loop, by backend.
    """

    columns: Columns
    loop: Loop
    names: Names
    kept: tuple[Kept, ...]
    before: Parallel
    after: Parallel
    once: Once
    taken: tuple[int, ...]
    reads_states: bool
    linear: frozenset[int]
    absent: frozenset[int]
    dtype: torch.dtype
    made: dict[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def is_plain(self) -> bool:
        """Whether there is a loop, and all that it reads and keeps is numbers of single rows."""
        graph = self.columns.graph
        odd = any(node.op in ("draw", "sequence", "steps") for node in graph.nodes)
        masks = any(node.mask for node in graph.nodes if node.op in (*LEAVES, "stored"))
        masks |= any(part.mask for part in self.kept)
        return bool(self.loop.stages) and not odd and not masks

    @functools.cached_property
    def prepares(self) -> bool:
        """Whether anything is computed before the loop."""
        return not set(self.columns.before).issubset(self.before.given)

    @functools.cached_property
    def rest(self) -> Parallel:
        """`after`, given the sums over rows that the loop has added up."""
        columns = self.columns
        given = (*self.after.given, *self.names.totals.values(), *self.names.outers.values())
        return parallel(columns.graph, given, columns.after, self.dtype, self.absent, reuse=True)

    @functools.cached_property
    def is_summed(self) -> bool:
        """Whether the loop leaves nothing to be done for single rows after it."""
        graph, after = self.columns.graph, self.columns.after
        left = (n for n in self.after.given if graph[n].op not in SUMS and n not in after)
        return bool(self.columns.sums) and next(left, None) is None

    @functools.cached_property
    def keeps_states(self) -> bool:
        """Whether the states before each step, where they are needed, are what the loop keeps."""
        leaves = range(len(self.names.carried))
        return not self.reads_states or {part.leaf for part in self.kept}.issuperset(leaves)

    @functools.cached_property
    def tells_rows_apart(self) -> bool:
        """Whether it matters which step or sequence a row is of."""
        return any(node.op in ("sequence", "steps") for node in self.columns.graph.nodes)

    @functools.cached_property
    def bounded(self) -> bool:
        """Whether what comes after the loop is a number wherever what it takes is one."""
        graph = self.columns.graph
        divides = [n for n in self._late if graph[n].op == "div"]
        return all(graph[n].op in BOUNDED for n in self._late.difference(divides)) and all(
            graph[graph[n].operands[1]].op == "number" for n in divides
        )

    @functools.cached_property
    def adjoints(self) -> frozenset[int]:
        """What hangs on a loss or on the step behind: where there is neither, it is zero."""
        graph = self.columns.graph
        leaves = [n for n, node in enumerate(graph.nodes) if node.op in ("d_output", "d_state")]
        return frozenset(graph.descendants(leaves))

    @functools.cached_property
    def factors(self) -> frozenset[int]:
        """What comes in after the loop as a factor of adjoints, to be summed, and no other way."""
        graph, found = self.columns.graph, set(self.after.given)
        for n in self._late:
            operands = graph[n].operands
            if graph[n].op != "outer" or self.adjoints.isdisjoint(operands):
                found.difference_update(operands)
        return frozenset(found.difference(self.columns.after))

    @property
    def _late(self) -> set[int]:
        """What is computed after the loop."""
        return self.columns.graph.between(self.columns.after, set(self.after.given))


class Compiled:
    """A step in columns.

    Args:
        trace: what the step did.
        batch: how many rows it did it on.
        dtype: of its state.

    Raises:
        Untraceable: no kernel can be made of it.
    """

    def __init__(self, trace: Trace, batch: int, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.step: Step = lower(trace, batch)
        self.draws, self._history = trace.draws, (trace.untracked, trace.detached)
        verify.check_graph(self.step.graph)
        verify.check_numbers(self.step, trace, dtype)
        step = self.step
        roots = [n for n in (*step.d_inputs, *step.d_before, *step.d_fixed) if n is not None]
        self.differentiable = bool(roots)
        self.kept = tuple(split.to_keep(step, roots)) if roots else ()
        self.weights = self.once(step.frontier)
        self._backward: dict[frozenset[int], Direction] = {}
        self.inputs, self.random, self.losses, self.states = (
            self._slots(op) for op in ("input", "draw", "d_output", "state")
        )

    @property
    def has_sequences(self) -> bool:
        """Whether a fixed tensor has a row for each sequence."""
        return any(node.op == "sequence" for node in self.step.graph.nodes)

    @property
    def carried(self) -> list[tuple[int, ...]]:
        """The shape of a row of each leaf of the state."""
        return [self.step.graph[node].shape for node in self.step.state]

    def directions(self) -> list[Direction]:
        """What ordinary calls run: forward, and the way back where gradients are wanted."""
        if not self.differentiable:
            return [self.plain]
        back = self.backward(frozenset())
        return [self.forward, self.gathered(back) or back]

    def once(self, wanted: Iterable[Ref]) -> Once:
        """What makes some of the tensors that are made of the cell's own alone."""
        return Once(self.step.once, wanted, *self._history, self.step.constants)

    def _slots(self, op: str) -> list[Slot]:
        nodes = enumerate(self.step.graph.nodes)
        return [Slot(n, node.attributes[0], node.shape) for n, node in nodes if node.op == op]

    @functools.cached_property
    def plain(self) -> Direction:
        """Forward, where no gradient is wanted."""
        return self.direction(self._forward(()), "state", frozenset())

    @functools.cached_property
    def forward(self) -> Direction:
        """Forward, keeping what the way back needs."""
        return self.direction(self._kept_forward, "state", frozenset())

    @functools.cached_property
    def _kept_forward(self) -> Columns:
        return self._forward((*self.kept, *self.step.state))

    def _forward(self, needed: tuple[int, ...]) -> Columns:
        columns = split.forward(self.step, needed)
        if self._reads_states(columns):
            columns = split.forward(self.step, (*needed, *self.step.state))
        return columns

    def _reads_states(self, columns: Columns) -> bool:
        """Whether what comes after the loop takes the states before each step."""
        given = parallel(columns.graph, (*columns.given, *columns.kept), columns.after, self.dtype)
        return bool(set(given.given) & {slot.node for slot in self.states})

    def backward(self, absent: frozenset[int]) -> Direction:
        """Backward, where the outputs `absent` were not used."""
        if absent not in self._backward:
            self._backward[absent] = self._made_backward(absent)
        return self._backward[absent]

    def _made_backward(self, absent: frozenset[int]) -> Direction:
        graph = self.step.graph
        leaves = [n for n, node in enumerate(graph.nodes) if node.op in LEAVES]
        stored = [n for n in leaves if graph[n].op in ("input", "state", "draw")]
        stored += [*self.kept, *self.step.state, *self._kept_forward.before]
        columns = split.backward(
            self.step, list(dict.fromkeys(stored)), self.step.d_inputs, self.step.d_fixed
        )
        missing = {
            n for n in leaves
            if graph[n].op == "d_output" and graph[n].attributes[0] in absent
        }  # fmt: skip
        return self.direction(columns, "d_state", frozenset(missing))

    def gathered(self, direction: Direction) -> Direction | None:
        """A way back whose loop does what comes after it, too, or all of that but products; None
        where that does not pay.
        """
        if "gathered" not in direction.made:
            direction.made["gathered"] = self._made_gathered(direction)
        return direction.made["gathered"]

    def carrying(self, direction: Direction) -> Direction:
        """A way back that leaves nothing but what it hands on from step to step."""
        if "carrying" not in direction.made:
            columns = split.carrying(direction.columns)
            direction.made["carrying"] = self.direction(columns, "d_state", direction.absent)
        return direction.made["carrying"]

    def _made_gathered(self, direction: Direction) -> Direction | None:
        columns = split.gathered(direction.columns, NEAR // self.dtype.itemsize)
        columns = columns or split.by_row(direction.columns)
        if columns is None:
            return None
        try:
            return self.direction(columns, "d_state", direction.absent)
        except Untraceable:  # what comes after the loop has no kernel
            return None

    def direction(self, columns: Columns, carried: str, absent: frozenset[int]) -> Direction:
        """Columns made ready to run, their loop as stages.

        Args:
            columns: which node is computed when.
            carried: what the loop carries from step to step: "state" or "d_state".
            absent: nodes that are zero: of outputs that were not used.
        """
        verify.check_columns(columns)
        graph = columns.graph
        loop, names = arrange(columns, carried, absent)
        before = parallel(graph, columns.given, columns.before, self.dtype, absent, reuse=True)
        given = (*columns.given, *columns.before, *columns.kept, *columns.sums)
        after = parallel(graph, given, columns.after, self.dtype, absent, reuse=True)
        used = self._used(columns)
        needed = [graph[n].attributes[0] for n in used if graph[n].op in ("fixed", "sequence")]
        kept = self.once(needed)
        taken = (*before.given, *names.step.values(), *after.given)
        states = {slot.node for slot in self.states}
        return Direction(
            columns, loop, names, self._keeps(graph, names), before, after, kept,
            tuple(dict.fromkeys(taken)),
            bool(states & {*taken, *self.backward_takes(carried)}), _linear(graph),
            absent, self.dtype,
        )  # fmt: skip

    def _keeps(self, graph: Graph, names: Names) -> tuple[Kept, ...]:
        leaves = {node: leaf for leaf, node in reversed(list(enumerate(self.step.state)))}
        return tuple(
            Kept(name, node, graph[node].shape, leaves.get(node), graph[node].mask)
            for name, node in names.kept.items()
        )

    def backward_takes(self, carried: str) -> tuple[int, ...]:
        """What the way back reads of what the way forward has kept."""
        if carried != "state" or not self.differentiable:
            return ()
        return self.backward(frozenset()).taken

    def _used(self, columns: Columns) -> list[int]:
        """All that a direction computes or takes."""
        roots = [*columns.before, *columns.loop, *columns.after]
        roots += [n for n in columns.carried if n is not None]
        return sorted(_upward(columns, roots))


def _linear(graph: Graph) -> frozenset[int]:
    """What hangs on a loss."""
    found: set[int] = set()
    for number, node in enumerate(graph.nodes):
        if node.op == "d_output" or found.intersection(node.operands):
            found.add(number)
    return frozenset(found)


def _upward(columns: Columns, roots: list[int]) -> set[int]:
    found, given, stack = set[int](), set(columns.given), list(roots)
    while stack:
        number = stack.pop()
        if number not in found:
            found.add(number)
            if number not in given:
                stack.extend(columns.graph[number].operands)
    return found
