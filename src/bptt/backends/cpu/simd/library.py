"""The C library's mathematics, for operations that have no formula of their own."""

# The operation's name to the library's.
FUNCTIONS = {
    "exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan",
    "sinh", "cosh", "asinh", "acosh", "atanh", "tanh", "erf", "erfc", "pow", "atan2", "fmod",
}  # fmt: skip
