"""Source to machine code, compiled once and kept."""

import functools
import hashlib
import threading
from pathlib import Path
from typing import NamedTuple

import torch

from bptt.backends.cpu.simd import store
from bptt.backends.cpu.simd.machines import Machine, machine
from bptt.version import __version__

_lock = threading.RLock()
_codes: dict[tuple, "Code"] = {}
_count = 0


class Code(NamedTuple):
    """Machine code in memory.

    Attributes:
        addresses: of the entries, by name.
        owner: what keeps the code there.
    """

    addresses: dict[str, int]
    owner: object


def build(source: str, entries: tuple[str, ...], dtype: torch.dtype) -> Code:
    """The machine code of a source: at hand, from the disk, or compiled.

    Args:
        source: functions in the words of `vocabulary`.
        entries: those that are called from outside, with the address of a block.
        dtype: of the numbers, float32 or float64.

    Raises:
        BackendError: if there is no compiler.
        TypeError: if the source says what cannot be compiled, with its line.
    """
    here = machine()
    given = source, entries, dtype, here.name
    with _lock:
        if given not in _codes:
            _codes[given] = _make(source, entries, str(dtype).removeprefix("torch."), here)
        return _codes[given]


def compiled() -> int:
    """How many sources were compiled in this process; those read from the disk do not count."""
    return _count


def _make(source: str, entries: tuple[str, ...], real: str, here: Machine) -> Code:
    from bptt.backends.cpu.simd.load import load

    key = _key(source, entries, real, here.name)
    code = store.read(key)
    if code is None:
        code = _compile(source, entries, real, here)
        store.write(key, code, source)
    return Code(*load(code, entries))


def _compile(source: str, entries: tuple[str, ...], real: str, here: Machine) -> bytes:
    from bptt.backends.cpu.simd.compile import compile_source

    global _count
    _count += 1
    return compile_source(source, entries, real, here)


def _key(*given: object) -> str:
    """A name for all that the machine code depends on."""
    name = str(given[-1])
    return hashlib.sha256(repr((given, _compiler(name))).encode()).hexdigest()[:32]


@functools.cache
def _compiler(name: str) -> tuple[str, ...]:
    """What compiles: LLVM for a processor, and every file of this package."""
    from bptt.backends.cpu.simd import target

    files = sorted(Path(__file__).parent.glob("*.py"))
    return __version__, *target.identity(name), *(file.read_text() for file in files)
