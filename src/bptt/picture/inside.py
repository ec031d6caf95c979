"""What passes between the parts of a step, on its way back."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from bptt.backends.each import Passage
from bptt.backends.product import Found, is_real
from bptt.compiler.compiled import Compiled
from bptt.compiler.once import Once
from bptt.compiler.parallel import parallel
from bptt.compiler.record import Ref
from bptt.picture.back import like
from bptt.picture.sketch import Sketch

TOLERANCE = 1e-3  # between a step's own way back and that of the operations it is drawn with
Edges = dict[tuple[int, int], np.ndarray]


class Inside:
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
        return torch.where(like(live, rows), rows, 0.0)

    def _agrees(self, lag: int, steps: Tensor, found: Found, live: Tensor) -> bool:
        """Whether dE_t/ds_{k-1} is what the walk back has; it has none for what comes first."""
        reset, first = self.passage.course.reset, steps == 0
        gap = size = 0.0
        for known, leaf in zip(self.states, found, strict=True):
            own = torch.zeros_like(known[lag + 1]) if leaf is None else self._rows(leaf, live)
            if reset is not None:
                own = torch.where(like(reset[steps], own), 0.0, own)
            known[lag + 1, first & live.any(1)] = own[first & live.any(1)]
            gap += float((known[lag + 1] - own).square().sum())
            size += float(known[lag + 1].square().sum())
        return gap <= TOLERANCE**2 * max(size, 1e-30)


def _taken(leaf: Tensor, steps: Tensor, live: Tensor) -> Tensor:
    """(n B, ...) the rows of some steps, 0 where there are none."""
    rows = torch.where(like(live, leaf[steps]), leaf[steps], torch.zeros((), dtype=leaf.dtype))
    return rows.flatten(0, 1).detach().requires_grad_(is_real(leaf))


def norms(leaf: Tensor, axes: int) -> np.ndarray:
    """Over all that follows so many axes."""
    flat = leaf.reshape(*leaf.shape[:axes], -1).double()
    return torch.linalg.vector_norm(flat, dim=-1).numpy()
