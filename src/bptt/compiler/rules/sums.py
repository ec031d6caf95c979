"""Sums, means and extremes: over features, and over rows."""

import math
from collections.abc import Sequence

from bptt.compiler.formulas import Value
from bptt.compiler.lowering import Lowered, Lowering, Row, Sum
from bptt.compiler.record import Operation
from bptt.compiler.rules.table import Given, mixing, reduced_axes, result_dims, rule
from bptt.compiler.trace import Untraceable


@rule("sum", "mean", "amax", "amin")
def _reduce(low: Lowering, operation: Operation, given: Given) -> Lowered:
    ref = given["self"]
    row, rank = low.row(ref), len(low.dims(ref))
    name = operation.func._schema.name.removeprefix("aten::")
    axes, keep = reduced_axes(low, given, rank), bool(given.get("keepdim"))
    features = [axis for axis in axes if axis != row.axis]
    if row.axis in axes:
        return _over_rows(low, operation, row, rank, features, name)
    return _over_features(low, row, rank, features, keep, name)


def _over_features(
    low: Lowering, row: Row, rank: int, axes: Sequence[int], keep: bool, name: str
) -> Row:
    nodes = [low.feature(row, rank, axis) for axis in axes]
    graph, node = low.graph, row.node
    count = math.prod(graph[node].shape[axis] for axis in nodes)
    if name == "amin":
        node = graph.call("neg", node)
    node = graph.reduce("max" if name in ("amax", "amin") else "sum", node, nodes, keep)
    if name == "amin":
        node = graph.call("neg", node)
    if name == "mean":
        node = graph.call("div", node, graph.number(count))
    axis = row.axis if keep else row.axis - sum(a < row.axis for a in axes)
    return Row(node, axis, row.inner)


def _over_rows(
    low: Lowering, operation: Operation, row: Row, rank: int, features: Sequence[int], name: str
) -> Sum:
    if name != "sum":
        raise mixing(low, f"takes the {name.removeprefix('a')} over the batch")
    nodes = [low.feature(row, rank, axis) for axis in features]
    nodes += [row.axis] if row.inner > 1 else []
    node = low.graph.reduce("sum", row.node, nodes, keep=False) if nodes else row.node
    summed = low.graph.add("total", (node,), low.graph[node].shape)
    return Sum(low.graph.view(summed, result_dims(low, operation)))


@rule("var")
def _var(low: Lowering, operation: Operation, given: Given) -> Row:
    ref = given["self"]
    row, rank = low.row(ref), len(low.dims(ref))
    axes = reduced_axes(low, given, rank)
    correction = given.get("correction", given.get("unbiased", 1))
    nodes = [low.feature(row, rank, axis) for axis in axes]
    count = math.prod(low.graph[row.node].shape[axis] for axis in nodes)
    centred = _centred(low, row.node, nodes)
    summed = low.graph.reduce("sum", (centred * centred).node, nodes, bool(given.get("keepdim")))
    divisor = count - int(1 if correction is None else correction)
    axis = row.axis if given.get("keepdim") else row.axis - sum(a < row.axis for a in axes)
    return Row(low.graph.call("div", summed, low.graph.number(divisor)), axis, row.inner)


def _centred(low: Lowering, node: int, axes: Sequence[int]) -> Value:
    graph = low.graph
    count = math.prod(graph[node].shape[axis] for axis in axes)
    mean = Value(graph, graph.reduce("sum", node, axes, keep=True)) / count
    return Value(graph, node) - mean


@rule("logsumexp")
def _logsumexp(low: Lowering, operation: Operation, given: Given) -> Row:
    ref = given["self"]
    row, graph, rank = low.row(ref), low.graph, len(low.dims(ref))
    axes = reduced_axes(low, given, rank)
    nodes = [low.feature(row, rank, axis) for axis in axes]
    largest = Value(graph, graph.reduce("max", row.node, nodes, keep=True))
    finite = largest.abs().call("eq", float("inf")).where(0.0, largest)
    powers = (Value(graph, row.node) - finite).exp()
    node = (Value(graph, graph.reduce("sum", powers.node, nodes, True)).log() + finite).node
    keep, axis = bool(given.get("keepdim")), row.axis
    if not keep:
        shape = [s for i, s in enumerate(graph[node].shape) if i not in nodes]
        node, axis = graph.reshape(node, shape), axis - sum(a < axis for a in axes)
    return Row(node, axis, row.inner)


@rule("linalg_vector_norm", "norm")
def _norm(low: Lowering, operation: Operation, given: Given) -> Row:
    ref = given["self"]
    order = given.get("ord", given.get("p"))
    if order not in (2, None):
        raise Untraceable("takes a norm that is not the Euclidean one", low.line)
    row, rank = low.row(ref), len(low.dims(ref))
    x, axes = Value(low.graph, row.node), reduced_axes(low, given, rank)
    if row.axis in axes:
        raise mixing(low, "takes a norm over the batch")
    squared = Row((x * x).node, row.axis, row.inner)
    summed = _over_features(low, squared, rank, axes, bool(given.get("keepdim")), "sum")
    return Row(low.graph.call("sqrt", summed.node), summed.axis, summed.inner)
