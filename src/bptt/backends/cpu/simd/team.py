"""Several calls of a compiled function at once."""

import ctypes
import functools

_KIND = ctypes.CFUNCTYPE(None, ctypes.c_int64)


@functools.cache
def _function(address: int):
    return _KIND(address)


def run(address: int, block: int, shares: int) -> None:
    """Calls the function at `address` with `block`, `shares` times."""
    function = _function(address)
    for _ in range(shares):
        function(block)
