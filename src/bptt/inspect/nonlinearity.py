"""Where a step's non-linearities are: found in what it does, not by what its cell is called."""

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bptt.compiler.fingerprint import fingerprint
from bptt.compiler.once import refs
from bptt.compiler.record import Operation, Ref
from bptt.compiler.trace import Trace, Untraceable, trace
from bptt.errors import CellError
from bptt.inspect.operations import name_of
from bptt.inspect.pull import pull
from bptt.inspect.surrogate import own_slopes, place_of
from bptt.inspect.trajectory import Piece, Trajectory
from bptt.places import code

# torch's pointwise functions that are flat, or nearly, over a part of their range.
FLAT = frozenset((
    "tanh", "sigmoid", "relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "threshold",
    "softplus", "silu", "gelu", "mish", "elu", "leaky_relu", "hardsigmoid", "hardswish",
    "log_sigmoid_forward", "softshrink", "hardshrink", "erf", "atan",
))  # fmt: skip
# Through these a gate is still the part of a product that it was cut out of.
_LINEAR = frozenset((
    "add", "sub", "rsub", "mul", "div", "neg", "view", "_unsafe_view", "reshape", "permute",
    "transpose", "t", "squeeze", "unsqueeze", "expand", "clone", "contiguous", "addmm",
))  # fmt: skip
_CUTS = frozenset(
    ("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "unbind")
)
# Rows to trace with: prime, and more than cells have units, so that features are told from them.
_ROWS = 1009
_GRID = torch.linspace(-10, 10, 4001, dtype=torch.float64)


class Site(NamedTuple):
    """One non-linear operation of a step.

    Attributes:
        number: which of the step's operations of `FLAT` it is, in their order.
        name: the operation, and what it is applied to where that can be told.
        where: the user's file and line, "" if only torch's own code does it.
        code: that line.
        axis: of its argument's axes, the batch, or the batch merged with features behind it.
        steepest: the function's largest |slope|; of one of the user's own, the largest seen.
        own: whether it is a `torch.autograd.Function`; its number is one of those.
    """

    number: int
    name: str
    where: str
    code: str
    axis: int
    steepest: float
    own: bool = False


class Call(NamedTuple):
    """A pointwise operation and what it was applied to."""

    func: Any
    argument: Tensor
    others: tuple
    named: dict[str, Any]

    def slope(self, at: Tensor | None = None) -> Tensor:
        """|phi'| of every number of its argument, or of another."""
        with torch.enable_grad():
            a = (self.argument if at is None else at).detach().requires_grad_()
            y = self.func(a, *self.others, **self.named)
            y = y[0] if isinstance(y, tuple) else y
            (slope,) = pull([y], [a], [torch.ones_like(y)], keep=False)
        assert slope is not None  # y is made of a
        return slope.abs()


class Calls(TorchDispatchMode):
    """While active, keeps the arguments of the operations of `FLAT`.

    Args:
        wanted: which of them, by number; None: all.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # never inside torch.compile, whose import would cost a second

    def __init__(self, wanted: frozenset[int] | None = None) -> None:
        super().__init__()
        self.found: dict[int, Call] = {}
        self._wanted, self._count = wanted, 0

    def __torch_dispatch__(self, func, types, args: tuple = (), kwargs=None):
        kwargs = kwargs or {}
        if name_of(func) in FLAT:
            if self._wanted is None or self._count in self._wanted:
                argument = args[0].detach().clone()  # which an in-place operation overwrites
                self.found[self._count] = Call(_pure(func), argument, args[1:], kwargs)
            self._count += 1
        return func(*args, **kwargs)


def sites(path: Trajectory) -> list[Site]:
    """The non-linearities that a cell's rows go through.

    Raises:
        CellError: a step that cannot be traced.
    """
    piece = _many(path)
    traced = _trace(path, piece)
    calls = Calls()
    with torch.no_grad():
        path.run(piece, piece.before, calls)
    rows = len(piece.rows)
    own = [_own(i, *found, rows) for i, found in enumerate(own_slopes(path, piece))]
    return _named([*_found(traced, calls, rows), *own])


def slopes(path: Trajectory, piece: Piece, known: Sequence[Site]) -> list[Tensor]:
    """|phi'| of each site at a piece's rows, (N, U)."""
    wanted = frozenset(site.number for site in known if not site.own)
    calls = Calls(wanted)
    if wanted:
        with torch.no_grad():
            path.run(piece, piece.before, calls)
    own = own_slopes(path, piece) if len(wanted) < len(known) else []
    found = [own[s.number][1] if s.own else calls.found[s.number].slope() for s in known]
    return [
        by_row(slope, site.axis, len(piece.rows)) for slope, site in zip(found, known, strict=True)
    ]


def by_row(slope: Tensor, axis: int, rows: int) -> Tensor:
    """(N, U) of a tensor whose axis is N, or N merged with features behind it."""
    return slope.unflatten(axis, (rows, -1)).movedim(axis, 0).flatten(1)


def _many(path: Trajectory) -> Piece:
    """Rows from all over a trajectory, some of them several times; or, if need be, a step's own."""
    if path.apart:
        return next(path.pieces(path.live, 1))
    live = path.live.flatten().nonzero().flatten()
    return path.piece(live[torch.linspace(0, len(live) - 1, _ROWS).long()])


def _own(number: int, function: Any, slope: Tensor, rows: int) -> Site:
    where = place_of(function)
    axis = _batch_axis(slope, rows)
    return Site(number, function.__name__, where, code(where), axis, float(slope.max()), True)


def _batch_axis(tensor: Tensor, rows: int) -> int:
    return next(i for i, size in enumerate(tensor.shape) if size % rows == 0)


def _trace(path: Trajectory, piece: Piece) -> Trace:
    fixed = fingerprint(path.step.cell).tensors
    try:
        with torch.no_grad():
            return trace(path.step, piece.inputs, piece.before, fixed, backward=False)
    except Untraceable as error:
        raise CellError(
            "The step cannot be traced, so its non-linearities cannot be found. Expected a step "
            f"made of torch's operations alone. {error}."
        ) from error


def _found(traced: Trace, calls: Calls, rows: int) -> Iterator[Site]:
    """The sites on rows, in order; their names may still be the same."""
    made_of_rows = {name for name in traced.tensors if name[0] in "xsr"}
    flat = [op for op in traced.operations if name_of(op.func) in FLAT]
    numbers = {op.results[0]: number for number, op in enumerate(flat)}
    for operation in traced.operations:
        if not made_of_rows.intersection(refs((operation.args, operation.kwargs))):
            continue
        made_of_rows.update(name for name in operation.results if name)
        number = numbers.get(operation.results[0])
        plain = not refs((operation.args[1:], operation.kwargs))
        if number is not None and plain and operation.args[0] in made_of_rows:
            yield _site(traced, operation, number, calls.found[number], rows)


def _site(traced: Trace, operation: Operation, number: int, call: Call, rows: int) -> Site:
    where = traced.lines.get(operation.results[0], "")  # type: ignore[arg-type]
    role = _result(code(where), name_of(operation.func)) or _role(traced, operation.args[0])
    name = name_of(operation.func).removesuffix("_forward")
    axis = _batch_axis(call.argument, rows)
    steepest = float(call.slope(_GRID).max())
    return Site(number, f"{name} {role}".rstrip(), where, code(where), axis, steepest)


def _named(found: Sequence[Site]) -> list[Site]:
    """The same with a number behind names that occur several times."""
    many = Counter(site.name for site in found)
    seen: Counter[str] = Counter()
    named = []
    for site in found:
        seen[site.name] += 1
        number = f" ({seen[site.name]})" if many[site.name] > 1 else ""
        named.append(site._replace(name=site.name + number))
    return named


def _role(traced: Trace, argument: Ref) -> str:
    """Which part of a product that was cut up an operation's argument is; "" if it is none."""
    makers = {name: op for op in traced.operations for name in op.results if name}
    parts, stack, seen = set[str](), [argument], set[Ref]()
    while stack:
        name = stack.pop()
        maker = makers.get(name)
        if maker is None or name in seen:
            continue
        seen.add(name)
        kind = name_of(maker.func)
        if kind in _CUTS:
            parts.add(_part(maker, name, traced.lines.get(maker.results[0], "")))  # type: ignore[arg-type]
        elif kind in _LINEAR:
            stack += refs((maker.args, maker.kwargs))
    return parts.pop() if len(parts) == 1 else ""


def _part(maker: Operation, name: Ref, where: str) -> str:
    """What the user calls one of the parts of a tensor, or its number."""
    index, count = maker.results.index(name), len(maker.results)
    names = _assigned(code(where))
    return names[index] if len(names) == count else f"part {index + 1} of {count}"


def _assigned(line: str) -> list[str]:
    """The names that a line of code unpacks a value into.

    >>> _assigned("i, f, g, o = a.chunk(4, -1)")
    ['i', 'f', 'g', 'o']
    """
    statement = _assignment(line)
    names = getattr(statement.targets[0], "elts", []) if statement else []
    return [name.id for name in names if isinstance(name, ast.Name)]


def _result(line: str, operation: str) -> str:
    """The name that a line of code gives to an operation's result; "" if it does more than that.

    >>> _result("r = torch.sigmoid(a + b)", "sigmoid")
    'r'
    """
    statement = _assignment(line)
    if statement is None or not isinstance(statement.targets[0], ast.Name):
        return ""
    calls = [part for part in ast.walk(statement.value) if isinstance(part, ast.Call)]
    outermost = calls[:1] == [statement.value] and operation in ast.unparse(calls[0].func)
    return statement.targets[0].id if outermost and len(calls) == 1 else ""


def _assignment(line: str) -> ast.Assign | None:
    with suppress(SyntaxError):  # a part of a longer statement
        for statement in ast.parse(line).body:
            if isinstance(statement, ast.Assign):
                return statement
    return None


def _pure(func: Any) -> Any:
    """The same operation, not in place."""
    overload = func._overloadname
    return getattr(getattr(torch.ops.aten, name_of(func)), overload)
