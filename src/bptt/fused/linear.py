"""Whether a step's way back is linear: two adjoints then go back as one, their sum.

Every derivative is. But a step may hold an `autograd.Function` whose way back is what somebody has
written, such as one that clips what comes.
"""

from bptt.compiler.compiled import Direction
from bptt.compiler.graph import CONTRACTIONS, Graph

# Linear in all of their operands together.
ALONG = frozenset(
    (*CONTRACTIONS, "slice", "cat", "reshape", "permute", "expand", "sum", "neg", "total", "steps",
     "add", "sub")
)  # fmt: skip


def is_linear(direction: Direction) -> bool:
    """Whether all that hangs on an adjoint is linear in it."""
    known = direction.made.get("linear")
    if known is None:
        graph, adjoints = direction.columns.graph, direction.adjoints
        known = all(_is_linear(graph, number, adjoints) for number in adjoints)
        direction.made["linear"] = known
    return known


def _is_linear(graph: Graph, number: int, adjoints: frozenset[int]) -> bool:
    op, operands = graph[number].op, graph[number].operands
    hang = [operand in adjoints for operand in operands]
    if op in ("d_output", "d_state", "linear"):
        return True
    if op in ("mul", "outer"):
        return sum(hang) == 1
    if op == "div":
        return hang == [True, False]
    rest = [o for o, hangs in zip(operands, hang, strict=True) if not hangs]
    if op == "where":
        return not hang[0] and _are_zero(graph, rest[1:])
    return op in ALONG and (op in CONTRACTIONS or _are_zero(graph, rest))


def _are_zero(graph: Graph, nodes: list[int]) -> bool:
    """Whether they add nothing."""
    return all(_is_zero(graph, node) for node in nodes)


def _is_zero(graph: Graph, number: int) -> bool:
    node = graph[number]
    if node.op == "number":
        return float(node.attributes[0]) == 0.0
    return node.op in ("expand", "reshape", "permute") and _is_zero(graph, node.operands[0])
