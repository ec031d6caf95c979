"""How each of torch's operations that is more than point-wise is lowered."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from bptt.compiler.formulas import Value, where
from bptt.compiler.lowering import Lowered, Lowering, Row, Sum, Uniform, aten
from bptt.compiler.record import Operation, Ref
from bptt.compiler.trace import Untraceable

Given = dict[str, Any]
Handler = Callable[[Lowering, Operation, Given], Any]
HANDLERS: dict[str, Handler] = {}


def _rule(*names: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


def _result(low: Lowering, operation: Operation, index: int = 0) -> tuple[int, ...]:
    name = operation.results[index]
    assert name is not None
    return low.dims(name)


# Products


@_rule("mm", "matmul")
def _mm(low: Lowering, operation: Operation, given: Given) -> Lowered:
    return _product(low, given["self"], given.get("mat2", given.get("other")))


def _product(low: Lowering, left: Ref, right: Ref) -> Lowered:
    a, b = low.values[left], low.values[right]
    if Uniform(0.0) in (a, b):
        return Uniform(0.0)
    if isinstance(a, Row) and isinstance(b, Row):
        return _of_rows(low, a, b)
    if isinstance(a, Row) and a.axis == 0:
        return Row(_times(low, a.node, _fixed(low, right)), 0, a.inner)
    if isinstance(b, Row) and b.axis == 1 and b.inner == 1:
        transposed = low.once(aten.t.default, _fixed(low, left))
        return Row(low.graph.matmul(b.node, low.fixed(transposed)), 1)
    raise _mixes(low, "multiplies a weight by the batch from the wrong side")


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
    raise _mixes(low, "multiplies rows of the batch by other rows")


def _fixed(low: Lowering, ref: Ref) -> Ref:
    low.as_fixed(ref)
    return ref


def _mixes(low: Lowering, what: str) -> Untraceable:
    return Untraceable(f"{what}. Each sequence of the batch must be computed alone", low.line)


@_rule("addmm", "baddbmm")
def _addmm(low: Lowering, operation: Operation, given: Given) -> Lowered:
    multiply = _bmm if "batch1" in given else _mm
    sides = (
        (given["batch1"], given["batch2"]) if "batch1" in given else (given["mat1"], given["mat2"])
    )
    product = multiply(low, operation, dict(zip(("self", "mat2"), sides, strict=True)))
    if isinstance(product, Sum):
        raise _mixes(low, "adds a weight to a sum over the batch")
    rank = len(_result(low, operation))
    place = rank - product.axis, product.inner
    own = low.values[given["self"]]
    if isinstance(own, Row) and (low.tensors[given["self"]].dim() - own.axis, own.inner) != place:
        raise _mixes(low, "adds rows of the batch to other rows")
    added = low.aligned(given["self"], place, rank)
    alpha, beta = given["alpha"], given["beta"]
    value = Value(low.graph, product.node)
    value = (value if alpha == 1 else value * alpha) + (added if beta == 1 else added * beta)
    return Row(value.node, product.axis, product.inner)


@_rule("linear")
def _linear(low: Lowering, operation: Operation, given: Given) -> Lowered:
    row = low.row(given["input"])
    weight = low.once(aten.t.default, _fixed(low, given["weight"]))
    node = low.graph.matmul(row.node, low.fixed(weight))
    if given.get("bias") is not None:
        node = low.graph.call("add", node, low.fixed(given["bias"]))
    return Row(node, row.axis, row.inner)


@_rule("mv")
def _mv(low: Lowering, operation: Operation, given: Given) -> Lowered:
    """Rows times a fixed vector."""
    row, other = low.row(given["self"]), low.values[given["vec"]]
    if isinstance(other, Row):  # t(a) b with one column
        one = Row(low.graph.reshape(other.node, (*low.graph[other.node].shape, 1)), 0, other.inner)
        summed = _of_rows(low, row, one)
        return Sum(low.graph.view(summed.node, _result(low, operation)))
    column = low.once(aten.unsqueeze.default, _fixed(low, given["vec"]), 1)
    node = low.graph.matmul(row.node, low.fixed(column))
    return Row(low.graph.reshape(node, low.graph[node].shape[:-1]), row.axis, row.inner)


@_rule("bmm")
def _bmm(low: Lowering, operation: Operation, given: Given) -> Lowered:
    left, right = given["self"], given["mat2"]
    a, b = low.values[left], low.values[right]
    graph = low.graph
    if isinstance(a, Row) and isinstance(b, Row):
        return _bmm_of_rows(low, a, b)
    if isinstance(a, Row) and a.axis == 1 and a.inner == 1:  # (h, B, K) (h, K, N)
        return Row(graph.heads(a.node, low.fixed(_fixed(low, right))), 1)
    if isinstance(b, Row) and b.axis == 2 and b.inner == 1:  # (h, M, K) (h, K, B)
        turned = low.once(aten.permute.default, _fixed(low, left), (0, 2, 1))
        return Row(graph.heads(b.node, low.fixed(turned)), 2)
    raise _mixes(low, "multiplies the batch by a weight of its own for each row")


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
    raise _mixes(low, "multiplies rows of the batch by other rows")


# Where features are


@_rule("t")
def _t(low: Lowering, operation: Operation, given: Given) -> Row:
    rank = len(low.dims(given["self"]))
    return _permuted(low, given["self"], tuple(reversed(range(rank))))


@_rule("transpose")
def _transpose(low: Lowering, operation: Operation, given: Given) -> Row:
    rank = len(low.dims(given["self"]))
    axes = list(range(rank))
    i, j = given["dim0"] % rank, given["dim1"] % rank
    axes[i], axes[j] = axes[j], axes[i]
    return _permuted(low, given["self"], axes)


@_rule("permute")
def _permute(low: Lowering, operation: Operation, given: Given) -> Row:
    rank = len(low.dims(given["self"]))
    return _permuted(low, given["self"], [axis % rank for axis in given["dims"]])


def _permuted(low: Lowering, ref: Ref, axes: Sequence[int]) -> Row:
    row, rank = low.row(ref), len(low.dims(ref))
    batch = list(axes).index(row.axis)
    kept = axes if row.inner > 1 else [axis for axis in axes if axis != row.axis]
    order = [axis if row.inner > 1 else low.feature(row, rank, axis) for axis in kept]
    return Row(low.graph.permute(row.node, order), batch, row.inner)


@_rule("view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze", "unflatten",
       "flatten", "view_as", "reshape_as")  # fmt: skip
def _view(low: Lowering, operation: Operation, given: Given) -> Row:
    return low.shaped(given["self"], _result(low, operation))


@_rule("expand", "expand_as")
def _expand(low: Lowering, operation: Operation, given: Given) -> Row:
    row, old, new = low.row(given["self"]), low.dims(given["self"]), _result(low, operation)
    ahead = len(new) - len(old)
    axis = row.axis + ahead
    if new[axis] != old[row.axis]:
        raise _mixes(low, "repeats the batch")
    middle = [row.inner] if row.inner > 1 else []
    features = (*new[:axis], *middle, *new[axis + 1 :])
    return Row(low.graph.expand(row.node, features), axis, row.inner)


@_rule("repeat")
def _repeat(low: Lowering, operation: Operation, given: Given) -> Row:
    row, old = low.row(given["self"]), low.dims(given["self"])
    times = given["repeats"]
    ahead = len(times) - len(old)
    if any(n != 1 for n in times[:ahead]) or times[ahead + row.axis] != 1:
        raise _mixes(low, "repeats the batch")
    node = row.node
    for axis, n in enumerate(times[ahead:]):
        if n != 1:
            node = low.graph.cat([node] * n, low.feature(row, len(old), axis))
    return low.moved(Row(node, row.axis, row.inner), ahead)


@_rule("slice")
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


@_rule("select")
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


@_rule("unbind")
def _unbind(low: Lowering, operation: Operation, given: Given) -> list[Row]:
    dims = low.dims(given["self"])
    axis = given["dim"] % len(dims)
    return [_select(low, operation, {**given, "dim": axis, "index": i}) for i in range(dims[axis])]


@_rule("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "chunk",
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


@_rule("cat", "concat")
def _cat(low: Lowering, operation: Operation, given: Given) -> Row:
    refs = [ref for ref in given["tensors"] if low.dims(ref) != (0,)]
    return _joined(low, refs, given["dim"])


def _joined(low: Lowering, refs: Sequence[Ref], dim: int) -> Row:
    rank = len(low.dims(refs[0]))
    row = low.row(next(ref for ref in refs if isinstance(low.values[ref], Row)))
    place = low.place([ref for ref in refs if isinstance(low.values[ref], Row)])
    axis = low.feature(row, rank, dim)
    parts = []
    for ref in refs:
        dims = low.dims(ref)
        middle = [row.inner] if row.inner > 1 else []
        features = (*dims[: row.axis], *middle, *dims[row.axis + 1 :])
        parts.append(low.expanded(low.aligned(ref, place, rank).node, features))
    return Row(low.graph.cat(parts, axis), row.axis, row.inner)


@_rule("stack")
def _stack(low: Lowering, operation: Operation, given: Given) -> Row:
    refs = given["tensors"]
    rank = len(low.dims(refs[0])) + 1
    dim = given["dim"] % rank
    row = low.row(next(ref for ref in refs if isinstance(low.values[ref], Row)))
    place = low.place([ref for ref in refs if isinstance(low.values[ref], Row)])
    axis = row.axis + (dim <= row.axis)
    feature = dim if dim < axis or row.inner > 1 else dim - 1
    parts = []
    for ref in refs:
        dims = low.dims(ref)
        middle = [row.inner] if row.inner > 1 else []
        features = (*dims[: row.axis], *middle, *dims[row.axis + 1 :])
        node = low.expanded(low.aligned(ref, place, rank - 1).node, features)
        parts.append(low.graph.reshape(node, (*features[:feature], 1, *features[feature:])))
    return Row(low.graph.cat(parts, feature), axis, row.inner)


@_rule("slice_backward")
def _slice_backward(low: Lowering, operation: Operation, given: Given) -> Row:
    sizes, axis = given["input_sizes"], given["dim"] % len(given["input_sizes"])
    start, stop, step = slice(given["start"], given["end"], given["step"]).indices(sizes[axis])
    if step != 1:
        raise Untraceable("takes the derivative of a slice with a step. Use step 1", low.line)
    row = low.row(given["grad_output"])
    feature = low.feature(row, len(sizes), axis) if sizes[axis] != stop - start else 0
    return Row(_padded(low, row.node, feature, start, sizes[axis]), row.axis, row.inner)


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


@_rule("select_backward")
def _select_backward(low: Lowering, operation: Operation, given: Given) -> Row:
    sizes, row = given["input_sizes"], low.row(given["grad_output"])
    axis = given["dim"] % len(sizes)
    whole = Row(row.node, row.axis + (axis <= row.axis), row.inner)
    feature = low.feature(whole, len(sizes), axis)
    shape = low.graph[row.node].shape
    node = low.graph.reshape(row.node, (*shape[:feature], 1, *shape[feature:]))
    node = _padded(low, node, feature, given["index"] % sizes[axis], sizes[axis])
    return Row(node, whole.axis, row.inner)


@_rule("constant_pad_nd")
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


@_rule("flip")
def _flip(low: Lowering, operation: Operation, given: Given) -> Row:
    row, dims = low.row(given["self"]), low.dims(given["self"])
    node = row.node
    for dim in given["dims"]:
        axis = low.feature(row, len(dims), dim)
        size = low.graph[node].shape[axis]
        parts = [low.graph.slice(node, axis, i, i + 1) for i in reversed(range(size))]
        node = low.graph.cat(parts, axis)
    return Row(node, row.axis, row.inner)


@_rule("roll")
def _roll(low: Lowering, operation: Operation, given: Given) -> Row:
    row, dims = low.row(given["self"]), low.dims(given["self"])
    if not given["dims"]:
        raise _mixes(low, "rolls rows of the batch into other rows")
    node = row.node
    for shift, dim in zip(given["shifts"], given["dims"], strict=True):
        axis = low.feature(row, len(dims), dim)
        size = low.graph[node].shape[axis]
        cut = -shift % size
        if cut:
            parts = [low.graph.slice(node, axis, *ends) for ends in ((cut, size), (0, cut))]
            node = low.graph.cat(parts, axis)
    return Row(node, row.axis, row.inner)


# Sums over features, and over rows


def _axes(low: Lowering, given: Given, rank: int) -> list[int]:
    axes = given.get("dim")
    axes = [axes] if isinstance(axes, int) else list(axes or range(rank))
    return [axis % rank for axis in axes]


@_rule("sum", "mean", "amax", "amin")
def _reduce(low: Lowering, operation: Operation, given: Given) -> Lowered:
    ref = given["self"]
    row, rank = low.row(ref), len(low.dims(ref))
    name = operation.func._schema.name.removeprefix("aten::")
    axes, keep = _axes(low, given, rank), bool(given.get("keepdim"))
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
        raise _mixes(low, f"takes the {name.removeprefix('a')} over the batch")
    nodes = [low.feature(row, rank, axis) for axis in features]
    nodes += [row.axis] if row.inner > 1 else []
    node = low.graph.reduce("sum", row.node, nodes, keep=False) if nodes else row.node
    summed = low.graph.add("total", (node,), low.graph[node].shape)
    return Sum(low.graph.view(summed, _result(low, operation)))


@_rule("var")
def _var(low: Lowering, operation: Operation, given: Given) -> Row:
    ref = given["self"]
    row, rank = low.row(ref), len(low.dims(ref))
    axes = _axes(low, given, rank)
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


@_rule("_softmax", "_log_softmax", "softmax", "log_softmax")
def _softmax(low: Lowering, operation: Operation, given: Given) -> Row:
    ref, log = given["self"], "log" in operation.func._schema.name
    row, graph = low.row(ref), low.graph
    axis = low.feature(row, len(low.dims(ref)), given["dim"])
    centred = Value(graph, row.node) - Value(graph, graph.reduce("max", row.node, [axis], True))
    powers = centred.exp()
    total = Value(graph, graph.reduce("sum", powers.node, [axis], keep=True))
    return Row((centred - total.log() if log else powers / total).node, row.axis, row.inner)


@_rule("_softmax_backward_data", "_log_softmax_backward_data")
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


@_rule("logsumexp")
def _logsumexp(low: Lowering, operation: Operation, given: Given) -> Row:
    ref = given["self"]
    row, graph, rank = low.row(ref), low.graph, len(low.dims(ref))
    axes = _axes(low, given, rank)
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


@_rule("native_layer_norm")
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


@_rule("native_layer_norm_backward")
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


@_rule("linalg_vector_norm", "norm")
def _norm(low: Lowering, operation: Operation, given: Given) -> Row:
    ref = given["self"]
    order = given.get("ord", given.get("p"))
    if order not in (2, None):
        raise Untraceable("takes a norm that is not the Euclidean one", low.line)
    row, rank = low.row(ref), len(low.dims(ref))
    x, axes = Value(low.graph, row.node), _axes(low, given, rank)
    if row.axis in axes:
        raise _mixes(low, "takes a norm over the batch")
    squared = Row((x * x).node, row.axis, row.inner)
    summed = _over_features(low, squared, rank, axes, bool(given.get("keepdim")), "sum")
    return Row(low.graph.call("sqrt", summed.node), summed.axis, summed.inner)


# The rest


@_rule("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "fill")
def _filled(low: Lowering, operation: Operation, given: Given) -> Lowered:
    name = operation.func._schema.name.removeprefix("aten::")
    if name in ("full_like", "new_full"):
        return Uniform(float(given["fill_value"]))
    if name == "fill":
        value = given["value"]
        return low.values[value] if isinstance(value, Ref) else Uniform(float(value))
    return Uniform(1.0 if "ones" in name else 0.0)


@_rule("empty_like", "new_empty")
def _empty(low: Lowering, operation: Operation, given: Given) -> Uniform:
    """Memory that is written before it is read: `copy` says what is in it."""
    return Uniform(0.0)


@_rule("copy")
def _copy(low: Lowering, operation: Operation, given: Given) -> Lowered:
    source, shape = low.values[given["src"]], _result(low, operation)
    if not isinstance(source, Row) or low.dims(given["src"]) != shape:
        raise Untraceable("copies into a part of a tensor. Use torch.cat or torch.where", low.line)
    value = Value(low.graph, source.node)
    number = low.tensors[operation.results[0]].dtype == low.dtype  # type: ignore[index]
    return Row(
        where(value, 1.0, 0.0).node if value.is_mask and number else source.node, *source[1:]
    )


@_rule("glu")
def _glu(low: Lowering, operation: Operation, given: Given) -> Row:
    row, a, b = _halves(low, given["self"], given["dim"])
    return Row((a * b.sigmoid()).node, *row[1:])


def _halves(low: Lowering, ref: Ref, dim: int) -> tuple[Row, Value, Value]:
    row, rank = low.row(ref), len(low.dims(ref))
    axis = low.feature(row, rank, dim)
    half = low.graph[row.node].shape[axis] // 2
    cut = [low.graph.slice(row.node, axis, *ends) for ends in ((0, half), (half, 2 * half))]
    return row, Value(low.graph, cut[0]), Value(low.graph, cut[1])


@_rule("glu_backward")
def _glu_backward(low: Lowering, operation: Operation, given: Given) -> Row:
    row, a, b = _halves(low, given["self"], given["dim"])
    rank = len(low.dims(given["self"]))
    g, s = low.aligned(given["grad_output"], (rank - row.axis, row.inner), rank), b.sigmoid()
    axis = low.feature(row, rank, given["dim"])
    parts = [(g * s).node, (g * a * (s * (1 - s))).node]
    return Row(low.graph.cat(parts, axis), *row[1:])


@_rule("cumsum")
def _cumsum(low: Lowering, operation: Operation, given: Given) -> Row:
    row, dims = low.row(given["self"]), low.dims(given["self"])
    axis = low.feature(row, len(dims), given["dim"])
    if axis != len(low.graph[row.node].shape) - 1:
        raise Untraceable("takes a cumulative sum along another than the last axis", low.line)
    size = low.graph[row.node].shape[axis]
    ones = low.once(aten.to.dtype, low.once(aten.ones.default, (size, size)), low.dtype)
    triangle = low.fixed(low.once(aten.triu.default, ones))
    return Row(low.graph.matmul(row.node, triangle), *row[1:])


@_rule("native_group_norm")
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


@_rule("native_group_norm_backward")
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


@_rule("_to_copy", "to")
def _to_copy(low: Lowering, operation: Operation, given: Given) -> Row:
    """Masks become numbers; other dtypes than the state's are not known here."""
    row, value = low.row(given["self"]), Value(low.graph, low.row(given["self"]).node)
    dtype = low.tensors[operation.results[0]].dtype  # type: ignore[index]
    if value.is_mask and dtype.is_floating_point:
        return Row(value.where(1.0, 0.0).node, row.axis, row.inner)
    if dtype in (low.dtype, low.tensors[given["self"]].dtype):
        return row
    if dtype.is_floating_point or not low.tensors[given["self"]].dtype.is_floating_point:
        raise Untraceable(
            f"converts to {str(dtype).removeprefix('torch.')}, where kernels compute in "
            f"{str(low.dtype).removeprefix('torch.')} alone",
            low.line,
        )
    raise Untraceable(
        "converts numbers to integers or truth values; compare them instead", low.line
    )


@_rule("log_sigmoid_forward")
def _log_sigmoid(low: Lowering, operation: Operation, given: Given) -> list[Row | None]:
    row = low.row(given["self"])
    x = Value(low.graph, row.node)
    out = x.minimum(0.0) - (-x.abs()).exp().log1p()
    return [Row(out.node, row.axis, row.inner), row]


@_rule("_prelu_kernel_backward")
def _prelu_backward(low: Lowering, operation: Operation, given: Given) -> list[Lowered]:
    rank = len(low.dims(given["self"]))
    row = low.row(given["self"])
    place = rank - row.axis, row.inner
    g, x, w = (low.aligned(given[n], place, rank) for n in ("grad_output", "self", "weight"))
    positive = x > 0.0
    parts = positive.where(g, g * w), positive.where(0.0, x * g)
    return [Row(part.node, row.axis, row.inner) for part in parts]


@_rule("native_dropout")
def _no_dropout(low: Lowering, operation: Operation, given: Given) -> list[Lowered]:
    """Where nothing is dropped; else the draws have been put in its place."""
    return [low.values[given["input"]], Uniform(1.0)]
