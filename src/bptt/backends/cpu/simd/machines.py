"""What vectors this machine has."""

import functools
import os
import platform
from typing import NamedTuple

from bptt.errors import BackendError


class Machine(NamedTuple):
    """The vectors that kernels use.

    Attributes:
        name: `"avx512"`, `"avx2"`, `"neon"`, `"sse"` or `"scalar"`.
        lanes: numbers in a vector, by dtype name.
        registers: vectors that fit in registers at once.
        fused: whether a multiply-add is one instruction.
    """

    name: str
    lanes: dict[str, int]
    registers: int
    fused: bool


MACHINES = {
    name: Machine(name, {"float32": lanes, "float64": max(lanes // 2, 1)}, registers, fused)
    for name, lanes, registers, fused in (
        ("avx512", 16, 32, True),
        ("avx2", 8, 16, True),
        ("neon", 4, 32, True),
        ("sse", 4, 16, False),
        ("scalar", 1, 16, False),
    )
}
# What x86 processors must have for each, widest first.
NEEDS = {
    "avx512": {"avx512f", "avx512vl", "avx512dq", "avx512bw", "avx2", "fma"},
    "avx2": {"avx2", "fma"},
    "sse": {"sse2"},
    "scalar": set(),
}


def machine() -> Machine:
    """The widest vectors of this machine, or those that `BPTT_VECTOR` names.

    Raises:
        BackendError: if llvmlite is missing, or if `BPTT_VECTOR` names vectors that are not there.

    Example:
        >>> machine().name in MACHINES
        True
    """
    return _machine(os.environ.get("BPTT_VECTOR"))


@functools.cache
def _machine(forced: str | None) -> Machine:
    there = available()
    if forced and forced not in there:
        raise BackendError(
            f"expected BPTT_VECTOR to be one of {', '.join(there)} on this machine, got {forced!r}"
        )
    return MACHINES[forced or there[0]]


def available() -> list[str]:
    """The machine's vectors, widest first."""
    found = _features()
    if platform.machine().lower() in ("arm64", "aarch64"):
        return ["neon", "scalar"]
    return [name for name, features in NEEDS.items() if features <= found]


def _features() -> set[str]:
    try:
        import llvmlite.binding as llvm
    except (ImportError, OSError) as error:
        raise BackendError(
            "expected llvmlite, which compiles kernels for the CPU, but it cannot be imported "
            f"({error}): install it anew with `pip install --force-reinstall llvmlite`, "
            'or choose backend="reference"'
        ) from error
    return {name for name, there in llvm.get_host_cpu_features().items() if there}
