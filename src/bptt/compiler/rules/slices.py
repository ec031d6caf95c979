"""Parts of a row's features, and the way back into the whole."""

from bptt.compiler.lowering import Lowering, Row
from bptt.compiler.record import Operation
from bptt.compiler.rules.table import Given, rule
from bptt.compiler.trace import Untraceable


@rule("slice")
def _slice(low: Lowering, operation: Operation, given: Given) -> Row:
    row, dims = low.row(given["self"]), low.dims(given["self"])
    axis = given["dim"] % len(dims)
    start, stop, step = slice(given["start"], given["end"], given["step"]).indices(dims[axis])
    if (start, stop, step) == (0, dims[axis], 1):
        return row
    feature = low.feature(row, len(dims), axis)
    if step == 1:
        return Row(low.graph.slice(row.node, feature, start, stop), row.axis, row.inner)
    parts = [low.graph.slice(row.node, feature, i, i + 1) for i in range(start, stop, step)]
    return Row(low.graph.cat(parts, feature), row.axis, row.inner)


@rule("select")
def _select(low: Lowering, operation: Operation, given: Given) -> Row:
    row, dims = low.row(given["self"]), low.dims(given["self"])
    axis = given["dim"] % len(dims)
    feature, index = low.feature(row, len(dims), axis), given["index"] % dims[axis]
    return _dropped(low, low.graph.slice(row.node, feature, index, index + 1), row, axis, feature)


def _dropped(low: Lowering, node: int, row: Row, axis: int, feature: int) -> Row:
    """Without an axis of one."""
    shape = low.graph[node].shape
    node = low.graph.reshape(node, (*shape[:feature], *shape[feature + 1 :]))
    return Row(node, row.axis - (axis < row.axis), row.inner)


@rule("unbind")
def _unbind(low: Lowering, operation: Operation, given: Given) -> list[Row]:
    dims = low.dims(given["self"])
    axis = given["dim"] % len(dims)
    return [_select(low, operation, {**given, "dim": axis, "index": i}) for i in range(dims[axis])]


@rule("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "chunk",
       "unsafe_chunk")  # fmt: skip
def _split(low: Lowering, operation: Operation, given: Given) -> list[Row]:
    row, dims = low.row(given["self"]), low.dims(given["self"])
    axis = given["dim"] % len(dims)
    feature, begin, parts = low.feature(row, len(dims), axis), 0, []
    for name in operation.results:
        assert name is not None
        end = begin + low.dims(name)[axis]
        parts.append(Row(low.graph.slice(row.node, feature, begin, end), row.axis, row.inner))
        begin = end
    return parts


@rule("slice_backward")
def _slice_backward(low: Lowering, operation: Operation, given: Given) -> Row:
    sizes, axis = given["input_sizes"], given["dim"] % len(given["input_sizes"])
    start, stop, step = slice(given["start"], given["end"], given["step"]).indices(sizes[axis])
    if step != 1:
        raise Untraceable("takes the derivative of a slice with a step. Use step 1", low.line)
    row = low.row(given["grad_output"])
    feature = low.feature(row, len(sizes), axis) if sizes[axis] != stop - start else 0
    return Row(_padded(low, row.node, feature, start, sizes[axis]), row.axis, row.inner)


@rule("select_backward")
def _select_backward(low: Lowering, operation: Operation, given: Given) -> Row:
    sizes, row = given["input_sizes"], low.row(given["grad_output"])
    axis = given["dim"] % len(sizes)
    whole = Row(row.node, row.axis + (axis <= row.axis), row.inner)
    feature = low.feature(whole, len(sizes), axis)
    shape = low.graph[row.node].shape
    node = low.graph.reshape(row.node, (*shape[:feature], 1, *shape[feature:]))
    node = _padded(low, node, feature, given["index"] % sizes[axis], sizes[axis])
    return Row(node, whole.axis, row.inner)


@rule("constant_pad_nd")
def _pad(low: Lowering, operation: Operation, given: Given) -> Row:
    row, dims = low.row(given["self"]), low.dims(given["self"])
    if given["value"] != 0:
        raise Untraceable("pads with other than zeros", low.line)
    node = row.node
    for i in range(len(given["pad"]) // 2):
        before, behind = given["pad"][2 * i : 2 * i + 2]
        if before or behind:
            axis = low.feature(row, len(dims), len(dims) - 1 - i)
            size = low.graph[node].shape[axis]
            node = low.graph.slice(node, axis, max(0, -before), size + min(0, behind))
            node = _padded(low, node, axis, max(0, before), size + before + behind)
    return Row(node, row.axis, row.inner)


def _padded(low: Lowering, node: int, axis: int, start: int, size: int) -> int:
    """With zeros before and behind, along an axis."""
    shape, graph = low.graph[node].shape, low.graph
    stop = start + shape[axis]
    parts = [node]
    for count, place in ((start, 0), (size - stop, len(parts) + 1)):
        if count:
            zeros = graph.expand_number(0.0, (*shape[:axis], count, *shape[axis + 1 :]))
            parts.insert(place, zeros)
    return graph.cat(parts, axis)
