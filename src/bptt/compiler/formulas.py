"""torch's pointwise operations in terms of the few that kernels know.

Each formula takes values (and Python numbers, as in torch's signature) and gives a value. The
derivatives are those that autograd calls for, by torch's names for them. They choose between
branches by `where`, so a branch that is not taken may overflow.
"""

import math
import struct
from collections.abc import Callable
from typing import Any

from bptt.compiler.graph import Graph
from bptt.compiler.stages import OPERATIONS


class Value:
    """A node that can be calculated with."""

    __slots__ = ("graph", "node")

    def __init__(self, graph: Graph, node: int) -> None:
        self.graph, self.node = graph, node

    def call(self, op: str, *others: Any) -> "Value":
        nodes = [self.node, *(self._node(other) for other in others)]
        return Value(self.graph, self.graph.call(op, *nodes))

    def _node(self, other: Any) -> int:
        return other.node if isinstance(other, Value) else self.graph.number(other)

    def _of(self, other: Any) -> "Value":
        return Value(self.graph, self._node(other))

    def __add__(self, other: Any) -> "Value":
        return self.call("add", other)

    def __sub__(self, other: Any) -> "Value":
        return self.call("sub", other)

    def __mul__(self, other: Any) -> "Value":
        return self.call("mul", other)

    def __truediv__(self, other: Any) -> "Value":
        return self.call("div", other)

    def __radd__(self, other: Any) -> "Value":
        return self._of(other).call("add", self)

    def __rsub__(self, other: Any) -> "Value":
        return self._of(other).call("sub", self)

    def __rmul__(self, other: Any) -> "Value":
        return self._of(other).call("mul", self)

    def __rtruediv__(self, other: Any) -> "Value":
        return self._of(other).call("div", self)

    def __neg__(self) -> "Value":
        return self.call("neg")

    def __lt__(self, other: Any) -> "Value":
        return self.call("lt", other)

    def __le__(self, other: Any) -> "Value":
        return self.call("le", other)

    def __gt__(self, other: Any) -> "Value":
        return self.call("gt", other)

    def __ge__(self, other: Any) -> "Value":
        return self.call("ge", other)

    def __and__(self, other: "Value") -> "Value":
        return self.call("logical_and", other)

    def __or__(self, other: "Value") -> "Value":
        return self.call("logical_or", other)

    def __getattr__(self, op: str) -> Callable[..., "Value"]:
        if op not in OPERATIONS:
            raise AttributeError(op)
        return lambda *others: self.call(op, *others)

    @property
    def is_mask(self) -> bool:
        return self.graph[self.node].mask


def where(condition: Value, a: Any, b: Any) -> Value:
    """`a` where the condition holds, else `b`."""
    return condition.call("where", a, b)


def _pow(x: Value, exponent: Any) -> Value:
    if isinstance(exponent, Value):
        return x.pow(exponent)
    simple = {2: lambda: x * x, 3: lambda: x * x * x, 1: lambda: x, 0.5: x.sqrt, -0.5: x.rsqrt}
    return simple.get(exponent, lambda: x.call("pow", exponent))()


def _clamp(x: Value, low: Any = None, high: Any = None) -> Value:
    x = x if low is None else x.maximum(low)
    return x if high is None else x.minimum(high)


def _elu(x: Value, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Value:
    return where(x > 0, x * scale, (x * input_scale).expm1() * (alpha * scale))


def _elu_backward(
    g: Value, alpha: Any, scale: Any, input_scale: Any, is_result: bool, x: Value
) -> Value:
    low = x + alpha * scale if is_result else (x * input_scale).exp() * (alpha * scale)
    return where(x <= 0, g * input_scale * low, g * scale)


def _normal(x: Value) -> Value:
    """The standard normal distribution function."""
    return 0.5 * (1 + (x * math.sqrt(0.5)).erf())


def _gelu_tanh(x: Value) -> Value:
    return (math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))).tanh()


def _gelu(x: Value, approximate: str = "none") -> Value:
    if approximate == "tanh":
        return 0.5 * x * (1 + _gelu_tanh(x))
    return x * _normal(x)


def _gelu_backward(g: Value, x: Value, approximate: str = "none") -> Value:
    if approximate == "tanh":
        t = _gelu_tanh(x)
        inner = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * (x * x))
        return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner)
    density = (x * x * -0.5).exp() * (1 / math.sqrt(2 * math.pi))
    return g * (_normal(x) + x * density)


def _silu_backward(g: Value, x: Value) -> Value:
    s = x.sigmoid()
    return g * (s * (1 + x * (1 - s)))


def _softplus(x: Value, beta: Any = 1, threshold: Any = 20) -> Value:
    scaled = x * beta
    return where(scaled > threshold, x, scaled.exp().log1p() / beta)


def _softplus_backward(g: Value, x: Value, beta: Any, threshold: Any) -> Value:
    scaled = x * beta
    return where(scaled > threshold, g, g * scaled.sigmoid())


def _mish_backward(g: Value, x: Value) -> Value:
    t = _softplus(x).tanh()
    return g * (t + x * x.sigmoid() * (1 - t * t))


