"""Products: of rows and weights, and of rows by rows."""

from bptt.compiler.formulas import Value
from bptt.compiler.lowering import Lowered, Lowering, Row, Sum, Uniform, aten
from bptt.compiler.record import Operation, Ref
from bptt.compiler.rules.table import Given, fixed, mixing, result_dims, rule
from bptt.compiler.trace import Untraceable


@rule("mm", "matmul")
def _mm(low: Lowering, operation: Operation, given: Given) -> Lowered:
    return _product(low, given["self"], given.get("mat2", given.get("other")))


def _product(low: Lowering, left: Ref, right: Ref) -> Lowered:
    a, b = low.values[left], low.values[right]
    if Uniform(0.0) in (a, b):
        return Uniform(0.0)
    if isinstance(a, Row) and isinstance(b, Row):
        return _of_rows(low, a, b)
    if isinstance(a, Row) and a.axis == 0:
        return Row(_times(low, a.node, fixed(low, right)), 0, a.inner)
    if isinstance(b, Row) and b.axis == 1 and b.inner == 1:
        transposed = low.once(aten.t.default, fixed(low, left))
        return Row(low.graph.matmul(b.node, low.fixed(transposed)), 1)
    raise mixing(low, "multiplies a weight by the batch from the wrong side")


def _times(low: Lowering, node: int, weight: Ref) -> int:
    """Rows times a weight. (x, s) W is x Wx + s Ws, of which x Wx need not wait for a state."""
    graph, whole = low.graph, low.graph[node]
    mixed = {graph.waits(part) for part in whole.operands} == {True, False}
    if whole.op != "cat" or whole.attributes[0] != len(whole.shape) - 1 or not mixed:
        return graph.matmul(node, low.fixed(weight))
    total, start = None, 0
    for part in whole.operands:
        stop = start + graph[part].shape[-1]
        rows = low.fixed(low.once(aten.slice.Tensor, weight, 0, start, stop))
        product = graph.matmul(part, rows)
        total = product if total is None else graph.call("add", total, product)
        start = stop
    assert total is not None
    return total


def _of_rows(low: Lowering, a: Row, b: Row) -> Sum:
    """t(a) b: a sum over rows."""
    if a.axis == 1 and b.axis == 0 and a.inner == b.inner:
        m, n = low.graph[a.node].shape, low.graph[b.node].shape
        node = a.node if a.inner == 1 else low.graph.permute(a.node, (1, 0))
        shape = (low.graph[node].shape[-1], n[-1])
        assert len(m) == len(n)
        return Sum(low.graph.add("outer", (node, b.node), shape))
    raise mixing(low, "multiplies rows of the batch by other rows")


@rule("addmm", "baddbmm")
def _addmm(low: Lowering, operation: Operation, given: Given) -> Lowered:
    multiply = _bmm if "batch1" in given else _mm
    sides = (
        (given["batch1"], given["batch2"]) if "batch1" in given else (given["mat1"], given["mat2"])
    )
    product = multiply(low, operation, dict(zip(("self", "mat2"), sides, strict=True)))
    if isinstance(product, Sum):
        raise mixing(low, "adds a weight to a sum over the batch")
    rank = len(result_dims(low, operation))
    place = rank - product.axis, product.inner
    own = low.values[given["self"]]
    if isinstance(own, Row) and (low.tensors[given["self"]].dim() - own.axis, own.inner) != place:
        raise mixing(low, "adds rows of the batch to other rows")
    added = low.aligned(given["self"], place, rank)
    alpha, beta = given["alpha"], given["beta"]
    value = Value(low.graph, product.node)
    value = (value if alpha == 1 else value * alpha) + (added if beta == 1 else added * beta)
    return Row(value.node, product.axis, product.inner)


@rule("linear")
def _linear(low: Lowering, operation: Operation, given: Given) -> Lowered:
    row = low.row(given["input"])
    weight = low.once(aten.t.default, fixed(low, given["weight"]))
    node = low.graph.matmul(row.node, low.fixed(weight))
    if given.get("bias") is not None:
        node = low.graph.call("add", node, low.fixed(given["bias"]))
    return Row(node, row.axis, row.inner)


@rule("mv")
def _mv(low: Lowering, operation: Operation, given: Given) -> Lowered:
    """Rows times a fixed vector."""
    row, other = low.row(given["self"]), low.values[given["vec"]]
    if isinstance(other, Row):  # t(a) b with one column
        one = Row(low.graph.reshape(other.node, (*low.graph[other.node].shape, 1)), 0, other.inner)
        summed = _of_rows(low, row, one)
        return Sum(low.graph.view(summed.node, result_dims(low, operation)))
    column = low.once(aten.unsqueeze.default, fixed(low, given["vec"]), 1)
    node = low.graph.matmul(row.node, low.fixed(column))
    return Row(low.graph.reshape(node, low.graph[node].shape[:-1]), row.axis, row.inner)


@rule("bmm")
def _bmm(low: Lowering, operation: Operation, given: Given) -> Lowered:
    left, right = given["self"], given["mat2"]
    a, b = low.values[left], low.values[right]
    graph = low.graph
    if isinstance(a, Row) and isinstance(b, Row):
        return _bmm_of_rows(low, a, b)
    if isinstance(a, Row) and a.axis == 1 and a.inner == 1:  # (h, B, K) (h, K, N)
        return Row(graph.heads(a.node, low.fixed(fixed(low, right))), 1)
    if isinstance(b, Row) and b.axis == 2 and b.inner == 1:  # (h, M, K) (h, K, B)
        turned = low.once(aten.permute.default, fixed(low, left), (0, 2, 1))
        return Row(graph.heads(b.node, low.fixed(turned)), 2)
    raise mixing(low, "multiplies the batch by a weight of its own for each row")


def _bmm_of_rows(low: Lowering, a: Row, b: Row) -> Lowered:
    graph = low.graph
    if (a.axis, b.axis, a.inner, b.inner) == (2, 1, 1, 1):  # (h, K, B) (h, B, N): over rows
        m, n = graph[a.node].shape, graph[b.node].shape
        return Sum(graph.add("outer", (a.node, b.node), (m[0], m[1], n[1]), "heads"))
    if (a.axis, b.axis) == (0, 0) and a.inner == b.inner:  # (B, M, K) (B, K, N): row by row
        x, y = graph[a.node].shape, graph[b.node].shape
        left = graph.reshape(a.node, (*x, 1))
        right = graph.reshape(b.node, (*y[:-2], 1, *y[-2:]))
        product = graph.call("mul", left, right)
        node = graph.reduce("sum", product, (len(graph[product].shape) - 2,), keep=False)
        return Row(node, 0, a.inner)
    raise mixing(low, "multiplies rows of the batch by other rows")


@rule("cumsum")
def _cumsum(low: Lowering, operation: Operation, given: Given) -> Row:
    row, dims = low.row(given["self"]), low.dims(given["self"])
    axis = low.feature(row, len(dims), given["dim"])
    if axis != len(low.graph[row.node].shape) - 1:
        raise Untraceable("takes a cumulative sum along another than the last axis", low.line)
    size = low.graph[row.node].shape[axis]
    ones = low.once(aten.to.dtype, low.once(aten.ones.default, (size, size)), low.dtype)
    triangle = low.fixed(low.once(aten.triu.default, ones))
    return Row(low.graph.matmul(row.node, triangle), *row[1:])
