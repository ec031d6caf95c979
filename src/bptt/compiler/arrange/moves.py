"""Features moved about: slices, concatenations, permutations become offsets."""

import math
from collections.abc import Callable

from bptt.compiler.arrange.features import indices
from bptt.compiler.arrange.pieces import Pieces, between, merged
from bptt.compiler.arrange.values import MOST, Values
from bptt.compiler.graph import Node
from bptt.compiler.trace import Untraceable


def _slice(values: Values, node: Node) -> Pieces:
    axis, start, stop = node.attributes
    shape = values.graph[node.operands[0]].shape
    pieces, inner = values.of(node.operands[0]), math.prod(shape[axis + 1 :])
    found: Pieces = []
    for outer in range(math.prod(shape[:axis])):
        begin = outer * shape[axis] * inner
        found += between(pieces, begin + start * inner, begin + stop * inner)
    return _few(found, node)


def _cat(values: Values, node: Node) -> Pieces:
    axis, found = node.attributes[0], []
    shapes = [values.graph[o].shape for o in node.operands]
    for outer in range(math.prod(node.shape[:axis])):
        for operand, shape in zip(node.operands, shapes, strict=True):
            width = math.prod(shape[axis:])
            found += between(values.of(operand), outer * width, (outer + 1) * width)
    return _few(found, node)


def _reshape(values: Values, node: Node) -> Pieces:
    return values.of(node.operands[0])


def _expand(values: Values, node: Node) -> Pieces:
    return values.broadcast(node.operands[0], node.shape)


def _permute(values: Values, node: Node) -> Pieces:
    shape, axes = values.graph[node.operands[0]].shape, node.attributes[0]
    pieces, found = values.of(node.operands[0]), []
    strides = [math.prod(shape[axis + 1 :]) for axis in axes]
    kept = 1  # trailing axes that stay in place move as one
    rank = len(axes)
    while rank and axes[rank - 1] == rank - 1:
        rank -= 1
        kept *= shape[rank]
    for index in indices([shape[axis] for axis in axes[:rank]]):
        offset = sum(i * stride for i, stride in zip(index, strides[:rank], strict=True))
        found += between(pieces, offset, offset + kept)
    return _few(found, node)


def _few(pieces: Pieces, node: Node) -> Pieces:
    if len(pieces) > MOST:
        raise Untraceable(
            f"moves single features about ({node.op} to {node.shape}) between one step and the "
            "next. Keep features that belong together side by side"
        )
    return merged(pieces)


MOVES: dict[str, Callable[[Values, Node], Pieces]] = {
    "slice": _slice,
    "cat": _cat,
    "reshape": _reshape,
    "expand": _expand,
    "permute": _permute,
}
