"""The loops that legs of runs go by (`passes.py`).

The last pass through a step goes by the loop that adds up weights' gradients, where there is one;
those before it by one that only carries adjoints on, stores nothing and reads no more than that.
There may be hundreds of legs, so what is the same for all of them is asked once.
"""

import torch
from torch import Tensor

from bptt.compiler.compiled import Direction
from bptt.fused.job import Job, Values
from bptt.fused.loop import Fixed, Rows, compiled, fixed_reads, step_reads
from bptt.fused.passes import Leg

Window = tuple[int, int]
Sum = tuple[int, Tensor]


class Legs:
    """Legs through some steps, one after the other.

    Args:
        job: what is run.
        direction: the way back.
        values: what there is for it, in rows.
        fixed: what it computes once.
        kept: filled with what it keeps, in these rows.

    Attributes:
        sums: by node, what loops have added up so far.
    """

    def __init__(
        self, job: Job, direction: Direction, values: Values, fixed: Fixed, kept: Rows
    ) -> None:
        self._job, self._direction, self._kept = job, direction, kept
        self._values, self._fixed = values, fixed
        self._loops: dict[bool, _Loop] = {}
        graph, dtype = direction.columns.graph, job.compiled.dtype
        added = *direction.names.totals.values(), *direction.names.outers.values()
        self.sums = {n: torch.zeros(graph[n].shape, dtype=dtype) for n in added}

    def run(self, leg: Leg, window: Window, carried: Rows) -> None:
        """Take rows back.

        Args:
            leg: which rows go where.
            window: the steps in which these are counted.
            carried: adjoints by carry, of every run: they become those that rows come to.
        """
        loop = self._loops.get(leg.last) or self._made(leg.last)
        for node, found in loop.run(leg, window, carried):
            self.sums[node] += found

    def _made(self, last: bool) -> "_Loop":
        job, way = self._job, self._direction
        way = way if last else job.compiled.carrying(way)
        steps = step_reads(job, way, self._values) | (self._kept if last else {})
        self._loops[last] = _Loop(job, way, steps, fixed_reads(job, way, self._fixed))
        return self._loops[last]


class _Loop:
    """A way back's loop, which knows where its kernel expects what.

    Args:
        job: what is run.
        way: the way back.
        steps: what it reads and fills at each step.
        others: what it reads that is the same at all of them.
    """

    def __init__(self, job: Job, way: Direction, steps: Rows, others: Rows) -> None:
        names, self._kernel, self._dtype = way.names, compiled(job, way), job.compiled.dtype
        self._batch, self._owners, slots = job.course.batch, (steps, others), self._kernel.slots
        self._steps = [(leaf.data_ptr(), leaf.nbytes // len(leaf)) for leaf in steps.values()]
        self._sequences = [others[name] for name in names.sequence]
        self._fixed = [0, *(n for name in names.fixed for n in _told(name, others[name], slots))]
        fixed = (name + part for name in names.fixed for part in ("", ".down", ".across"))
        carries = (name + part for part in (".begin", ".end") for name in names.carried)
        totals = (f"{name}.end" for name in names.totals)
        places = ["mask", *fixed, *steps, *names.sequence, *carries, *totals]
        self._places = [slots[place] for place in places if place in slots]
        self._outers = list(names.outers.values())
        self._totals = [(node, way.columns.graph[node].shape) for node in names.totals.values()]

    def run(self, leg: Leg, window: Window, carried: Rows) -> list[Sum]:
        """Take rows on; by node, what is summed over them and all of their steps."""
        (start, stop), batch, rows, own = window, self._batch, leg.rows, leg.rows.own
        totals = [torch.empty(leg.count, *shape, dtype=self._dtype) for _, shape in self._totals]
        sequences = [_spread(leg, leaf) for leaf in self._sequences]
        carries = [leaf.data_ptr() + leg.first * leaf.stride(0) * leaf.itemsize
                   for leaf in carried.values()]  # fmt: skip
        addresses = [place + start * batch * size for place, size in self._steps]
        addresses = [*self._fixed, *addresses, *(leaf.data_ptr() for leaf in sequences), *carries]
        addresses += [*carries, *(leaf.data_ptr() for leaf in totals)]
        outers = self._kernel.run_at(self._places, addresses, (stop - start, batch), rows)
        some = [leaf if own is None else leaf.index_select(0, own) for leaf in totals]
        summed = [leaf.sum(0) for leaf in some]
        nodes = (node for node, _ in self._totals)
        return [*zip(nodes, summed, strict=True), *zip(self._outers, outers, strict=True)]


def _spread(leg: Leg, leaf: Tensor) -> Tensor:
    """What each sequence has one of, where each row's lies."""
    rows, found = leaf[leg.rows.sequence], leaf.new_empty(leg.count, *leaf.shape[1:])
    return rows if leg.rows.own is None else found.index_copy_(0, leg.rows.own, rows)


def _told(name: str, leaf: Tensor, slots: dict[str, int]) -> list[int]:
    """What a kernel is told of what is the same at all steps: of a matrix its strides, too."""
    return [leaf.data_ptr(), *(leaf.stride() if f"{name}.down" in slots else ())]
