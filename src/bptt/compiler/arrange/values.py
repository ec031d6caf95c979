"""The values of a loop: each node's pieces, from outside, point by point, or by their users' rules.

A product or a reduction needs its operand in memory, so the pieces of that are stored by a stage,
and what is made of the result belongs to a later one: the number of such borders before a piece is
its level.
"""

import math
from collections.abc import Sequence

from bptt.compiler.arrange.cuts import cuts
from bptt.compiler.arrange.expressions import call, is_heavy, spread
from bptt.compiler.arrange.features import runs
from bptt.compiler.arrange.ledger import Ledger
from bptt.compiler.arrange.memories import Memories, Part
from bptt.compiler.arrange.pieces import Piece, Pieces, aligned, between, cut, merged
from bptt.compiler.graph import Node
from bptt.compiler.split import Columns
from bptt.compiler.trace import Untraceable

# More pieces than this in one value, and the kernel would be longer than what it saves.
MOST = 256


class Values:
    """Pieces by node.

    Attributes:
        graph: whose nodes they are.
        memories: what they are read from.
        ledger: what has been stored for them.
        pieces: of the nodes met so far.
        rows: of products' operands met so far.
        piles: by node, where rows are of which products are summed; "" until they are stored.
    """

    def __init__(self, columns: Columns, leaf: str, absent: frozenset[int]) -> None:
        self.graph = columns.graph
        self.memories = Memories(columns.graph)
        self.memories.carry_all(columns, leaf)
        self.ledger = Ledger(self.memories)
        self.pieces: dict[int, Pieces] = {}
        self.rows: dict[int, Pieces] = {}
        outers = [n for n in columns.sums if columns.graph[n].op == "outer"]
        self.piles = {o: "" for n in outers for o in columns.graph[n].operands}
        self._leaf, self._absent = leaf, absent
        self._cuts = cuts(columns)

    def give(self, number: int, pieces: Pieces) -> Pieces:
        """Takes down a node's pieces, cut where those who use the value cut it."""
        self.pieces[number] = cut(pieces, sorted(self._cuts.get(number, ())))
        return self.pieces[number]

    def of(self, number: int) -> Pieces:
        """The pieces of a node, of the loop or from outside."""
        if number in self.pieces:
            return self.pieces[number]
        node = self.graph[number]
        return self.give(number, [Piece(math.prod(node.shape), self._outside(number, node))])

    def pile(self, number: int) -> str:
        """The memory of rows of which products are summed."""
        if not self.piles[number]:
            pieces = self.of(number)
            self.piles[number] = name = self.memories.pile(sum(piece.width for piece in pieces))
            self.rows[number] = merged(self.ledger.in_memory(pieces, whole=True, memory=name))
        return self.piles[number]

    def _outside(self, number: int, node: Node) -> tuple:
        """What a value from outside is read by."""
        if number in self._absent:
            return ("number", 0.0)
        if node.op == "number":
            return ("number", float(node.attributes[0]))
        if node.op == self._leaf:
            return ("read", self.memories.names.carried[node.attributes[0]], 0, False)
        if node.op == "fixed":
            return ("read", self.memories.fixed(Part(number)), 0, False)
        if node.op == "sequence":
            return ("read", self.memories.sequence(number), 0, False)
        found = ("read", self.memories.step(number), 0, False)
        return call("ne", found, ("number", 0.0)) if node.mask else found

    def point(self, node: Node) -> Pieces:
        """An operation on the same column of each operand."""
        operands = [self.broadcast(o, node.shape) for o in node.operands]
        return [self.apply(node.op, row) for row in aligned(operands)]

    def apply(self, op: str, operands: Sequence[Piece]) -> Piece:
        """An operation on pieces of one width."""
        level = max(piece.level for piece in operands)
        ready = [self._ready(piece, level) for piece in operands]
        return Piece(operands[0].width, call(op, *(p.expression for p in ready)), level)

    def _ready(self, piece: Piece, level: int) -> Piece:
        """A piece that a stage of a later level can use without computing it once more."""
        if piece.level < level and is_heavy(piece.expression):
            return self.ledger.in_memory([piece])[0]
        return piece

    def broadcast(self, number: int, shape: Sequence[int]) -> Pieces:
        """The pieces of a value with its features broadcast to a shape."""
        own, shape = self.graph[number].shape, tuple(shape)
        pieces = self.of(number)
        if own == shape or math.prod(own) == math.prod(shape):
            return pieces
        own = (*[1] * (len(shape) - len(own)), *own)
        if math.prod(own) == 1:
            return [self._spread(pieces[0], math.prod(shape))]
        wanted = list(runs(own, shape))
        if len(wanted) > MOST:
            raise Untraceable(f"broadcasts features of shape {own} to {shape} in the loop")
        found: Pieces = []
        for offset, width, alike in wanted:
            part = between(pieces, offset, offset + (1 if alike else width))
            found += [self._spread(part[0], width)] if alike else part
        return found

    def _spread(self, piece: Piece, width: int) -> Piece:
        """One column for many."""
        if width == 1 or piece.expression[0] == "number":
            return piece._replace(width=width)
        found = spread(piece.expression)
        if found is None:
            piece = self.ledger.in_memory([piece])[0]
            found = spread(piece.expression)
            assert found is not None
        return Piece(width, found, piece.level)
