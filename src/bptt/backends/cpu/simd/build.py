"""Source to machine code."""

import ast
import functools
from typing import NamedTuple

import torch

from bptt.backends.cpu.simd.machine import machine
from bptt.backends.cpu.simd.vector import Shape

_compiled = 0


class Code(NamedTuple):
    """Machine code.

    Attributes:
        addresses: of the entries, by name.
        owner: keeps the code alive.
    """

    addresses: dict[str, int]
    owner: object


def build(source: str, entries: tuple[str, ...], dtype: torch.dtype) -> Code:
    """Compiles the functions `entries` of a source for numbers of `dtype`."""
    here = machine()
    real = str(dtype).removeprefix("torch.")
    return _build(source, entries, Shape(real, here.lanes[real], here.fused))


@functools.lru_cache(maxsize=None)
def _build(source: str, entries: tuple[str, ...], shape: Shape) -> Code:
    import numba

    from bptt.backends.cpu.simd.vocabulary import vocabulary

    global _compiled
    _compiled += 1
    names = dict(vocabulary(shape))
    exec(compile(source, "<kernel>", "exec"), names)
    defined = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    options = {"error_model": "numpy", "_nrt": False}
    for name in defined:
        if name not in entries:
            names[name] = numba.njit(
                no_cpython_wrapper=True, no_cfunc_wrapper=True, nogil=True, **options
            )(names[name])
    made = {
        name: numba.cfunc(numba.types.void(numba.types.intp), **options)(names[name])
        for name in entries
    }
    return Code({name: function.address for name, function in made.items()}, made)


def compiled() -> int:
    """How many sources were compiled in this process, not loaded."""
    return _compiled
