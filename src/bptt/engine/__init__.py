"""An unroll on the reference backend: step by step there, by the adjoint recursion back."""

from bptt.engine.function import run

__all__ = ["run"]
