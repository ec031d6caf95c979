"""Who takes part, and on how many cores."""

import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from race import ways
from race.ways import Way

EXTRAS = {"jax": ("race.jax_way", "jax_scan"), "onnxruntime": ("race.onnx_way", "onnx_runtime")}
PEERS = ("torch.nn", "loop", *EXTRAS)
OURS, OWN = "bptt", "bptt, own LSTM"


def use_cores(count: int) -> None:
    """Confine this process to so many cores, one thread on each, before anyone starts threads.

    jax has no setting for its threads: it takes as many as the process has cores.
    """
    torch.set_num_threads(count)
    os.environ["JAX_PLATFORMS"] = "cpu"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[:count])


def cores() -> list[int]:
    """One processor of each core: two that share a core would share its arithmetic units."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))
    found: dict[str, int] = {}
    for processor in sorted(os.sched_getaffinity(0)):
        path = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
        found.setdefault(path.read_text() if path.exists() else str(processor), processor)
    return list(found.values())


def entrants(names: Sequence[str], backend: str) -> tuple[dict[str, Way], list[str]]:
    """Ours and the peers of these names, by name; and the names of those not installed."""
    found: dict[str, Way] = {
        OURS: lambda job: ways.ours(job, backend),
        OWN: lambda job: ways.own_lstm(job, backend),
    }
    missing = []
    for name in names:
        try:
            found[name] = _peer(name)
        except ModuleNotFoundError as error:
            missing.append(f"{name} ({error})")
    return found, missing


def _peer(name: str) -> Callable:
    if name not in EXTRAS:
        return {"torch.nn": ways.torch_nn, "loop": ways.loop}[name]
    module, function = EXTRAS[name]
    return getattr(importlib.import_module(module), function)
