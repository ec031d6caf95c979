"""Steps whose graphs are kept: run once forward, and differentiated one by one on the way back.

Every step is run on leaves of its own, so its graph begins at what it took in and ends at what it
gave; between steps there is none. What the recursion needs of a step, its vector-Jacobian product,
autograd takes from that graph. Nothing is run twice, at the price of every intermediate in memory:
so it is done for short sequences, where writing a step down would cost more than all of them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bptt import edges
from bptt.backends.product import Graph, Seeds, Shares, is_real, pull
from bptt.draws import Draws
from bptt.errors import CellError
from bptt.schedule import Schedule
from bptt.step import Arguments, Leaves, Step

# Only so many bytes of states, inputs and weights over all steps; and where steps can be replayed,
# only so many steps.
BYTES, STEPS = 16 << 20, 32


def worth_keeping(
    schedule: Schedule, arguments: Arguments, weights: Leaves, most: int = STEPS
) -> bool:
    """Whether all graphs of a sequence weigh so little that they may be kept."""
    if schedule.steps > most:
        return False
    leaves = [*(leaf[0] for leaf in arguments.inputs), *arguments.initial, *weights]
    return schedule.steps * sum(leaf.nbytes for leaf in leaves) <= BYTES


class Graphs:
    """`graphs(x, state) -> (outputs, state)` runs a step, keeps its graph and gives bare numbers.

    The tensors x and state are without a graph.

    Args:
        step: the step, whose weights are leaves.
        wanted: per leaf of the inputs, whether its gradient is needed.
        draws: the random numbers of the step.
        first: the first step whose graph is kept; those before it run as they are.
    """

    def __init__(self, step: Step, wanted: Sequence[bool], draws: Draws, first: int = 0) -> None:
        self._step, self._wanted, self._draws, self._first = step, wanted, draws, first
        self._graphs: list[Graph | None] = []
        self._since = edges.now()

    def __call__(self, x: Leaves, state: Leaves) -> tuple[Leaves, Leaves]:
        if len(self._graphs) < self._first:
            self._graphs.append(None)
            return self._run(x, state)
        x = [_leaf(leaf, wanted) for leaf, wanted in zip(x, self._wanted, strict=True)]
        state = [_leaf(leaf, is_real(leaf)) for leaf in state]
        with torch.enable_grad():
            outputs, new = self._run(x, state)
        self._graphs.append(Graph(x + state, outputs + new))
        return detached(outputs, new)

    def _run(self, x: Leaves, state: Leaves) -> tuple[Leaves, Leaves]:
        if not self._draws.used:
            return self._step(x, state)
        with self._draws.inside():
            return self._step(x, state)

    def __getitem__(self, p: int) -> Graph | None:
        return self._graphs[p]

    @property
    def whole(self) -> bool:
        """Whether every step's is kept."""
        return self._first == 0

    def drop(self, p: int) -> None:
        """Let that of step p go."""
        self._graphs[p] = None

    def clear(self) -> None:
        """Let all of them go."""
        self._graphs = [None] * len(self._graphs)

    def reached(self, weights: Leaves, alike: bool) -> Leaves:
        """Leaves that the graphs end at, besides the steps' own arguments and the weights.

        Args:
            weights: those that are known.
            alike: whether all steps do the same, so that one tells of them all.

        Raises:
            CellError: a step's graph goes on into what was computed before it.
        """
        known = {id(weight) for weight in weights}
        found: Leaves = []
        for graph in self._graphs[-1:] if alike else self._graphs[self._first :]:
            assert graph is not None
            own = known.union(map(id, graph.taken))
            found += [
                leaf for leaf in edges.ends(graph.given, self._since).leaves if id(leaf) not in own
            ]
        if found:
            self._check_own(found)
        return found

    def _check_own(self, found: Leaves) -> None:
        taken = {id(leaf) for graph in self._graphs if graph is not None for leaf in graph.taken}
        if any(id(leaf) in taken for leaf in found):
            raise CellError(
                "A step uses a tensor that was computed at another step and is no part of the "
                "state, so its gradient would be lost. Carry it in the state."
            )

    def pull(self, p: int, seeds: Seeds, weights: Leaves, retain: bool) -> Shares:
        """The product of step p; its graph is let go unless it is to be retained."""
        graph = self._graphs[p]
        assert graph is not None
        if not retain:
            self._graphs[p] = None
        return pull(graph.given, seeds, graph.taken, len(self._wanted), weights, retain)


def detached(outputs: Leaves, state: Leaves) -> tuple[Leaves, Leaves]:
    """Without their graph; a state that is also an output stays one and the same tensor."""
    bare = {id(leaf): leaf.detach() for leaf in outputs + state}
    return [bare[id(leaf)] for leaf in outputs], [bare[id(leaf)] for leaf in state]


def _leaf(tensor: Tensor, wanted: bool) -> Tensor:
    return tensor.detach().requires_grad_() if wanted else tensor
