"""How each of torch's operations that is more than point-wise is lowered, a module a family."""

from bptt.compiler.rules import (
    activations,
    copies,
    joins,
    normalisation,
    products,
    shapes,
    slices,
    softmax,
    sums,
)
from bptt.compiler.rules.table import HANDLERS

__all__ = [
    "HANDLERS",
    "activations",
    "copies",
    "joins",
    "normalisation",
    "products",
    "shapes",
    "slices",
    "softmax",
    "sums",
]
