"""Where a step has no derivative: corners, infinite slopes, jumps, and stand-ins for a slope."""

import sys
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bptt import places
from bptt.inspect.operations import name_of
from bptt.inspect.surrogate import functions, place_of
from bptt.inspect.trajectory import Piece, Trajectory

Kind = Literal["infinite", "corner", "jump", "own"]
ROWS = 4096  # that are run at once: enough for one product, few enough for what lies between

# Where torch's functions turn a corner: numbers, or the names of their arguments.
_CORNERS: dict[str, tuple[float | str, ...]] = {
    "relu": (0.0,), "abs": (0.0,), "elu": (0.0,), "leaky_relu": (0.0,), "_prelu_kernel": (0.0,),
    "hardtanh": ("min_val", "max_val"), "clamp": ("min", "max"), "clamp_min": ("min",),
    "clamp_max": ("max",), "threshold": ("threshold",), "hardsigmoid": (-3.0, 3.0),
    "hardswish": (-3.0, 3.0), "softshrink": ("lambd", "-lambd"), "hardshrink": ("lambd", "-lambd"),
    "maximum": ("other",), "minimum": ("other",), "gt": ("other",), "ge": ("other",),
    "lt": ("other",), "le": ("other",),
}  # fmt: skip
_INFINITE: dict[str, tuple[float | str, ...]] = {"sqrt": (0.0,), "acos": (-1.0, 1.0),
                                                 "asin": (-1.0, 1.0)}  # fmt: skip
_JUMPS = frozenset(("sign", "sgn", "floor", "ceil", "round", "trunc", "heaviside"))


class Kink(NamedTuple):
    """What stands in a derivative's way at one place of a step.

    Attributes:
        kind: "corner": another slope on either side; "infinite": a slope without bounds; "jump": a
            function that jumps and is flat between; "own": a `torch.autograd.Function`, whose
            backward pass is taken at its word.
        name: of the function.
        where: the user's "file:line"; "" if only torch's own code applies it.
        count: how many numbers met it, of all that went through, `total`.
        step, sequence: the first, as processed; in time, steps counted from 0.
    """

    kind: Kind
    name: str
    where: str
    count: int
    total: int
    step: int
    sequence: int

    def __str__(self) -> str:
        place = f" ({places.told(self.where)})" if self.where else ""
        at = f"{self.count} of {self.total} numbers, first at step {self.step}, sequence "
        at += str(self.sequence)
        said = {
            "corner": f"was exactly at a corner for {at}: it has no derivative there, and what "
            "autograd takes stands for it",
            "infinite": f"was where its slope is infinite for {at}: a gradient is no number there",
            "jump": "goes in jumps and is flat between them: nothing goes back through it",
            "own": "has a backward pass of its own, which stands for its derivative",
        }
        return f"{self.name}{place} {said[self.kind]}."


def kinks(path: Trajectory) -> tuple[Kink, ...]:
    """What a trajectory met, the worst first; one for each function and line of the step."""
    looking = _Looking(path)
    for piece in path.pieces(path.live, ROWS):
        looking.piece = piece
        with torch.enable_grad():
            real = [leaf.is_floating_point() for leaf in piece.before]
            before = [b.detach().requires_grad_(r) for b, r in zip(piece.before, real, strict=True)]
            outputs, after = path.run(piece, before, looking)
        for function in functions([*outputs, *after]):
            looking.note("own", function.__name__, place_of(function), None)
    kinds = ("infinite", "jump", "corner", "own")
    met = [kink for kink in looking.found.values() if kink.count or kink.kind in ("jump", "own")]
    return tuple(sorted(met, key=lambda kink: kinds.index(kink.kind)))


