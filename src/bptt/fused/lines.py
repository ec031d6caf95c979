"""A call of one plan as lines of Python: where its values lie, and what computes them.

x0, s0, w0    inputs, state and the cell's own tensors      dy0, ds0    adjoints of the results
m7, v7        value 7 at all steps, the loop's or one computed beside it
e0            what the loop ends with                       t0          a sum over each sequence
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptt.backends.cpu.kernel import Rows
from bptt.compiler.arrange import Part
from bptt.compiler.compiled import Direction
from bptt.compiler.parallel import Parallel, total
from bptt.compiler.record import Ref
from bptt.compiler.writing import function
from bptt.fused import ahead, lying
from bptt.fused.forward import computed
from bptt.fused.job import Job
from bptt.fused.loop import compiled as kernel_of
from bptt.fused.loop import real
from bptt.fused.ordinary import DOWN, UP


class Lines:
    """A function that is being written, for one direction of a plan.

    Args:
        job: a call of the plan.
        own: the cell's tensors, without numbers.
        direction: whose columns it runs.
        backward: whether it is the way back.

    Attributes:
        inputs, state, own: names.
        shown: the outputs' nodes, whether the caller gets copies, the shapes of rows.
        stored: the nodes that loops keep.
        wholes: those of them whose memory holds what the first step begins with, too.
        bare: those of them that have (steps, batch, ...) memory of their own, for the caller.
        namespace: what the lines name.
    """

    def __init__(
        self, job: Job, own: Sequence[Tensor], direction: Direction, backward: bool
    ) -> None:
        self.compiled, self.direction, self.backward = job.compiled, direction, backward
        self.graph, self.reverse = job.compiled.step.graph, job.course.reverse
        inputs, state, _ = job.counts
        self.inputs, self.state, self.own = (
            [f"{kind}{i}" for i in range(count)]
            for kind, count in (("x", inputs), ("s", state), ("w", len(own)))
        )
        self._dtype, self._kernel_of = job.compiled.dtype, functools.partial(kernel_of, job)
        self._views = lying.views(own, direction.once.operations)
        forward = job.compiled.forward if backward else direction
        self._leaves = {part.leaf: part.node for part in forward.kept if part.leaf is not None}
        self.wholes = set(self._leaves.values()) if forward.reads_states else set[int]()
        self.stored = {part.node for part in (*forward.kept, *direction.kept)}
        self.shown = list(ahead.shown(job.compiled, forward))
        alone = {node for node, copied, _ in self.shown if not copied}
        self.bare = alone.intersection(part.node for part in forward.kept) - self.wholes
        self.namespace: dict[str, Any] = {
            "empty": torch.empty, "empty_like": torch.empty_like, "zeros_like": torch.zeros_like,
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
        self.write(
            "course = job.course",
            "steps, batch = course.steps, course.batch",
            "rows = steps * batch",
            f"({listed((*self.inputs, *self.state, *self.own))}) = tensors",
        )

    # Values at all steps

    def memory(self, node: int) -> str:
        """The name of a value's memory."""
        op, attributes = self.graph[node].op, self.graph[node].attributes
        if op == "state":
            return f"m{self._leaves[attributes[0]]}"
        if op in ("input", "d_output"):
            return f"{'x' if op == 'input' else 'dy'}{attributes[0]}"
        return f"m{node}" if node in self.stored else f"v{node}"

    def address(self, node: int) -> str:
        """Where a value begins."""
        start = f"{self.memory(node)}.data_ptr()"
        return f"{start} + {self.row(node)} * batch" if self._is_later(node) else start

    def row(self, node: int) -> int:
        """Bytes of a row."""
        return math.prod(self.graph[node].shape) * self._dtype.itemsize

    def view(self, node: int) -> str:
        """A value as (rows, ...)."""
        name, later = self.memory(node), self._is_later(node)
        if self.graph[node].op in ("input", "d_output") or node in self.bare:
            return f"{name}.view({listed(('rows', *self.graph[node].shape))})"
        if later is None:
            return name
        return f"{name}[batch:]" if later else f"{name}[:rows]"

    def output(self, node: int) -> str:
        """A value as (steps, batch, ...)."""
        name, shape = self.memory(node), self.graph[node].shape
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
        if self.graph[node].op == "state":
            return self.reverse
        return not self.reverse if node in self.wholes else None

    def new(self, node: int) -> None:
        """Memory for a value of the loop."""
        rows = "steps, batch" if node in self.bare else "rows"
        rows += " + batch" if node in self.wholes else ""
        self.write(f"m{node} = empty({listed((rows, *self.graph[node].shape))}dtype=dtype)")

    def head(self, leaf: int) -> str:
        """Where a state before the first step is stored, too."""
        node = self._leaves.get(leaf)
        if node not in self.wholes:
            return "0"
        return f"m{node}.data_ptr()" + (f" + {self.row(node)} * rows" if self.reverse else "")

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
        given = ", ".join(f"{node}: {self.view(node)}" for node in run.given)
        self.write(f"found = computed({name}, {name}_nodes, {{{given}}}, fixed, course)")
        new = [node for node in nodes if node not in run.given]
        self.write(*(f"v{node} = found[{node}]" for node in new))

    # The kernel

    def kernel(self, others: dict[str, str], order: Rows | None = None) -> None:
        """Its call.

        Args:
            others: what stands at the slots of carries and sums.
            order: who goes where; None: every sequence through all steps.
        """
        kernel = self._kernel_of(self.direction)
        there = {"mask": "0", "leave": str(int(self.backward))}
        there |= {name: where for name, where in others.items() if name in kernel.slots}
        names = self.direction.names
        for name, node in (*names.step.items(), *names.kept.items()):
            there[name] = self.address(node)
            if self.memory(node) == f"v{node}":  # masks and counts become the loop's numbers
                self.write(f"as_{name} = real(v{node}, dtype)")
                there[name] = f"as_{name}.data_ptr()"
        for name, part in names.fixed.items():
            there |= self._weight(name, part)
        self.namespace["places"] = [kernel.slots[name] for name in there]
        self.namespace["kernel"] = kernel.run_at
        self.namespace["order"] = order or (DOWN if self.reverse != self.backward else UP)
        addresses = ", ".join(there.values())
        self.write(f"sums = kernel(places, [{addresses}], (steps, batch), order)")

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


def listed(names: Iterable[Any]) -> str:
    """Names, each with a comma behind it."""
    return "".join(f"{name}, " for name in names)


def carry(name: str, begin: str, end: str, head: str = "0") -> dict[str, str]:
    """What stands at a carry's slots."""
    given = {"begin": begin, "end": end, "head": head, "before": "0", "fresh": "0"}
    return {f"{name}.{place}": where for place, where in given.items()}
