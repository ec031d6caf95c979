"""From an object file's bytes to addresses of functions, by LLVM alone."""

import ctypes
import functools
import itertools
import math

import llvmlite.binding as llvm

from bptt.backends.cpu.simd.libm import FUNCTIONS, ROUNDING

_numbers = itertools.count()


@functools.cache
def _linker() -> llvm.LLJIT:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.create_lljit_compiler()


@functools.cache
def _symbols() -> dict[str, int]:
    """Addresses of the C library's mathematics, found where Python's own `math` finds them."""
    library = ctypes.CDLL(getattr(math, "__file__", None))
    names = [name + suffix for name in FUNCTIONS + ROUNDING for suffix in ("", "f")]
    return {name: ctypes.cast(library[name], ctypes.c_void_p).value or 0 for name in names}


def load(code: bytes, entries: tuple[str, ...]) -> tuple[dict[str, int], object]:
    """Addresses of the entries, and what keeps them valid."""
    builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    for name, address in _symbols().items():
        builder.import_symbol(name, address)
    for name in entries:
        builder.export_symbol(name)
    found = builder.link(_linker(), f"bptt{next(_numbers)}")
    return {name: found[name] for name in entries}, found
