"""The C library's mathematics, for operations that have no formula of their own."""

FUNCTIONS = (
    "log10", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh",
    "atanh", "erf", "erfc", "pow", "atan2", "fmod",
)  # fmt: skip
# What LLVM calls where a machine has no instruction for it.
ROUNDING = ("floor", "ceil", "rint", "trunc")
