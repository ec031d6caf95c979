"""Where the values of all steps lie in a call that is written out: in which memory, from where on.

x0, s0, f0, w0    inputs, state, what resets start from, the cell's own tensors
dy0, ds0          adjoints of the results
m7, v7            value 7 at all steps, the loop's or one computed beside it
b0                leaf 0 of the state before each step, where no other memory has it
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from bptt.compiler.compiled import Direction
from bptt.course import Course
from bptt.fused.job import Job


class Memories:
    """The memories of a call.

    Args:
        job: a call of the plan.
        forward: the way forward, which has kept what there is.
        direction: the way that is written.

    Attributes:
        stored: the nodes that loops keep.
        shown: the outputs' nodes, and whether the caller gets copies.
        wholes: the nodes of states whose memory holds what the first step begins with, too: what
            steps begin with lies in it a step earlier, but for those that start afresh.
        afresh: where that is of which leaf, by node; those steps are marked in `mask`.
        begun: the nodes of what each step begins with, where that is stored by itself, by leaf.
        bare: nodes that have (steps, batch, ...) memory of their own, for the caller.
    """

    def __init__(self, job: Job, forward: Direction, direction: Direction) -> None:
        self._graph, self._size = job.compiled.step.graph, job.compiled.dtype.itemsize
        self._reverse = job.course.reverse
        self._leaves = {part.leaf: part.node for part in forward.kept if part.leaf is not None}
        self.stored = {part.node for part in (*forward.kept, *direction.kept)}
        own = forward.reads_states
        resets, turned = job.course.reset is not None, is_turned(job.course)
        shifted = own and not (resets and turned)
        self.wholes = set(self._leaves.values()) if shifted else set[int]()
        kind = "f" if resets else "s" if turned else None
        states = job.compiled.states if shifted and kind is not None else []
        self.afresh = {node: f"{kind}{leaf}" for node, leaf, _ in states}
        self.begun = dict(_taken(job, forward)) if own and not self.wholes else dict[int, int]()
        self.shown = list(_shown(job, forward))
        alone = {node for node, copied in self.shown if not copied}
        self.bare = alone.intersection(part.node for part in forward.kept) - self.wholes

    def name(self, node: int) -> str:
        """The name of a value's memory."""
        op, attributes = self._graph[node].op, self._graph[node].attributes
        if op == "state":
            leaf = attributes[0]
            return f"b{leaf}" if leaf in self.begun else f"m{self._leaves[leaf]}"
        if op in ("input", "d_output"):
            return f"{'x' if op == 'input' else 'dy'}{attributes[0]}"
        return f"m{node}" if node in self.stored else f"v{node}"

    def address(self, node: int) -> str:
        """Where a value begins."""
        start = f"{self.name(node)}.data_ptr()"
        return f"{start} + {self.row(node)} * batch" if self._is_later(node) else start

    def row(self, node: int) -> int:
        """Bytes of a row."""
        return math.prod(self._graph[node].shape) * self._size

    def view(self, node: int) -> str:
        """A value as (rows, ...)."""
        found, fresh = self._lying(node), self.afresh.get(node)
        return found if fresh is None else f"anew(mask, {found}, {fresh})"

    def _lying(self, node: int) -> str:
        name, later = self.name(node), self._is_later(node)
        if self._graph[node].op in ("input", "d_output") or node in self.bare:
            return f"{name}.view({listed(('rows', *self._graph[node].shape))})"
        if later is None:
            return name
        return f"{name}[batch:]" if later else f"{name}[:rows]"

    def output(self, node: int) -> str:
        """A value as (steps, batch, ...)."""
        name, shape = self.name(node), self._graph[node].shape
        if node in self.bare:
            return name
        if node not in self.wholes:
            return f"{self.view(node)}.reshape({listed(('steps', 'batch', *shape))})"
        width = math.prod(shape)
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        sizes = f"(steps, batch, {listed(shape)}), ({width} * batch, {width}, {listed(strides)})"
        return f"{name}.as_strided({sizes}, {f'{width} * batch' if self._is_later(node) else 0})"

    def _is_later(self, node: int) -> bool | None:
        """Of two values in one memory, whether it lies a step further on; None if it is alone."""
        if self._graph[node].op == "state":
            return None if self.begun else self._reverse
        return not self._reverse if node in self.wholes else None

    def new(self, node: int) -> str:
        """Memory for a value of the loop, as an expression."""
        rows = "steps, batch" if node in self.bare else "rows"
        rows += " + batch" if node in self.wholes else ""
        return f"empty({listed((rows, *self._graph[node].shape))}dtype=dtype)"

    def head(self, leaf: int) -> str:
        """Where a state before the first step is stored, too."""
        node = self._leaves.get(leaf)
        if node not in self.wholes:
            return "0"
        return f"m{node}.data_ptr()" + (f" + {self.row(node)} * rows" if self._reverse else "")


def is_turned(course: Course) -> bool:
    """Whether sequences begin at different steps, each at its last that counts."""
    return course.reverse and course.lengths is not None


def _taken(job: Job, forward: Direction) -> Iterator[tuple[int, int]]:
    """The leaves of the state that are taken beside the way forward's loop, and their nodes."""
    compiled = job.compiled
    taken = {*forward.taken, *compiled.backward_takes("state")}
    for node, leaf, _ in compiled.states:
        if node in taken:
            yield leaf, node


def _shown(job: Job, forward: Direction) -> Iterator[tuple[int, bool]]:
    seen = set(forward.columns.given)  # memory of the caller's, or shown twice
    for node in job.compiled.step.outputs:
        yield node, node in seen
        seen.add(node)


def listed(names: Iterable[Any]) -> str:
    """Names, each with a comma behind it."""
    return "".join(f"{name}, " for name in names)