class _Looking(TorchDispatchMode):
    """While active, looks at what the operations of a piece are applied to."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # never inside torch.compile, whose import would cost a second

    def __init__(self, path: Trajectory) -> None:
        super().__init__()
        self.found: dict[tuple[str, str, str], Kink] = {}
        self.path = path
        self.piece: Piece

    def __torch_dispatch__(self, func, types, args: tuple = (), kwargs=None):
        kwargs = kwargs or {}
        name = name_of(func)
        # In a function with a backward pass of its own nothing is differentiated.
        if name in _KNOWN and torch.is_grad_enabled():
            self._look(name, _bound(func, args, kwargs))
        return func(*args, **kwargs)

    def _look(self, name: str, given: dict[str, Any]) -> None:
        tensors = [value for value in given.values() if isinstance(value, Tensor)]
        if not any(tensor.requires_grad for tensor in tensors):
            return
        for kind, mask in _met(name, given):
            where = places.line(sys._getframe(2), (Trajectory.run.__code__,))
            self.note(kind, _SAID.get(name, name), where, mask)

    def note(self, kind: Kind, name: str, where: str, mask: Tensor | None) -> None:
        """Add what a piece met to what those before did; mask None: everywhere."""
        key = kind, name, where
        old = self.found.get(key, Kink(kind, name, where, 0, 0, 0, 0))
        if mask is None:
            self.found[key] = old
            return
        by_row = self._by_row(mask)
        if by_row is None:
            return
        live = self.path.live.flatten()[self.piece.rows]
        rows = (by_row.any(1) & live).nonzero().flatten()
        if len(rows) and not old.count:
            step, sequence = self._when(int(rows[0]))
            old = old._replace(step=step, sequence=sequence)
        total = old.total + int(live.sum()) * by_row.shape[1]
        self.found[key] = old._replace(count=old.count + int(by_row[live].sum()), total=total)

    def _by_row(self, mask: Tensor) -> Tensor | None:
        """(N, U) of a mask whose first axis is rows, or rows merged with features behind them."""
        rows = len(self.piece.rows)
        on_rows = mask.dim() > 0 and len(mask) % rows == 0
        return mask.reshape(rows, -1) if on_rows else None  # else of a weight

    def _when(self, row: int) -> tuple[int, int]:
        """A row's step in time and its sequence."""
        course = self.path.course
        step, sequence = divmod(int(self.piece.rows[row]), course.batch)
        return (int(course.counts[sequence]) - 1 - step if course.reverse else step), sequence


def _met(name: str, given: dict[str, Any]) -> Iterator[tuple[Kind, Tensor | None]]:
    """What an operation met, and which of its numbers did; None: all."""
    x = given["self"]
    if name in _JUMPS:
        yield "jump", None
    elif name == "pow":
        if isinstance(given["exponent"], float) and 0 < given["exponent"] < 1:
            yield "infinite", x == 0
    elif name == "linalg_vector_norm":
        axes = given["dim"] or list(range(1, x.dim()))
        yield "corner", (x == 0).all(tuple(axes)) if axes else x == 0
    elif not _is_smooth(name, given):
        kind: Kind = "infinite" if name in _INFINITE else "corner"
        yield kind, _at(x, [_value(point, given) for point in _POINTS[name]])


def _is_smooth(name: str, given: dict[str, Any]) -> bool:
    """Whether a function's arguments make it one without corners."""
    if name == "elu":
        return given["alpha"] == 1 and given["scale"] == given["input_scale"] == 1
    return name == "leaky_relu" and given["negative_slope"] == 1


def _value(point: float | str, given: dict[str, Any]) -> Any:
    """Where a corner is; None if the operation was given none."""
    if not isinstance(point, str):
        return point
    return -given[point[1:]] if point[0] == "-" else given.get(point)


def _at(x: Tensor, points: list[Any]) -> Tensor:
    """Which numbers are exactly at one of some points."""
    met = torch.zeros((), dtype=torch.bool, device=x.device)
    for point in points:
        if point is not None:
            met = met | (x == point)
    return met


def _bound(func: Any, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """An operation's arguments by name."""
    schema = func._schema.arguments
    names = [argument.name for argument in schema]
    defaults = {argument.name: argument.default_value for argument in schema}
    return {**defaults, **dict(zip(names, args, strict=False)), **kwargs}


_POINTS = _CORNERS | _INFINITE
_KNOWN = frozenset((*_POINTS, *_JUMPS, "pow", "linalg_vector_norm"))
_SAID = {
    "gt": "the comparison >",
    "ge": "the comparison >=",
    "lt": "the comparison <",
    "le": "the comparison <=",
    "linalg_vector_norm": "norm",
    "_prelu_kernel": "prelu",
}
