"""Whose memory a value of the columns beside the loop may take, and what is dead after each line.

Those columns hold all steps at once: every value that goes to fresh memory is written through all
caches, and its pages may have to be had from the system first. What is computed number by number
from a value that nobody needs afterwards is put in that one's place.
"""

from collections.abc import Iterable, Mapping, Sequence

from bptt.compiler.graph import Graph, Node
from bptt.compiler.stages import OPERATIONS

_VIEWS = ("slice", "reshape", "permute", "expand", "linear")
# What makes numbers of its own; `where` has no form that says where they go to.
_FRESH = frozenset((*(OPERATIONS.keys() - {"where"}), "matmul", "cat"))


class Reuse:
    """What may be overwritten in a function that computes nodes one after the other.

    Args:
        graph: of which they are nodes.
        inner: they, in order.
        keep: those that are returned, and those that have no rows of their own.
        later: of a node that another computes along with itself, the other.
    """

    def __init__(
        self, graph: Graph, inner: Sequence[int], keep: Iterable[int], later: Mapping[int, int]
    ) -> None:
        self._graph, self._keep = graph, frozenset(keep)
        self._own = frozenset(inner) - self._keep - later.keys()
        self._last: dict[int, int] = {}
        self._viewed = set[int]()
        for number in inner:
            for operand in graph[number].operands:
                self._last[operand] = max(self._last.get(operand, -1), later.get(number, number))
                if graph[number].op in _VIEWS:
                    self._viewed.add(operand)
        self._ends: dict[int, list[int]] = {}
        for operand, number in self._last.items():
            self._ends.setdefault(number, []).append(operand)

    def place(self, number: int) -> int | None:
        """The operand whose memory a node's numbers may take; None if there is none."""
        node = self._graph[number]
        if node.op not in OPERATIONS or node.op == "where" or node.mask:
            return None
        return next((o for o in node.operands if self._fits(o, node, number)), None)

    def dead(self, number: int) -> list[int]:
        """What nobody needs once a node is computed."""
        return sorted(o for o in self._ends.get(number, ()) if o in self._own)

    def _fits(self, operand: int, node: Node, number: int) -> bool:
        given = self._graph[operand]
        return (
            operand in self._own
            and operand not in self._viewed
            and self._last[operand] == number
            and given.op in _FRESH
            and given.shape == node.shape
            and not given.mask
        )
