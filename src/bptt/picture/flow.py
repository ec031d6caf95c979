"""How much of an error's gradient travels on each line of a drawing."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bptt.backends.each import Passage, walk
from bptt.backends.product import Found, is_real
from bptt.compiler.compiled import Compiled
from bptt.compiler.once import Once
from bptt.compiler.parallel import parallel
from bptt.compiler.record import Ref
from bptt.inspect.passage import Run
from bptt.picture.sketch import Sketch

TOLERANCE = 1e-3  # between a step's own way back and that of the operations it is drawn with
Edges = dict[tuple[int, int], np.ndarray]


class Flow(NamedTuple):
    """What n loss times send back through the w steps before each.

    What belongs to step t - j of loss time t is at [t, j]; 0 where there is no such step.

    Attributes:
        leaves: by leaf of the state (n, w + 1), ||dE_t/ds_k||: the last is before the first step.
        inputs: (n, w) ||dE_t/dx_k|| over all inputs.
        outputs: (n,) ||dE_t/dy_t||.
        edges: by (source, target) among the sketch's parts (n, w); None where the cell's own way
            back is not that of the operations it is drawn with.
    """

    leaves: list[np.ndarray]
    inputs: np.ndarray
    outputs: np.ndarray
    edges: Edges | None

    @property
    def states(self) -> np.ndarray:
        """(n, w + 1) ||dE_t/ds_k|| over all leaves."""
        return np.linalg.norm(self.leaves, axis=0)


def measure(run: Run, sketch: Sketch, times: Sequence[int], window: int) -> Flow:
    """What travels where.

    Args:
        run: the unroll, as `bptt.inspect` has run it.
        sketch: what is drawn of a step.
        times: (n,) the loss times, ascending.
        window: w, the steps drawn, the loss time itself the last.
    """
    passage = run.passage
    states, inputs = _adjoints(run, times, window)
    losses = [leaf[list(times)] for leaf in passage.losses if leaf is not None]
    outputs = np.linalg.norm([norms(leaf, 1) for leaf in losses], axis=0)
    edges = _Inside(passage, sketch, times, states).edges() if sketch.compiled else None
    leaves = [norms(leaf, 2).T for leaf in states]
    fed = np.linalg.norm([norms(leaf, 2).T for leaf in inputs], axis=0)
    return Flow(leaves, fed, outputs, edges)


def norms(leaf: Tensor, axes: int) -> np.ndarray:
    """Over all that follows so many axes."""
    flat = leaf.reshape(*leaf.shape[:axes], -1).double()
    return torch.linalg.vector_norm(flat, dim=-1).numpy()


def _adjoints(run: Run, times: Sequence[int], window: int) -> tuple[list[Tensor], list[Tensor]]:
    """dE_t/ds_k (w + 1, n, B, ...) and dE_t/dx_k (w, n, B, ...) for k = t - j, per leaf."""
    passage = run.passage
    states = [_room(leaf, len(times), window + 1) for leaf in passage.before]
    inputs = [_room(leaf, len(times), window) for leaf in passage.inputs]
    wanted = torch.as_tensor(times)
    for at in walk(passage, times, weights=False):
        numbers = torch.arange(len(times))[at.rows]
        lags = wanted[at.rows] - at.step
        _keep(states, at.state, numbers, lags)
        _keep(inputs, at.inputs, numbers, lags)
    return states, inputs


def _room(leaf: Tensor, times: int, lags: int) -> Tensor:
    dtype = leaf.dtype if is_real(leaf) else torch.float32
    return torch.zeros(lags, times, *leaf.shape[1:], dtype=dtype)


def _keep(rooms: list[Tensor], found: Found, numbers: Tensor, lags: Tensor) -> None:
    for room, leaf in zip(rooms, found, strict=True):
        inside = lags < len(room)
        if leaf is not None:
            room[lags[inside], numbers[inside]] = leaf[inside].detach()


class _Inside:
    """The steps run again in the operations they are drawn with, for what passes between these."""

    def __init__(
        self, passage: Passage, sketch: Sketch, times: Sequence[int], states: list[Tensor]
    ) -> None:
        self.passage, self.sketch, self.states = passage, sketch, states
        self.times, self.steps = torch.as_tensor(times), passage.course.steps
        assert sketch.compiled is not None
        self.compiled: Compiled = sketch.compiled
        self.makers = {n: self._maker(n) for n, part in enumerate(sketch.parts) if part.sources}

    def edges(self) -> Edges | None:
        """Norms by line; None where a step's own way back is another."""
        found = {edge: np.zeros(self._shape()) for edge in self.sketch.edges()}
        for lag in range(self._shape()[1]):
            if not self._lag(lag, found):
                return None
        return found

    def _shape(self) -> tuple[int, int]:
        return len(self.times), len(self.states[0]) - 1

    def _lag(self, lag: int, found: Edges) -> bool:
        """Fill in the steps t - lag; whether their way back is the cell's own."""
        steps = (self.times - lag).clamp(min=0)
        live = self._live(steps, lag)
        with torch.enable_grad():
            values, lines = self._run(steps, live)
            seeds = self._seeds(lag, live)
            roots = [values[part] for part in seeds if values[part].requires_grad]
            given = [s for part, s in seeds.items() if values[part].requires_grad]
            starts = [values[part] for part in self.sketch.of("before")]
            targets = [*starts, *lines.values()]
            wanted = [t for t in targets if t.requires_grad]
            pulled = torch.autograd.grad(roots, wanted, given, allow_unused=True)
        back = {id(t): g for t, g in zip(wanted, pulled, strict=True) if g is not None}
        for edge, line in lines.items():
            if id(line) in back:
                found[edge][:, lag] = norms(self._rows(back[id(line)], live), 1)
        return self._agrees(lag, steps, [back.get(id(s)) for s in starts], live)

    def _live(self, steps: Tensor, lag: int) -> Tensor:
        """(n, B) whether there is such a step."""
        counts = self.passage.course.counts.cpu()
        return (self.times - lag >= 0)[:, None] & (steps[:, None] < counts)

    def _run(
        self, steps: Tensor, live: Tensor
    ) -> tuple[list[Tensor], dict[tuple[int, int], Tensor]]:
        """The value of each part (n B, ...), and what each line hands on, apart from the others."""
        values: list[Tensor] = []
        lines: dict[tuple[int, int], Tensor] = {}
        for number, part in enumerate(self.sketch.parts):
            if part.kind in ("input", "before"):
                leaves = self.passage.inputs if part.kind == "input" else self.passage.before
                values.append(_taken(leaves[part.leaf], steps, live))
                continue
            own = {(a, number): values[a].view_as(values[a]) for a in part.sources}
            lines |= own
            values.append(self.makers[number](list(own.values()), *live.shape))
        return values, lines

    def _maker(self, number: int) -> Callable[[list[Tensor], int, int], Tensor]:
        """What computes a part from the parts that lead to it."""
        part, parts = self.sketch.parts[number], self.sketch.parts
        nodes = [parts[a].node for a in part.sources]
        if nodes == [part.node]:
            return lambda given, *_: given[0]
        made = parallel(self.sketch.graph, nodes, [part.node], self.compiled.dtype)
        order = [nodes.index(node) for node in made.given]
        fixed = self._fixed

        def make(given: list[Tensor], times: int, batch: int) -> Tensor:
            return made.run([given[place] for place in order], fixed, times, times * batch)[0]

        return make

    @property
    def _fixed(self) -> dict[Ref, Tensor]:
        step = self.compiled.step
        wanted = [n.attributes[0] for n in step.graph.nodes if n.op in ("fixed", "sequence")]
        own = [tensor.detach() for tensor in self.sketch.tensors]
        return Once(step.once, wanted, frozenset(), {}, step.constants).run(own)

    def _seeds(self, lag: int, live: Tensor) -> dict[int, Tensor]:
        """What enters a step, by part: at the loss time by the outputs, before it by the states."""
        kind, leaves = ("state", self.states)
        if lag == 0:
            leaves = [leaf[self.times] for leaf in self.passage.losses if leaf is not None]
            kind = "output" if self.sketch.of("output") else "state"
        else:
            leaves = [leaf[lag] for leaf in leaves]
        return {
            part: self._rows(leaf.flatten(0, 1), live).flatten(0, 1)
            for part, leaf in zip(self.sketch.of(kind), leaves, strict=False)
        }

    def _rows(self, leaf: Tensor, live: Tensor) -> Tensor:
        """(n, B, ...) of (n B, ...), 0 where there is no such step."""
        rows = leaf.unflatten(0, tuple(live.shape))
        return torch.where(_like(live, rows), rows, 0.0)

    def _agrees(self, lag: int, steps: Tensor, found: Found, live: Tensor) -> bool:
        """Whether dE_t/ds_{k-1} is what the walk back has; it has none for what comes first."""
        reset, first = self.passage.course.reset, steps == 0
        gap = size = 0.0
        for known, leaf in zip(self.states, found, strict=True):
            own = torch.zeros_like(known[lag + 1]) if leaf is None else self._rows(leaf, live)
            if reset is not None:
                own = torch.where(_like(reset[steps], own), 0.0, own)
            known[lag + 1, first & live.any(1)] = own[first & live.any(1)]
            gap += float((known[lag + 1] - own).square().sum())
            size += float(known[lag + 1].square().sum())
        return gap <= TOLERANCE**2 * max(size, 1e-30)


def _taken(leaf: Tensor, steps: Tensor, live: Tensor) -> Tensor:
    """(n B, ...) the rows of some steps, 0 where there are none."""
    rows = torch.where(_like(live, leaf[steps]), leaf[steps], torch.zeros((), dtype=leaf.dtype))
    return rows.flatten(0, 1).detach().requires_grad_(is_real(leaf))


def _like(mask: Tensor, leaf: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *[1] * (leaf.dim() - mask.dim()))
