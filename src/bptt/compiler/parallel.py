"""The columns beside the loop as Python: torch's own operations on all steps at once.

Values have (rows, *shape) with the rows of all steps and sequences in one axis: nothing in a graph
tells rows apart, so T * B of them are computed as B are.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptt.compiler.graph import CONTRACTIONS, LEAVES, NO_MEMORY, SUMS, Graph, Node
from bptt.compiler.record import Ref
from bptt.compiler.reuse import Reuse
from bptt.compiler.stages import OPERATIONS
from bptt.compiler.writing import function

_AS_SIGN = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">",
            "ge": ">=", "eq": "==", "ne": "!="}  # fmt: skip


class Parallel(NamedTuple):
    """A function from given tensors to results.

    Attributes:
        run: `run(given, fixed, steps, rows) -> results`, given values (rows, *shape) in the order
            of `given`, fixed tensors by name, how many steps the rows are, how many rows.
        given: the nodes that it takes.
        source: the function, to read.
        between: numbers a row that it makes on the way, and does not return.
    """

    run: Callable[[Sequence[Tensor], dict[Ref, Tensor], int, int], list[Tensor]]
    given: tuple[int, ...]
    source: str
    between: int


def parallel(
    graph: Graph,
    given: Iterable[int],
    roots: Sequence[int],
    dtype: torch.dtype,
    absent: frozenset[int] = frozenset(),
    *,
    reuse: bool = False,
) -> Parallel:
    """What computes `roots` from `given` for all steps at once.

    Args:
        graph: of which those are nodes.
        given: what is at hand.
        roots: what is wanted.
        dtype: of all numbers.
        absent: given values that are zero.
        reuse: whether values may take the memory of others that nobody needs any more. What torch
            maps over a further axis (`torch.vmap`) may not.
    """
    taken = set(given) - absent
    inner, stack = set[int](), [root for root in roots if root not in taken]
    used = {root for root in roots if root in taken}
    while stack:
        number = stack.pop()
        if number in inner:
            continue
        inner.add(number)
        for operand in graph[number].operands:
            if operand in taken:
                used.add(operand)
            else:
                stack.append(operand)
    return _write(graph, tuple(sorted(used)), sorted(inner), roots, dtype, absent, reuse)


def _write(
    graph: Graph,
    given: tuple[int, ...],
    inner: Sequence[int],
    roots: Sequence[int],
    dtype: torch.dtype,
    absent: frozenset[int],
    reuse: bool,
) -> Parallel:
    fused = _fused(graph, inner, roots)
    writer = _Writer(graph, dtype, fused)
    memory = _memory(graph, inner, roots, fused, writer.plain) if reuse else None
    lines = [f"({''.join(f't{n}, ' for n in given)}) = given"] if given else []
    for number in inner:
        if number not in fused:
            place = memory.place(number) if memory else None
            spelled = writer.zeros(number) if number in absent else writer.spell(number, place)
            lines.append(f"t{number} = {spelled}")
            if memory and (dead := memory.dead(number)):
                lines.append(f"del {', '.join(f't{n}' for n in dead)}")
    results = (writer.name(n) if graph[n].op in SUMS else writer.rows(n) for n in roots)
    lines.append(f"return [{', '.join(results)}]")
    source = "\n    ".join(["def run(given, fixed, steps, rows):", *lines, ""])
    between = (n for n in inner if n not in roots and n not in fused)
    width = sum(math.prod(graph[n].shape) for n in between if graph[n].op not in NO_MEMORY)
    return Parallel(function(source, "run", writer.namespace), given, source, width)


def _memory(
    graph: Graph, inner: Sequence[int], roots: Sequence[int], fused: set[int], plain: set[int]
) -> Reuse:
    later = {o: n for n in inner for o in graph[n].operands if o in fused}
    return Reuse(graph, inner, {*roots, *plain}, later)


def _fused(graph: Graph, inner: Sequence[int], roots: Sequence[int]) -> set[int]:
    """Products whose one use is to have a bias added: they are computed with it."""
    uses: dict[int, list[int]] = {}
    for number in inner:
        for operand in graph[number].operands:
            uses.setdefault(operand, []).append(number)
    return {
        number
        for number in inner
        if graph[number].op == "matmul" and number not in roots
        if len(uses.get(number, ())) == 1 and _bias(graph, uses[number][0]) is not None
    }


def _bias(graph: Graph, number: int) -> tuple[int, int] | None:
    """The product and the bias of an addition of the two."""
    node = graph[number]
    if node.op != "add":
        return None
    for product, bias in (node.operands, node.operands[::-1]):
        both = graph[product].op == "matmul" and graph[bias].op == "fixed"
        if both and graph[bias].shape == graph[product].shape[-1:]:
            return product, bias
    return None


class _Writer:
    def __init__(self, graph: Graph, dtype: torch.dtype, fused: set[int]) -> None:
        self.graph, self.dtype, self.fused = graph, dtype, fused
        self.plain = _plain(graph)
        self.namespace: dict[str, Any] = {
            "torch": torch,
            "product": _product,
            "heads": _heads,
            "outer": _outer,
            "by_blocks": _by_blocks,
            "total": total,
            "outer_heads": _outer_heads,
        }

    def name(self, number: int) -> str:
        node = self.graph[number]
        if node.op == "number":
            key = f"c{number}"
            self.namespace[key] = torch.tensor(float(node.attributes[0]), dtype=self.dtype)
            return key
        return f"t{number}"

    def zeros(self, number: int) -> str:
        self.namespace["zero"] = torch.zeros((), dtype=self.dtype)
        return f"zero.expand({', '.join(['rows', *map(str, self.graph[number].shape)])})"

    def spell(self, number: int, place: int | None = None) -> str:
        """A node as an expression of Python, its numbers in the memory of the node `place`."""
        node = self.graph[number]
        if node.op in LEAVES:
            return self._leaf(node)
        if node.op in SUMS:
            return self._sum_over_rows(node)
        if node.op in OPERATIONS:
            return self._point(number, node, place)
        if node.op == "number":
            return self.name(number)
        if node.op in CONTRACTIONS:
            a, weight = node.operands
            return getattr(self, f"_{node.op}")(node, self.rows(a), self.name(weight))
        return getattr(self, f"_{node.op}")(node, *(self.rows(o) for o in node.operands))

    def rows(self, number: int) -> str:
        """A value with its rows, also where it is the same in all of them."""
        name = self.name(number)
        if number not in self.plain:
            return name
        return f"{name}.expand({', '.join(['rows', *map(str, self.graph[number].shape)])})"

    def _leaf(self, node: Node) -> str:
        if node.op == "fixed":
            return f"fixed[{str(node.attributes[0])!r}]"
        if node.op == "sequence":
            shape = ", ".join(str(size) for size in (-1, *node.shape))
            given = f"fixed[{str(node.attributes[0])!r}]"
            return f"{given}.expand(steps, *{given}.shape).reshape({shape})"
        raise AssertionError(f"{node.op} is not among the given values")

    def _point(self, number: int, node: Node, place: int | None) -> str:
        bias = _bias(self.graph, number)
        if bias is not None and bias[0] in self.fused:
            a, weight = (self.name(o) for o in self.graph[bias[0]].operands)
            flat, added = len(node.shape) == 1, self.name(bias[1])
            return (
                f"torch.addmm({added}, {a}, {weight})"
                if flat
                else f"product({a}, {weight}, {added})"
            )
        names = [self._aligned(o, len(node.shape)) for o in node.operands]
        if place is not None:
            return f"torch.{node.op}({', '.join(names)}, out={self.name(place)})"
        if node.op in _AS_SIGN:
            return f" {_AS_SIGN[node.op]} ".join(names)
        return f"torch.{node.op}({', '.join(names)})"

    def _aligned(self, number: int, rank: int) -> str:
        """An operand with axes of one behind the rows, so that features meet from the right."""
        node, name = self.graph[number], self.name(number)
        if number in self.plain or len(node.shape) == rank:
            return name
        ones = ", ".join(["1"] * (rank - len(node.shape)))
        shape = "".join(f", {size}" for size in node.shape)
        return f"{name}.reshape(-1, {ones}{shape})"

    def _sum_over_rows(self, node: Node) -> str:
        known = self.graph[node.operands[0]].op in SUMS or node.op == "linear"
        names = [self.name(o) if known else self.rows(o) for o in node.operands]
        if node.op == "outer":
            if node.attributes:
                return f"outer_heads({names[0]}, {names[1]})"
            flat = all(len(self.graph[o].shape) == 1 for o in node.operands)
            return f"{'by_blocks' if flat else 'outer'}({names[0]}, {names[1]}, steps)"
        if node.op == "total":
            return f"total({names[0]}, steps)"
        if node.op == "steps":
            return f"{names[0]}.unflatten(0, (steps, -1)).sum(0)"
        func, args, kwargs = node.attributes
        key = f"f{len(self.namespace)}"
        self.namespace[key] = func
        given = [_spelled(value, names) for value in args]
        given += [f"{k}={_spelled(value, names)}" for k, value in kwargs]
        return f"{key}({', '.join(given)})"

    def _slice(self, node: Node, a: str) -> str:
        axis, start, stop = node.attributes
        return f"{a}.narrow({axis + 1}, {start}, {stop - start})"

    def _cat(self, node: Node, *parts: str) -> str:
        return f"torch.cat([{', '.join(parts)}], {node.attributes[0] + 1})"

    def _reshape(self, node: Node, a: str) -> str:
        return f"{a}.reshape({', '.join(str(size) for size in (-1, *node.shape))})"

    def _permute(self, node: Node, a: str) -> str:
        axes = (0, *(axis + 1 for axis in node.attributes[0]))
        return f"{a}.permute({axes})"

    def _expand(self, node: Node, a: str) -> str:
        if node.operands[0] in self.plain:
            whole = ["rows", *map(str, node.shape)]
            return f"{self.name(node.operands[0])}.expand({', '.join(whole)})"
        own = self._aligned(node.operands[0], len(node.shape))
        return f"{own}.expand({', '.join(str(size) for size in (-1, *node.shape))})"

    def _matmul(self, node: Node, a: str, weight: str) -> str:
        return f"torch.mm({a}, {weight})" if len(node.shape) == 1 else f"product({a}, {weight})"

    def _heads(self, node: Node, a: str, weight: str) -> str:
        return f"heads({a}, {weight})"

    def _sum(self, node: Node, a: str) -> str:
        return f"{a}.sum({tuple(axis + 1 for axis in node.attributes[0])}, keepdim=True)"

    def _max(self, node: Node, a: str) -> str:
        return f"{a}.amax({tuple(axis + 1 for axis in node.attributes[0])}, keepdim=True)"


def _plain(graph: Graph) -> set[int]:
    """What is computed number by number from fixed tensors alone: it has no axis of rows."""
    found: set[int] = set()
    for number, node in enumerate(graph.nodes):
        own = node.op in ("fixed", "number") or (node.op in OPERATIONS and bool(node.operands))
        if own and found.issuperset(node.operands):
            found.add(number)
    return found


def _spelled(value: Any, names: Sequence[str]) -> str:
    if isinstance(value, Ref):
        return names[int(value[1:])]
    if isinstance(value, tuple):
        return f"[{', '.join(_spelled(item, names) for item in value)}]"
    if isinstance(value, torch.dtype):
        return str(value)
    return repr(value)


def _product(a: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """a (rows, ..., K) times (K, N), plus bias."""
    flat = a.reshape(-1, a.shape[-1])
    result = torch.mm(flat, weight) if bias is None else torch.addmm(bias, flat, weight)
    return result.reshape(*a.shape[:-1], weight.shape[-1])


def _heads(a: Tensor, weight: Tensor) -> Tensor:
    """a (rows, ..., h, K) times (h, K, N), head by head."""
    flat = a.reshape(-1, *a.shape[-2:]).transpose(0, 1)
    return torch.bmm(flat, weight).transpose(0, 1).reshape(*a.shape[:-1], weight.shape[-1])


def _outer(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """t(a) b, summed over rows."""
    return _by_blocks(a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]), steps)


def total(a: Tensor, steps: int) -> Tensor:
    """The sum over rows; of many, as a product, it takes a third of `a.sum(0)`'s time."""
    if a.numel() <= _FEW:
        return a.sum(0)
    flat = a.reshape(len(a), -1)
    return _by_blocks(flat.new_ones(1, 1).expand(len(a), 1), flat, steps).reshape(a.shape[1:])