def _hardswish_backward(g: Value, x: Value) -> Value:
    return where(x <= -3, 0.0, where(x < 3, g * (x / 3 + 0.5), g))


def _log_sigmoid_backward(g: Value, x: Value, buffer: Any) -> Value:
    return g * (-x).sigmoid()


def _addcmul(x: Value, a: Value, b: Value, value: Any = 1) -> Value:
    return x + a * b * value if value != 1 else x + a * b


def _lerp(start: Value, end: Value, weight: Any) -> Value:
    return start + weight * (end - start)


def _div(x: Value, y: Any, rounding_mode: str | None = None) -> Value:
    quotient = x / y
    rounded = {"trunc": "trunc", "floor": "floor"}.get(rounding_mode or "")
    return quotient if rounded is None else quotient.call(rounded)


def _logical(op: str) -> Callable[..., Value]:
    return lambda *values: values[0].call(op, *values[1:])


# What torch multiplies by in the derivative of hardsigmoid, in float64 too.
_SIXTH = struct.unpack("f", struct.pack("f", 1 / 6))[0]

# By torch's name; a scalar operand comes as a Python number.
FORMULAS: dict[str, Callable[..., Value]] = {
    "rsub": lambda x, y, alpha=1: y - x * alpha,
    "add": lambda x, y, alpha=1: x + (y if alpha == 1 else y * alpha),
    "sub": lambda x, y, alpha=1: x - (y if alpha == 1 else y * alpha),
    "div": _div,
    "pow": _pow,
    "square": lambda x: x * x,
    "exp2": lambda x: Value(x.graph, x.graph.number(2.0)).pow(x),
    "sgn": lambda x: x.sign(),
    "positive": lambda x: x,
    "relu": lambda x: where(x <= 0, 0.0, x),
    "relu6": lambda x: _clamp(x, 0.0, 6.0),
    "clamp": _clamp,
    "clamp_min": lambda x, low: _clamp(x, low),
    "clamp_max": lambda x, high: _clamp(x, None, high),
    "hardtanh": lambda x, low=-1, high=1: _clamp(x, low, high),
    "threshold": lambda x, threshold, value: where(x <= threshold, value, x),
    "elu": _elu,
    "celu": lambda x, alpha=1.0: _elu(x, alpha, 1, 1 / alpha),
    "leaky_relu": lambda x, slope=0.01: where(x > 0, x, x * slope),
    "gelu": _gelu,
    "silu": lambda x: x * x.sigmoid(),
    "softplus": _softplus,
    "mish": lambda x: x * _softplus(x).tanh(),
    "hardsigmoid": lambda x: _clamp(x + 3, 0.0, 6.0) / 6,
    "hardswish": lambda x: x * _clamp(x + 3, 0.0, 6.0) / 6,
    "softshrink": lambda x, lam=0.5: where(x > lam, x - lam, where(x < -lam, x + lam, x * 0)),
    "hardshrink": lambda x, lam=0.5: where((x >= -lam) & (x <= lam), 0.0, x),
    "_prelu_kernel": lambda x, w: where(x > 0, x, x * w),
    "lerp": _lerp,
    "addcmul": _addcmul,
    "addcdiv": lambda x, a, b, value=1: x + a / b * value,
    "where": where,
    "masked_fill": lambda x, mask, value: where(mask, value, x),
    "nan_to_num": lambda x, nan=None: where(x.isnan(), nan or 0.0, x),
    "bitwise_and": _logical("logical_and"),
    "bitwise_or": _logical("logical_or"),
    "bitwise_xor": _logical("logical_xor"),
    "bitwise_not": _logical("logical_not"),
    "__and__": _logical("logical_and"),
    "__or__": _logical("logical_or"),
    "__xor__": _logical("logical_xor"),
    # Derivatives
    "tanh_backward": lambda g, y: g * (1 - y * y),
    "sigmoid_backward": lambda g, y: g * ((1 - y) * y),
    "threshold_backward": lambda g, x, threshold: where(x <= threshold, 0.0, g),
    "hardtanh_backward": lambda g, x, low, high: where((x <= low) | (x >= high), 0.0, g),
    "elu_backward": _elu_backward,
    "leaky_relu_backward": lambda g, x, slope, is_result: where(x > 0, g, g * slope),
    "gelu_backward": _gelu_backward,
    "silu_backward": _silu_backward,
    "softplus_backward": _softplus_backward,
    "mish_backward": _mish_backward,
    "hardsigmoid_backward": lambda g, x: where((x > -3) & (x < 3), g * _SIXTH, 0.0),
    "hardswish_backward": _hardswish_backward,
    "log_sigmoid_backward": _log_sigmoid_backward,
    "softshrink_backward": lambda g, x, lam: where((x >= -lam) & (x <= lam), 0.0, g),
    "hardshrink_backward": lambda g, x, lam: where((x >= -lam) & (x <= lam), 0.0, g),
}  # fmt: skip


def formula(name: str) -> Callable[..., Value] | None:
    """How an operation of torch's is computed number by number; None if it is not."""
    if name in FORMULAS:
        return FORMULAS[name]
    return (lambda x, *others: x.call(name, *others)) if name in OPERATIONS else None
