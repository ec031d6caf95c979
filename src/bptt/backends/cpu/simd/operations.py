"""What each operation of a stage does, on vectors; names and meaning are torch's.

Where there is no formula, the C library's function is called for one lane after the other.
"""

from collections.abc import Callable

from bptt.backends.cpu.simd.circular import cos, sin
from bptt.backends.cpu.simd.error import erf
from bptt.backends.cpu.simd.exponential import exp, expm1, sigmoid, tanh
from bptt.backends.cpu.simd.libm import FUNCTIONS
from bptt.backends.cpu.simd.logarithm import log, log1p, log2
from bptt.backends.cpu.simd.vector import Mask, Numbers, numbers

INSTRUCTIONS = {
    "abs": "fabs", "sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "round": "rint",
    "trunc": "trunc",
}  # fmt: skip


def _library(name: str) -> Callable[..., Numbers]:
    return lambda x, *others: x.libm(name, *others)


def _instruction(name: str) -> Callable[[Numbers], Numbers]:
    return lambda x: x.llvm(name)


def sign(x: Numbers) -> Numbers:
    """-1, 0 or 1; 0 for NaN, as torch has it."""
    return (x > 0.0).where(1.0, (x < 0.0).where(-1.0, numbers(x, 0.0)))


def maximum(a: Numbers, b: Numbers) -> Numbers:
    """The larger; NaN if either is."""
    return (a > b).where(a, a.is_nan().where(a, b))


def minimum(a: Numbers, b: Numbers) -> Numbers:
    """The smaller; NaN if either is."""
    return (a < b).where(a, a.is_nan().where(a, b))


def remainder(a: Numbers, b: Numbers) -> Numbers:
    """What is left of a division that rounds down: it has the divisor's sign."""
    left = a.libm("fmod", b)
    off = left.differs(0.0) & ((left < 0.0) ^ (b < 0.0))
    return off.where(left + b, left)


def where(mask: Mask, a: Numbers, b: Numbers) -> Numbers:
    """`a` where the mask is true, else `b`."""
    return mask.where(a, b)


OPERATIONS: dict[str, Callable] = {
    **{name: _library(name) for name in FUNCTIONS},
    **{name: _instruction(function) for name, function in INSTRUCTIONS.items()},
    **{f.__name__: f for f in (exp, expm1, tanh, sigmoid, log, log1p, log2, erf, sin, cos)},
    **{f.__name__: f for f in (sign, maximum, minimum, remainder, where)},
    "neg": lambda x: -x,
    "reciprocal": lambda x: 1.0 / x,
    "rsqrt": lambda x: 1.0 / x.llvm("sqrt"),
    "isnan": lambda x: x.is_nan(),
    "isinf": lambda x: abs(x).equals(float("inf")),
    "logical_not": lambda x: ~x,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a.equals(b),
    "ne": lambda a, b: a.differs(b),
    "logical_and": lambda a, b: a & b,
    "logical_or": lambda a, b: a | b,
    "logical_xor": lambda a, b: a ^ b,
}
