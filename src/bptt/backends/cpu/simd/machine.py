"""What vectors this machine has."""

import functools
import os
import platform
from typing import NamedTuple

import llvmlite.binding as llvm


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


def machine() -> Machine:
    """The widest vectors of this machine, or those that `BPTT_VECTOR` names.

    Raises:
        ValueError: if `BPTT_VECTOR` names vectors that this machine lacks.
    """
    return _machine(os.environ.get("BPTT_VECTOR") or None)


@functools.cache
def _machine(forced: str | None) -> Machine:
    there = _there()
    if forced is None:
        return MACHINES[there[0]]
    if forced not in there:
        raise ValueError(f"expected BPTT_VECTOR to be one of {', '.join(there)}, got {forced!r}")
    return MACHINES[forced]


def _there() -> list[str]:
    """The machine's vectors, widest first."""
    found = {name for name, there in llvm.get_host_cpu_features().items() if there}
    if platform.machine().lower() in ("arm64", "aarch64"):
        return ["neon", "scalar"]
    needs = {
        "avx512": {"avx512f", "avx512vl", "avx512dq", "avx512bw", "fma", "avx2"},
        "avx2": {"avx2", "fma"},
        "sse": {"sse2"},
        "scalar": set(),
    }
    return [name for name, features in needs.items() if features <= found]
