"""Several calls of a compiled function at once, on the threads that torch has.

Torch's threads are OpenMP's, and spin for a while when they have nothing to do. A pool beside them
would fight them for the processor; so the function goes to their own team, through `GOMP_parallel`
of the library that torch is linked with. Where that has no such function (macOS, Windows), a pool
is all there is.

Threads that wait for each other must all be there, or they wait for ever. How many there are is
known to the team alone: it may be smaller than what was asked for. So each of its members asks it.
"""

import ctypes
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch

from bptt.backends.cpu.simd.code import build

_KIND = ctypes.CFUNCTYPE(None, ctypes.c_int64)
_PROCESS = os.getpid()
# What each thread of a team does: a team may be smaller than what was asked for.
_SHARE = """\
def share(block):
    # block: calls begun, calls wanted, the function's address, its block
    while claim(block, 0) < integer(block, 1):
        call(integer(block, 2), integer(block, 3))
"""
# As many claims as there are members, and their number added up over all of them.
_COUNT = """\
def count(block):
    # block: members, their numbers added up, the address of what says how many there are
    claim(block, 0)
    for i in range(ask(integer(block, 2))):
        claim(block, 1)
"""
Parallel = Callable[[Callable, int, int], None]


class Team(NamedTuple):
    """The threads that torch has.

    Attributes:
        parallel: has a function called once by each of so many threads, or of fewer.
        size: address of a function that says how many there are, if one of them asks.
        rest: address of a function that lets others use the processor.
    """

    parallel: Parallel
    size: int
    rest: int


def run(address: int, block: int, shares: int) -> None:
    """Calls the function at an address `shares` times with one block, as many at once as can be.

    Args:
        address: of a function `void f(int64_t *block)`, which knows by `claim` which call it is.
        block: the address that it is given.
        shares: how often.
    """
    if shares == 1:
        _function(address)(block)
        return
    share = _function(build(_SHARE, ("share",), torch.float32).addresses["share"])
    calls = (ctypes.c_int64 * 4)(0, shares, address, block)
    # A team does not live on in a forked process, which is most often one of several anyway.
    parallel = _alone if os.getpid() != _PROCESS else _parallel() or _pool
    parallel(share, ctypes.addressof(calls), shares)


def together(address: int, block: int, threads: int) -> None:
    """Has the function called once by each of so many threads of the team, or of fewer.

    Args:
        address: of a function `void f(int64_t *block)`, which asks the team how many they are.
        block: the address that it is given.
        threads: at most.
    """
    here = torch_team()
    assert here is not None
    here.parallel(_function(address), block, threads)


def torch_team() -> Team | None:
    """The team; None where there is none, or it does not know its size."""
    return _team() if os.getpid() == _PROCESS else None


@functools.cache
def _function(address: int) -> Callable[[int], None]:
    return _KIND(address)


def _alone(share: Callable, block: int, threads: int) -> None:
    share(block)


@functools.cache
def _team() -> Team | None:
    parallel = _parallel()
    if parallel is None:
        return None
    size = _address(ctypes.CDLL(str(_torch())), "omp_get_num_threads")
    rest = _address(ctypes.CDLL(None), "usleep")
    if not (size and rest):
        return None
    tally = (ctypes.c_int64 * 3)(0, 0, size)
    count = _function(build(_COUNT, ("count",), torch.float32).addresses["count"])
    parallel(count, ctypes.addressof(tally), 2)
    members, added, _ = tally
    return Team(parallel, size, rest) if added == members * members else None


def _address(library: ctypes.CDLL, name: str) -> int:
    """The address of a function, 0 if the library has none."""
    found = getattr(library, name, None)
    return ctypes.cast(found, ctypes.c_void_p).value or 0 if found else 0


@functools.cache
def _parallel() -> Parallel | None:
    """OpenMP's, or None if torch's library has no GOMP_parallel."""
    try:
        library = ctypes.CDLL(str(_torch()))
        parallel = library.GOMP_parallel
    except (OSError, AttributeError):
        return None
    parallel.restype = None
    parallel.argtypes = [_KIND, ctypes.c_int64, ctypes.c_uint, ctypes.c_uint]
    return lambda share, block, threads: parallel(share, block, threads, 0)


def _torch() -> Path:
    """The library that calls OpenMP for torch: what it depends on is found through it."""
    folder = Path(torch.__file__).parent / "lib"
    return next(iter(folder.glob("*torch_cpu.*")), folder)


def _pool(share: Callable, block: int, threads: int) -> None:
    """One share here, the others on threads that wait for it."""
    others = [_threads().submit(share, block) for _ in range(threads - 1)]
    share(block)
    for other in others:
        other.result()


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), "bptt")
