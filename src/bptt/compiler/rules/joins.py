"""Rows put together: one behind the other, stacked, turned around."""

from collections.abc import Sequence

from bptt.compiler.lowering import Lowering, Row, feature_dims
from bptt.compiler.record import Operation, Ref
from bptt.compiler.rules.table import Given, mixing, rule


@rule("cat", "concat")
def _cat(low: Lowering, operation: Operation, given: Given) -> Row:
    refs = [ref for ref in given["tensors"] if low.dims(ref) != (0,)]
    row = _first_row(low, refs)
    axis = low.feature(row, len(low.dims(refs[0])), given["dim"])
    return Row(low.graph.cat(_beside(low, refs, row), axis), row.axis, row.inner)


@rule("stack")
def _stack(low: Lowering, operation: Operation, given: Given) -> Row:
    refs = given["tensors"]
    row, dim = _first_row(low, refs), given["dim"] % (len(low.dims(refs[0])) + 1)
    axis = row.axis + (dim <= row.axis)
    feature = dim if dim < axis or row.inner > 1 else dim - 1
    parts = []
    for node in _beside(low, refs, row):
        shape = low.graph[node].shape
        parts.append(low.graph.reshape(node, (*shape[:feature], 1, *shape[feature:])))
    return Row(low.graph.cat(parts, feature), axis, row.inner)


def _first_row(low: Lowering, refs: Sequence[Ref]) -> Row:
    return low.row(next(ref for ref in refs if isinstance(low.values[ref], Row)))


def _beside(low: Lowering, refs: Sequence[Ref], row: Row) -> list[int]:
    """Each tensor as a node whose batch is where `row` has it, in its own whole shape."""
    place = low.place([ref for ref in refs if isinstance(low.values[ref], Row)])
    rank = len(low.dims(refs[0]))
    return [
        low.expanded(
            low.aligned(ref, place, rank).node, feature_dims(low.dims(ref), row.axis, row.inner)
        )
        for ref in refs
    ]


@rule("flip")
def _flip(low: Lowering, operation: Operation, given: Given) -> Row:
    row, dims = low.row(given["self"]), low.dims(given["self"])
    node = row.node
    for dim in given["dims"]:
        axis = low.feature(row, len(dims), dim)
        size = low.graph[node].shape[axis]
        parts = [low.graph.slice(node, axis, i, i + 1) for i in reversed(range(size))]
        node = low.graph.cat(parts, axis)
    return Row(node, row.axis, row.inner)


@rule("roll")
def _roll(low: Lowering, operation: Operation, given: Given) -> Row:
    row, dims = low.row(given["self"]), low.dims(given["self"])
    if not given["dims"]:
        raise mixing(low, "rolls rows of the batch into other rows")
    node = row.node
    for shift, dim in zip(given["shifts"], given["dims"], strict=True):
        axis = low.feature(row, len(dims), dim)
        size = low.graph[node].shape[axis]
        cut = -shift % size
        if cut:
            parts = [low.graph.slice(node, axis, *ends) for ends in ((cut, size), (0, cut))]
            node = low.graph.cat(parts, axis)
    return Row(node, row.axis, row.inner)
