"""A call of one plan as lines of Python: what computes its values, and from which memory.

The names of memories are those of `memories.py`; besides them:

e0    what the loop ends with, or what has arrived there      a0    what has arrived at resets
t0    a sum over each sequence
"""

import ctypes
import functools
from collections.abc import Callable, Container, Sequence
from typing import Any

import torch
from torch import Tensor

from bptt import starts
from bptt.backends.cpu.kernel import Rows
from bptt.compiler.arrange import Part
from bptt.compiler.compiled import Direction
from bptt.compiler.parallel import Parallel, total
from bptt.compiler.record import Ref
from bptt.compiler.writing import function
from bptt.fused import lying
from bptt.fused.forward import computed
from bptt.fused.job import Job
from bptt.fused.loop import compiled as kernel_of
from bptt.fused.loop import real
from bptt.fused.memories import Memories, is_turned, listed

UP, DOWN = Rows(), Rows(direction=-1)


class Lines:
    """A function that is being written, for one direction of a plan.

    Args:
        job: a call of the plan.
        own: the cell's tensors, without numbers.
        direction: whose columns it runs.
        backward: whether it is the way back.

    Attributes:
        inputs, state, fresh, own: names.
        lengths, resets: whether sequences have steps of their own, and start afresh within.
        marks_firsts: whether the way back takes their beginnings for such fresh starts.
        memories: where values lie.
        namespace: what the lines name.
    """

    def __init__(
        self, job: Job, own: Sequence[Tensor], direction: Direction, backward: bool
    ) -> None:
        course = job.course
        self.compiled, self.direction = job.compiled, direction
        self.graph, self._backward = job.compiled.step.graph, backward
        self.inputs, self.state, self.fresh, self.own = (
            [f"{kind}{i}" for i in range(count)]
            for kind, count in zip("xsfw", (*job.counts, len(own)), strict=True)
        )
        self.lengths, self.resets = course.lengths is not None, course.reset is not None
        self.marks_firsts = not self.resets and is_turned(course)
        forward = job.compiled.forward if backward else direction
        self.memories = Memories(job, forward, direction)
        self._down = course.reverse != backward
        self._dtype, self._kernel_of = job.compiled.dtype, functools.partial(kernel_of, job)
        self._views = lying.views(own, direction.once.operations)
        self.namespace: dict[str, Any] = {
            "empty": torch.empty, "empty_like": torch.empty_like, "zeros_like": torch.zeros_like,
            "fill": ctypes.memset, "Rows": Rows, "anew": starts.anew, "firsts": starts.firsts,
            "total": total, "computed": computed, "real": real, "dtype": self._dtype,
        }  # fmt: skip
        self._lines: list[str] = []

    def write(self, *lines: str) -> None:
        self._lines += lines

    def function(self, arguments: str) -> Callable[..., Any]:
        """The function, made to run."""
        source = "\n    ".join([f"def run({arguments}):", *self._lines, ""])
        return function(source, "run", self.namespace)

    def begin(self) -> None:
        """The call's tensors by name."""
        given = (*self.inputs, *self.state, *self.fresh)
        self.write(
            "course = job.course",
            "steps, batch = course.steps, course.batch",
            "rows = steps * batch",
            f"({listed((*given, *self.own))}) = tensors",
            *(f"{name} = {name}.contiguous()" for name in given),
        )
        if self.resets:
            self.write("mask = course.reset")
        elif self.marks_firsts and (self._backward or self._shows_beginnings()):
            self.write("mask = firsts(course)")

    def _shows_beginnings(self) -> bool:
        """Whether outputs are made of what steps begin with."""
        return not self.memories.afresh.keys().isdisjoint(self.direction.after.given)

    def new(self) -> list[int]:
        """Memory for what the loop keeps: the nodes."""
        memories, nodes = self.memories, [part.node for part in self.direction.kept]
        if not self._backward:
            nodes += memories.begun.values()
        self.write(*(f"{memories.name(node)} = {memories.new(node)}" for node in nodes))
        return nodes

    def clear(self, nodes: Sequence[int], some: Container[int] | None = None) -> None:
        """Zeros wherever the loop may store nothing in memory for it, or in some of that."""
        if not self.lengths:
            return
        self.write("least = min(course.numbers) * batch")
        for node in nodes:
            if some is None or node in some:
                row, place = self.memories.row(node), self.memories.address(node)
                self.write(f"fill({place} + {row} * least, 0, {row} * (rows - least))")

    # What torch computes

    def fixed(self, *columns: tuple[Sequence[int], Parallel]) -> None:
        """What is made of the cell's tensors alone, for torch's columns and for the kernel."""
        graph, parts = self.graph, self.direction.names.fixed.values()
        needed = {self._ref(part) for part in parts if self._there(part) is None}
        for nodes, run in columns:
            inner = graph.between(nodes, set(run.given))
            needed |= {graph[n].attributes[0] for n in inner if graph[n].op == "fixed"}
        self.namespace["once"] = self.compiled.once(needed).run
        self.write(f"fixed = once(({listed(self.own)}))" if needed else "fixed = {}")

    def column(self, name: str, nodes: Sequence[int], run: Parallel) -> None:
        """A column that is computed for all steps at once, or for some at a time."""
        self.namespace[name], self.namespace[f"{name}_nodes"] = run, tuple(nodes)
        given = ", ".join(f"{node}: {self.memories.view(node)}" for node in run.given)
        self.write(f"found = computed({name}, {name}_nodes, {{{given}}}, fixed, course)")
        new = [node for node in nodes if node not in run.given]
        self.write(*(f"v{node} = found[{node}]" for node in new))

    # The kernel

    def kernel(self, others: dict[str, str], apart: Rows | None = None) -> None:
        """Its call.

        Args:
            others: what stands at the slots of carries and sums.
            apart: who goes where; None: every sequence through all its steps.
        """
        kernel, memories = self._kernel_of(self.direction), self.memories
        marked = self.resets or (self._backward and self.marks_firsts)
        there = {"mask": "mask.data_ptr()" if marked else "0", "leave": str(int(self._backward))}
        there |= {name: where for name, where in others.items() if name in kernel.slots}
        names = self.direction.names
        for name, node in (*names.step.items(), *names.kept.items()):
            there[name] = memories.address(node)
            if memories.name(node) == f"v{node}":  # masks and counts become the loop's numbers
                self.write(f"as_{name} = real(v{node}, dtype)")
                there[name] = f"as_{name}.data_ptr()"
        for name in kernel.begun:
            fresh = memories.afresh.get(names.step[name])
            there[f"{name}.fresh"] = "0" if fresh is None else f"{fresh}.data_ptr()"
        for name, part in names.fixed.items():
            there |= self._weight(name, part)
        self.namespace["places"] = [kernel.slots[name] for name in there]
        self.namespace["kernel"] = kernel.run_at
        self.namespace["every"] = apart or (DOWN if self._down else UP)
        order = "every"
        if self.lengths:
            direction = -1 if self._down else 1
            order = f"Rows(None, None, course.lengths, {direction}, False, course.numbers)"
        addresses = ", ".join(there.values())
        self.write(f"sums = kernel(places, [{addresses}], (steps, batch), {order})")

    def _ref(self, part: Part) -> Ref:
        return self.graph[part.node].attributes[0]

    def _there(self, part: Part) -> lying.View | None:
        """Where a fixed tensor lies in one of the cell's, if its numbers lie there as they are."""
        view = self._views.get(self._ref(part))
        if view is None or view.meta.dtype is not self._dtype:
            return None
        if part.stop is None:
            return view if view.meta.is_contiguous() else None
        return view._replace(meta=part.rows_of(view.meta, self._dtype))

    def _weight(self, name: str, part: Part) -> dict[str, str]:
        """What stands at the slots of a fixed tensor."""
        view = self._there(part)
        if view is None:
            made = f"fixed_{name}"
            self.namespace[f"{made}_of"] = real if part.stop is None else part.rows_of
            self.write(f"{made} = {made}_of(fixed[{str(self._ref(part))!r}], dtype)")
            address, strides = f"{made}.data_ptr()", [f"{made}.stride({i})" for i in (0, 1)]
        else:
            first = view.meta.storage_offset() * self._dtype.itemsize
            address = f"w{view.own}.data_ptr()" + (f" + {first}" if first else "")
            strides = [str(stride) for stride in view.meta.stride()]
        if part.stop is None:
            return {name: address}
        return {name: address, f"{name}.down": strides[0], f"{name}.across": strides[1]}


def carry(name: str, begin: str, end: str, **others: str) -> dict[str, str]:
    """What stands at a carry's slots.

    Args:
        name: of the carry.
        begin, end: what it begins with, and is left in.
        others: by slot: head, before, fresh.
    """
    given = {"begin": begin, "end": end, "head": "0", "before": "0", "fresh": "0", **others}
    return {f"{name}.{place}": where for place, where in given.items()}
