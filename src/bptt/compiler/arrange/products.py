"""Products of a row with a matrix, and with one for each head."""

import math
from collections.abc import Callable

from bptt.compiler.arrange.expressions import call
from bptt.compiler.arrange.memories import Part
from bptt.compiler.arrange.pieces import Piece, Pieces, between, merged
from bptt.compiler.arrange.values import Values
from bptt.compiler.graph import Node


def _matmul(values: Values, node: Node) -> Pieces:
    source, weight = node.operands
    count, width, row = values.graph[source].shape[-1], node.shape[-1], _row(values, source)
    return [
        _product(values, between(row, outer * count, (outer + 1) * count), Part(weight), width)
        for outer in range(math.prod(node.shape[:-1]))
    ]


def _heads(values: Values, node: Node) -> Pieces:
    source, weight = node.operands
    shape, row = values.graph[source].shape, _row(values, source)
    count, found = shape[-1], []
    for outer in range(math.prod(shape[:-1])):
        own = between(row, outer * count, (outer + 1) * count)
        found.append(_product(values, own, Part(weight, outer % shape[-2]), node.shape[-1]))
    return found


def _row(values: Values, number: int) -> Pieces:
    """A product's operand: pieces that lie in carried or scratch memory."""
    if number in values.piles:
        values.pile(number)
    if number not in values.rows:
        pieces = values.of(number)
        if not all(_is_row(values, piece) for piece in pieces):
            pieces = values.ledger.in_memory(pieces, whole=True)
        values.rows[number] = merged(pieces)
    return values.rows[number]


def _is_row(values: Values, piece: Piece) -> bool:
    kind, *rest = piece.expression
    return (
        kind == "read"
        and not rest[2]
        and values.memories.found[rest[0]].kind in ("step", "begun", "carry", "scratch")
    )


def _product(values: Values, row: Pieces, weight: Part, width: int) -> Piece:
    """One row by one matrix: each piece of the row by its own rows of the matrix."""
    parts, level, k = [], 0, 0
    for piece in row:
        _, memory, offset, _ = piece.expression
        matrix = values.memories.fixed(weight._replace(start=k, stop=k + piece.width))
        parts.append(("product", memory, offset, piece.width, matrix, 0))
        level, k = max(level, piece.level), k + piece.width
    expression = parts[0]
    for part in parts[1:]:
        expression = call("add", expression, part)
    return Piece(width, expression, level)


PRODUCTS: dict[str, Callable[[Values, Node], Pieces]] = {"matmul": _matmul, "heads": _heads}
