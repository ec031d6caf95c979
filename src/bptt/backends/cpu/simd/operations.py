"""What each operation of a stage does, on vectors; names and meaning are torch's."""

from collections.abc import Callable

from bptt.backends.cpu.simd.vector import Mask, Numbers


def _llvm(name: str) -> Callable:
    return lambda *given: given[0].llvm(name, *given[1:])


def _by_lane(name: str) -> Callable:
    return lambda *given: given[0].library(name, *given[1:])


def sign(x: Numbers) -> Numbers:
    """-1, 0 or 1; NaN gives 0, as torch has it."""
    return (x > 0.0).where(1.0, (x < 0.0).where(-1.0, 0.0))


def maximum(a: Numbers, b: Numbers) -> Numbers:
    """The larger; NaN if either is."""
    return (a > b).where(a, a.is_nan().where(a, b))


def minimum(a: Numbers, b: Numbers) -> Numbers:
    """The smaller; NaN if either is."""
    return (a < b).where(a, a.is_nan().where(a, b))


def remainder(a: Numbers, b: Numbers) -> Numbers:
    """The remainder with the divisor's sign, as Python's `%`."""
    left = a.library("fmod", b)
    off = left.differs(0.0) & ((left < 0.0) ^ (b < 0.0))
    return off.where(left + b, left)


def sigmoid(x: Numbers) -> Numbers:
    """The logistic function."""
    return 1.0 / (1.0 + (-x).library("exp"))


def where(mask: Mask, a: Numbers, b: Numbers) -> Numbers:
    """`a` where the mask is true, else `b`."""
    return mask.where(a, b)


LIBRARY = {
    "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p", "log2": "log2",
    "log10": "log10", "sin": "sin", "cos": "cos", "tan": "tan", "asin": "asin", "acos": "acos",
    "atan": "atan", "sinh": "sinh", "cosh": "cosh", "asinh": "asinh", "acosh": "acosh",
    "atanh": "atanh", "tanh": "tanh", "erf": "erf", "erfc": "erfc", "pow": "pow",
    "atan2": "atan2", "fmod": "fmod",
}  # fmt: skip
INTRINSICS = {
    "abs": "fabs", "sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "round": "rint",
    "trunc": "trunc",
}  # fmt: skip

OPERATIONS: dict[str, Callable] = {
    **{name: _by_lane(function) for name, function in LIBRARY.items()},
    **{name: _llvm(function) for name, function in INTRINSICS.items()},
    "neg": lambda x: -x,
    "reciprocal": lambda x: 1.0 / x,
    "rsqrt": lambda x: 1.0 / x.llvm("sqrt"),
    "sign": sign,
    "sigmoid": sigmoid,
    "isnan": lambda x: x.is_nan(),
    "isinf": lambda x: x.llvm("fabs").equals(float("inf")),
    "logical_not": lambda x: ~x,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "maximum": maximum,
    "minimum": minimum,
    "remainder": remainder,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a.equals(b),
    "ne": lambda a, b: a.differs(b),
    "logical_and": lambda a, b: a & b,
    "logical_or": lambda a, b: a | b,
    "logical_xor": lambda a, b: a ^ b,
    "where": where,
}
