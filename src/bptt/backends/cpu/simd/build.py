"""Source to machine code."""

import functools
from typing import NamedTuple

import torch

from bptt.backends.cpu.simd.machine import machine

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
    return _build(source, entries, str(dtype).removeprefix("torch."), machine().name)


@functools.cache
def _build(source: str, entries: tuple[str, ...], real: str, name: str) -> Code:
    from bptt.backends.cpu.simd.compile import compile_source
    from bptt.backends.cpu.simd.load import load
    from bptt.backends.cpu.simd.target import lock

    global _compiled
    with lock:
        _compiled += 1
        return Code(*load(compile_source(source, entries, real, machine()), entries))


def compiled() -> int:
    """How many sources were compiled in this process, not loaded."""
    return _compiled
