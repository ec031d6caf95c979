"""What `unroll` would do with a cell: which part of a step is computed when, and by what."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from bptt import check
from bptt.compiler.compiled import Compiled, Direction
from bptt.compiler.graph import LEAVES, SUMS
from bptt.compiler.once import refs
from bptt.compiler.record import Operation, Ref
from bptt.course import Course
from bptt.fused.checkpointed import costs_of
from bptt.methods import Checkpointed, Full, Method
from bptt.methods.checkpointed import spoken
from bptt.unroll import find_plan

# What costs less there than to be stored and read: products of few inputs, values used again, and
# on the way back of small cells all of the last column, weights' gradients as well.
IN_THE_KERNEL = "  (in the kernel)"
COLUMNS = ("once", "before", "loop", "after")


class Plan(NamedTuple):
    """How an unroll runs; its text is made to be read.

    Attributes:
        backend: "cpu" or "reference".
        refusal: why no kernel runs the cell, where and what to write instead; "" if one does.
        forward: per column, "once", "before", "loop" and "after", its operations, one a line; what
            need not wait, but costs less in the kernel than its way to it, is marked so.
        backward: the same for the way back; empty where no gradient is wanted.
        stages: how many passes over the columns of a row a step takes, forward and backward.
        way: for `Checkpointed` with kernels, its segments, the steps that are run again, and the
            memory that this takes; else "".
    """

    backend: str
    refusal: str
    forward: dict[str, list[str]]
    backward: dict[str, list[str]]
    stages: tuple[int, int]
    way: str = ""

    def __str__(self) -> str:
        lines = [f"backend: {self.backend}"]
        if self.way:
            lines.append(f"method: {self.way}")
        if self.refusal:
            return "\n".join([*lines, f"no kernel: {self.refusal}"])
        for title, columns in (("forward", self.forward), ("backward", self.backward)):
            for column in COLUMNS:
                body = columns.get(column) or []
                lines += (
                    [f"{title}, {_WHEN[column]}", *(f"    {line}" for line in body)] if body else []
                )
        return "\n".join(lines)

    __repr__ = __str__


_WHEN = {
    "once": "once a call",
    "before": "before the loop, all steps at once",
    "loop": "in the loop, step by step",
    "after": "after the loop, all steps at once",
}


def plan(
    cell: Any,
    inputs: Any,
    state: Any = None,
    *,
    lengths: Tensor | Sequence[int] | None = None,
    reset: Tensor | None = None,
    reset_state: Any = None,
    reverse: bool = False,
    method: Method = Full(),  # noqa: B008  frozen: the same value for every call
    backend: str = "auto",
) -> Plan:
    """How `unroll` would run a cell on these arguments, which are its own.

    Gradients are planned for where `unroll` would prepare them: gradients are enabled, and an
    input, a state or a tensor of the cell needs one.

    Raises:
        What `unroll` raises for the same arguments.

    >>> import torch, bptt
    >>> shown = bptt.plan(bptt.cells.Elman(3, 5), torch.randn(7, 2, 3))
    >>> shown.backend
    'cpu'
    >>> print("\\n".join(shown.forward["loop"]))
    t3 = matmul(s0, Ws)        (5,)
    t4 = add(t3, t2)           (5,)
    t5 = tanh(t4)              (5,)
    """
    given = (cell, inputs, state, lengths, reset, reset_state, reverse, method, backend)
    entry, tensors = find_plan(*given)
    if entry is None or entry.compiled is None:
        refusal = "" if entry is None else entry.refusal
        return Plan("reference", refusal, {}, {}, (0, 0))
    compiled = entry.compiled
    names = _names(cell, tensors)
    forward = compiled.forward if compiled.differentiable else compiled.plain
    directions = [forward, *([compiled.backward(frozenset())] if compiled.differentiable else [])]
    carried = zip(directions, ("state", "d_state"), strict=False)
    shown = [_columns(compiled, direction, names, leaf) for direction, leaf in carried]
    stages = [len(direction.loop.stages) for direction in directions]
    way = ""
    if compiled.differentiable and isinstance(method, Checkpointed):
        way = _way(compiled, method, _course(inputs, lengths, reset, reverse))
    backward = shown[1] if shown[1:] else {}
    return Plan("cpu", "", shown[0], backward, (stages[0], (*stages, 0)[1]), way)


def _course(inputs: Any, lengths: Any, reset: Any, reverse: bool) -> Course:
    """Who steps when."""
    _, steps, batch, device = check.inputs(inputs, None)
    return Course(steps, batch, check.lengths(lengths, steps, batch, device), reset, reverse)


def _way(compiled: Compiled, method: Checkpointed, course: Course) -> str:
    """How a sequence is cut and what that takes."""
    costs = costs_of(compiled, course)
    layout = method.layout(int(course.counts.max()), costs)
    return (
        f"{layout.count} segments of {layout.length} steps, {layout.slots} states held; "
        f"{layout.again} steps run again; {spoken(layout.bytes)} at most"
    )


def _names(cell: Any, tensors: Sequence[Tensor]) -> dict[Ref, str]:
    """What the user calls the tensors of a cell."""
    known: dict[int, str] = {}
    if isinstance(cell, nn.Module):
        known = {id(t): n for n, t in (*cell.named_buffers(), *cell.named_parameters())}
    return {Ref(f"w{i}"): known.get(id(t), f"w{i}") for i, t in enumerate(tensors)}


def _columns(
    compiled: Compiled, direction: Direction, names: dict[Ref, str], carried: str
) -> dict[str, list[str]]:
    columns, graph = direction.columns, direction.columns.graph
    loop, given = set(columns.loop), set(columns.given)
    before = graph.between(columns.before, given | loop)
    after = graph.between(columns.after, given | loop | before | set(columns.before))
    writer = _Writer(compiled, names)
    once = [writer.operation(operation) for operation in direction.once.operations]
    waiting = loop & graph.descendants(
        n for n, node in enumerate(graph.nodes) if node.op == carried
    )
    # What need not wait, but costs less in the kernel than its way there or back.
    whole = compiled.gathered(direction) or direction if carried == "d_state" else direction
    sums = {*whole.names.totals.values(), *whole.names.outers.values()}
    inside = (loop - waiting) | (after & (sums | set(whole.columns.loop)))
    groups = {"before": before | loop - waiting, "loop": waiting, "after": after}
    return {
        "once": once,
        **{
            name: [
                writer.node(n) + (IN_THE_KERNEL if n in inside else "")
                for n in sorted(nodes)
                if graph[n].op not in (*LEAVES, "number")
            ]
            for name, nodes in groups.items()
        },
    }


class _Writer:
    """Nodes and operations, a line each."""

    def __init__(self, compiled: Compiled, names: dict[Ref, str]) -> None:
        self.graph, self.names = compiled.step.graph, dict(names)
        self.numbers: dict[int, str] = {}

    def operation(self, operation: Operation) -> str:
        func, results = operation.func._schema.name.removeprefix("aten::"), operation.results
        given = ", ".join(
            self.names.get(ref, ref) for ref in refs((operation.args, operation.kwargs))
        )
        return f"{', '.join(str(name) for name in results if name)} = {func}({given})"

    def node(self, number: int) -> str:
        node = self.graph[number]
        op = node.op
        if op == "linear":
            op = node.attributes[0]._schema.name.removeprefix("aten::")
        given = [self._name(o) for o in node.operands]
        given += (
            [str(value) for value in node.attributes]
            if op not in SUMS and node.op != "linear"
            else []
        )
        text = f"{self._name(number)} = {op}({', '.join(given)})"
        line = self.graph.lines.get(number, "")
        place = f"  {os.path.basename(line)}" if line and not _is_ours(line) else ""
        return f"{text:<26} {node.shape}{place}"

    def _name(self, number: int) -> str:
        node = self.graph[number]
        if node.op == "number":
            return f"{float(node.attributes[0]):g}"
        if node.op in ("fixed", "sequence"):
            return self.names.get(node.attributes[0], str(node.attributes[0]))
        if node.op in LEAVES:
            return f"{_SHORT[node.op]}{node.attributes[0]}"
        return self.numbers.setdefault(number, f"t{len(self.numbers) + 1}")


def _is_ours(line: str) -> bool:
    return line.startswith(os.path.dirname(__file__))


_SHORT = {"input": "x", "state": "s", "draw": "r", "d_output": "dy", "d_state": "ds"}
