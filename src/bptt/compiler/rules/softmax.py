"""Softmax and its logarithm, there and back."""

from bptt.compiler.formulas import Value
from bptt.compiler.lowering import Lowering, Row
from bptt.compiler.record import Operation
from bptt.compiler.rules.table import Given, rule


@rule("_softmax", "_log_softmax", "softmax", "log_softmax")
def _softmax(low: Lowering, operation: Operation, given: Given) -> Row:
    ref, log = given["self"], "log" in operation.func._schema.name
    row, graph = low.row(ref), low.graph
    axis = low.feature(row, len(low.dims(ref)), given["dim"])
    centred = Value(graph, row.node) - Value(graph, graph.reduce("max", row.node, [axis], True))
    powers = centred.exp()
    total = Value(graph, graph.reduce("sum", powers.node, [axis], keep=True))
    return Row((centred - total.log() if log else powers / total).node, row.axis, row.inner)


@rule("_softmax_backward_data", "_log_softmax_backward_data")
def _softmax_backward(low: Lowering, operation: Operation, given: Given) -> Row:
    ref, log = given["output"], "log" in operation.func._schema.name
    row, graph, rank = low.row(ref), low.graph, len(low.dims(ref))
    axis = low.feature(row, rank, given["dim"])
    place = rank - row.axis, row.inner
    g, y = (low.aligned(r, place, rank) for r in (given["grad_output"], ref))
    if log:
        total = Value(graph, low.summed(g.node, graph[y.node].shape, [axis]))
        return Row((g - y.exp() * total).node, row.axis, row.inner)
    weighed = g * y
    total = Value(graph, graph.reduce("sum", weighed.node, [axis], keep=True))
    return Row((weighed - y * total).node, row.axis, row.inner)
