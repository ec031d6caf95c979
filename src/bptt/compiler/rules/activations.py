"""Activations that are more than one point-wise formula."""

from bptt.compiler.formulas import Value
from bptt.compiler.lowering import Lowered, Lowering, Row
from bptt.compiler.record import Operation, Ref
from bptt.compiler.rules.table import Given, rule


@rule("glu")
def _glu(low: Lowering, operation: Operation, given: Given) -> Row:
    row, a, b = _halves(low, given["self"], given["dim"])
    return Row((a * b.sigmoid()).node, *row[1:])


def _halves(low: Lowering, ref: Ref, dim: int) -> tuple[Row, Value, Value]:
    row, rank = low.row(ref), len(low.dims(ref))
    axis = low.feature(row, rank, dim)
    half = low.graph[row.node].shape[axis] // 2
    cut = [low.graph.slice(row.node, axis, *ends) for ends in ((0, half), (half, 2 * half))]
    return row, Value(low.graph, cut[0]), Value(low.graph, cut[1])


@rule("glu_backward")
def _glu_backward(low: Lowering, operation: Operation, given: Given) -> Row:
    row, a, b = _halves(low, given["self"], given["dim"])
    rank = len(low.dims(given["self"]))
    g, s = low.aligned(given["grad_output"], (rank - row.axis, row.inner), rank), b.sigmoid()
    axis = low.feature(row, rank, given["dim"])
    parts = [(g * s).node, (g * a * (s * (1 - s))).node]
    return Row(low.graph.cat(parts, axis), *row[1:])


@rule("log_sigmoid_forward")
def _log_sigmoid(low: Lowering, operation: Operation, given: Given) -> list[Row | None]:
    row = low.row(given["self"])
    x = Value(low.graph, row.node)
    out = x.minimum(0.0) - (-x.abs()).exp().log1p()
    return [Row(out.node, row.axis, row.inner), row]


@rule("_prelu_kernel_backward")
def _prelu_backward(low: Lowering, operation: Operation, given: Given) -> list[Lowered]:
    rank = len(low.dims(given["self"]))
    row = low.row(given["self"])
    place = rank - row.axis, row.inner
    g, x, w = (low.aligned(given[n], place, rank) for n in ("grad_output", "self", "weight"))
    positive = x > 0.0
    parts = positive.where(g, g * w), positive.where(0.0, x * g)
    return [Row(part.node, row.axis, row.inner) for part in parts]