# Numbers that are summed sooner than a product of them is set up.
_FEW = 1 << 13
# Numbers that partial sums may take: beyond, they cost more time than they are worth.
_MOST = 1 << 20


def _by_blocks(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """t(a) b, a (rows, K), b (rows, N), as a sum of sums over blocks of rows.

    One long sum in float32 would be less exact than a loop's. The error of n terms added up one
    after another grows with the root of n, and a loop adds B terms in each step and then T of those
    sums: T + B in all, which blocks of T + B rows come near to.
    """
    rows = a.shape[0]
    size = (steps + rows // max(steps, 1) + 15) // 16 * 16
    count = rows // size
    if count < 2 or a.dtype is not torch.float32:
        return torch.mm(a.t(), b)
    whole = count * size
    if count * a.shape[1] * b.shape[1] <= _MOST:
        left, right = a[:whole].unflatten(0, (count, size)), b[:whole].unflatten(0, (count, size))
        total = torch.bmm(left.transpose(1, 2), right).sum(0)
    else:
        total = torch.mm(a[:size].t(), b[:size])
        for start in range(size, whole, size):
            total.addmm_(a[start : start + size].t(), b[start : start + size])
    return total if whole == rows else total.addmm_(a[whole:].t(), b[whole:])


def _outer_heads(a: Tensor, b: Tensor) -> Tensor:
    """t(a) b head by head, summed over rows: a (rows, h, K), b (rows, h, N)."""
    return torch.bmm(a.permute(1, 2, 0), b.permute(1, 0, 2))
