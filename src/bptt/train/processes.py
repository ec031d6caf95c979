"""Several processes that train one network: who am I, and what do all of us say."""

import os
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from bptt.errors import ArgumentError

T = TypeVar("T")


def rank() -> int:
    """This process's number among all that train together; 0 writes the files.

    Before the processes have met, the launcher's environment tells it: torchrun sets RANK, and
    Lightning sets LOCAL_RANK for the processes that it starts beside the first one.
    """
    if dist.is_initialized():
        return dist.get_rank()
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this is the process that writes and speaks."""
    return rank() == 0


def launched_by_torchrun() -> bool:
    """Whether torchrun started this process and its siblings, on this machine and others."""
    return dist.is_torchelastic_launched()


def wanted(devices: int) -> int:
    """How many processes will train together: as many as torchrun started, else `devices`.

    Raises:
        ArgumentError: there are GPUs, but fewer than this machine's processes.
    """
    if launched_by_torchrun():
        devices = int(os.environ["WORLD_SIZE"])
    here, gpus = devices // nodes(), torch.cuda.device_count()
    cores = os.cpu_count() or 1
    if not gpus and not launched_by_torchrun() and here > cores:
        raise ArgumentError(f"--devices {devices} needs {here} cores here; there are {cores}")
    if 0 < gpus < here:
        raise ArgumentError(f"--devices {devices} needs {here} GPUs here; there are {gpus}")
    return devices


def nodes() -> int:
    """Over how many machines they are spread."""
    if not launched_by_torchrun():
        return 1
    return int(os.environ["WORLD_SIZE"]) // int(os.environ["LOCAL_WORLD_SIZE"])


def total(values: list[float], device: torch.device) -> list[float]:
    """The values of all processes, added up one by one; every process must call."""
    return _reduce(values, device, dist.ReduceOp.SUM)


def largest(values: list[float], device: torch.device) -> list[float]:
    """The largest of all processes' values, one by one; every process must call."""
    return _reduce(values, device, dist.ReduceOp.MAX)


def gather(value: T) -> list[T]:
    """The value of each process, by rank; every process must call."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


def first_says(value: T) -> T:
    """The first process's value, in all of them; every process must call."""
    if world() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def _reduce(values: list[float], device: torch.device, way: Any) -> list[float]:
    if world() == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(tensor, way)
    return tensor.tolist()
