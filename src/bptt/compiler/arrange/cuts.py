"""Where the values of a loop are cut by those who use them."""

import math
from collections.abc import Iterable

from bptt.compiler.graph import Graph, Node
from bptt.compiler.split import Columns


def cuts(columns: Columns) -> dict[int, set[int]]:
    """The columns at which each value of a loop is cut, by node."""
    graph: Graph = columns.graph
    found: dict[int, set[int]] = {}
    for number in sorted(columns.loop, reverse=True):
        node = graph[number]
        own = found.get(number, set())
        for position, operand in enumerate(node.operands):
            passed = _passed(graph, node, position, own)
            if passed:
                found.setdefault(operand, set()).update(passed)
    return found


def _passed(graph: Graph, node: Node, position: int, own: Iterable[int]) -> set[int]:
    """Where a user's cuts cut its operand."""
    operand = graph[node.operands[position]]
    width = math.prod(operand.shape)
    if node.op == "slice":
        axis, start, stop = node.attributes
        if math.prod(operand.shape[:axis]) != 1:
            return set()
        inner = math.prod(operand.shape[axis + 1 :])
        return {c for c in (start * inner, stop * inner, *(start * inner + c for c in own))
                if 0 < c < width}  # fmt: skip
    if node.op == "cat" and math.prod(node.shape[: node.attributes[0]]) == 1:
        begin = sum(math.prod(graph[o].shape) for o in node.operands[:position])
        return {c - begin for c in own if 0 < c - begin < width}
    if node.op in ("matmul", "heads", "sum", "max", "permute", "cat", "expand"):
        return set()
    return set(own) if width == math.prod(node.shape) else set()
