"""Layer and group normalisation, there and back."""

import math
from collections.abc import Sequence

from bptt.compiler.formulas import Value
from bptt.compiler.lowering import Lowered, Lowering, Row, Sum
from bptt.compiler.record import Operation
from bptt.compiler.rules.table import Given, rule
from bptt.compiler.trace import Untraceable


@rule("native_layer_norm")
def _layer_norm(low: Lowering, operation: Operation, given: Given) -> list[Row]:
    ref, graph = given["input"], low.graph
    row, rank = low.row(ref), len(low.dims(ref))
    axes = [low.feature(row, rank, rank - 1 - i) for i in range(len(given["normalized_shape"]))]
    count = math.prod(given["normalized_shape"])
    mean = Value(graph, graph.reduce("sum", row.node, axes, keep=True)) / count
    centred = Value(graph, row.node) - mean
    variance = Value(graph, graph.reduce("sum", (centred * centred).node, axes, True)) / count
    rstd = (variance + given["eps"]).rsqrt()
    out = centred * rstd
    place = rank - row.axis, row.inner
    if given.get("weight") is not None:
        out = out * low.aligned(given["weight"], place, rank)
    if given.get("bias") is not None:
        out = out + low.aligned(given["bias"], place, rank)
    return [Row(v.node, row.axis, row.inner) for v in (out, mean, rstd)]


@rule("native_layer_norm_backward")
def _layer_norm_backward(low: Lowering, operation: Operation, given: Given) -> list[Lowered | None]:
    ref, graph = given["input"], low.graph
    row, rank = low.row(ref), len(low.dims(ref))
    place = rank - row.axis, row.inner
    axes = [low.feature(row, rank, rank - 1 - i) for i in range(len(given["normalized_shape"]))]
    count = math.prod(given["normalized_shape"])
    g, x, mean, rstd = (
        low.aligned(given[name], place, rank) for name in ("grad_out", "input", "mean", "rstd")
    )
    normal = (x - mean) * rstd
    scaled = g if given.get("weight") is None else g * low.aligned(given["weight"], place, rank)
    weighed = scaled * normal
    sums = [
        Value(graph, low.summed(value.node, graph[row.node].shape, axes)) / count
        for value in (scaled, weighed)
    ]
    dx = rstd * (scaled - sums[0] - normal * sums[1])
    results: list[Lowered | None] = [Row(dx.node, row.axis, row.inner)]
    for index, value in ((1, g * normal), (2, g)):
        wanted = given["output_mask"][index]
        results.append(_per_feature(low, value.node, row, axes) if wanted else None)
    return results


def _per_feature(low: Lowering, node: int, row: Row, axes: Sequence[int]) -> Sum:
    """Summed over rows and over the features that are not `axes`."""
    node = low.expanded(node, low.graph[row.node].shape)
    others = [a for a in range(len(low.graph[node].shape)) if a not in axes]
    node = low.graph.reduce("sum", node, others, keep=False) if others else node
    return Sum(low.graph.add("total", (node,), low.graph[node].shape))


@rule("native_group_norm")
def _group_norm(low: Lowering, operation: Operation, given: Given) -> list[Row]:
    row, x, mean, rstd = _groups(low, given)
    out = (x - mean) * rstd
    shape, place = low.graph[row.node].shape, (len(low.dims(given["input"])), 1)
    value = Value(low.graph, low.graph.reshape(out.node, shape))
    for name, combine in (("weight", "mul"), ("bias", "add")):
        if given.get(name) is not None:
            value = value.call(combine, low.aligned(given[name], place, place[0]))
    statistics = [low.graph.reshape(v.node, (given["group"],)) for v in (mean, rstd)]
    return [Row(value.node, 0), *(Row(node, 0) for node in statistics)]


def _groups(low: Lowering, given: Given) -> tuple[Row, Value, Value, Value]:
    """The input by groups, with each one's mean and one over its standard deviation."""
    row, graph, group = low.row(given["input"]), low.graph, given["group"]
    if row.axis != 0 or row.inner != 1 or len(graph[row.node].shape) != 1:
        raise Untraceable("normalises groups of more than one axis of features", low.line)
    size = graph[row.node].shape[0] // group
    x = Value(graph, graph.reshape(row.node, (group, size)))
    mean = Value(graph, graph.reduce("sum", x.node, (1,), True)) / size
    centred = x - mean
    variance = Value(graph, graph.reduce("sum", (centred * centred).node, (1,), True)) / size
    return row, x, mean, (variance + given["eps"]).rsqrt()


@rule("native_group_norm_backward")
def _group_norm_backward(low: Lowering, operation: Operation, given: Given) -> list[Lowered | None]:
    graph, group = low.graph, given["group"]
    row = low.row(given["input"])
    width = graph[row.node].shape[0]
    size, place = width // group, (len(low.dims(given["input"])), 1)
    g, x = (low.aligned(given[name], place, place[0]) for name in ("grad_out", "input"))
    mean, rstd = (
        Value(graph, graph.reshape(low.row(given[name]).node, (group, 1)))
        for name in ("mean", "rstd")
    )
    normal = (Value(graph, graph.reshape(x.node, (group, size))) - mean) * rstd
    scaled = g if given.get("weight") is None else g * low.aligned(given["weight"], place, place[0])
    scaled = Value(graph, graph.reshape(low.expanded(scaled.node, (width,)), (group, size)))
    sums = [
        Value(graph, graph.reduce("sum", value.node, (1,), True)) / size
        for value in (scaled, scaled * normal)
    ]
    dx = graph.reshape((rstd * (scaled - sums[0] - normal * sums[1])).node, (width,))
    flat = Value(graph, graph.reshape(normal.node, (width,)))
    wanted = given["output_mask"]
    return [
        Row(dx, 0),
        _per_feature(low, (g * flat).node, row, [0]) if wanted[1] else None,
        _per_feature(low, g.node, row, [0]) if wanted[2] else None,
    ]
