"""What `reset=` and `lengths=` cost, and what unequal lengths save beside packing them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import bptt
from back import clock, exact
from back.clock import Result, Spent, Watch
from race import jobs
from race.jobs import Job, Shape

SHAPES = [Shape(2000, 1, 8, 64), Shape(100, 32, 16, 64), Shape(1000, 16, 8, 64)]
WIDE = [Shape(100, 32, 64, 128), Shape(100, 64, 256, 256)]
CELLS = ("tanh RNN", "GRU", "LSTM", "leaky", "layer-norm LSTM")
EPISODE = 20  # steps, on average, where there are resets
PACKED = [Shape(100, 32, 16, 64), Shape(1000, 16, 8, 64), Shape(100, 32, 64, 128)]


def trained(outputs: Callable[[], Tensor], targets: list[Tensor], adjoint: Tensor) -> Spent:
    """Forward, and backward to the targets."""
    watch = Watch()
    found = outputs()
    with watch.backward():
        torch.autograd.grad(found, targets, adjoint)
    return watch.spent()


def cost(cell: str, shape: Shape, budget: float) -> Result:
    """One cell at one shape: neither, resets that are there, lengths that are T but for one."""
    job = jobs.job(cell, shape)
    reset = torch.rand(shape.T, shape.B) < 1 / EPISODE
    lengths = torch.full((shape.B,), shape.T)
    lengths[0] -= 1
    zeros = pytree.tree_map(torch.zeros_like, job.bare_state)
    options = {
        "neither": {},
        "reset": {"reset": reset, "reset_state": zeros},
        "lengths": {"lengths": lengths},
    }
    ways = {name: _way(job, **option) for name, option in options.items()}
    return {"cell": cell, "shape": shape, "times": clock.in_turn(ways, budget)}


def _way(job: Job, **options: Any) -> clock.Way:
    targets = list(job.targets.values())
    return lambda: trained(
        lambda: bptt.unroll(job.module, job.inputs, job.bare_state, **options)[0],
        targets,
        job.adjoint,
    )


def packed(shape: Shape, budget: float) -> Result:
    """An LSTM on lengths from T/4 to T: bptt.nn's with `lengths=`, torch.nn's on packed sequences.

    Raises:
        AssertionError: the two do not agree.
    """
    torch.manual_seed(0)
    T, B, I, H = shape  # noqa: E741
    theirs = nn.LSTM(I, H)
    ours = bptt.nn.LSTM(I, H)
    ours.load_state_dict(theirs.state_dict())
    inputs, adjoint = torch.randn(T, B, I).requires_grad_(), torch.randn(T, B, H)
    lengths = torch.linspace(T // 4, T, B).long()[torch.randperm(B)]

    def pack() -> Tensor:
        rows = nn.utils.rnn.pack_padded_sequence(inputs, lengths, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(theirs(rows)[0], total_length=T)[0]

    runs = {
        "bptt": (lambda: ours(inputs, lengths=lengths)[0], [inputs, *ours.parameters()]),
        "packed": (pack, [inputs, *theirs.parameters()]),
    }
    found, wanted = (torch.autograd.grad(run(), to, adjoint) for run, to in runs.values())
    error = exact.agree(f"lengths=, LSTM at {shape}", found, wanted)
    ways = {name: _trained(*run, adjoint) for name, run in runs.items()}
    times = clock.in_turn(ways, budget)
    return {"shape": shape, "live": float(lengths.sum()) / (T * B), "error": error, "times": times}


def _trained(run: Callable[[], Tensor], targets: list[Tensor], adjoint: Tensor) -> clock.Way:
    return lambda: trained(run, targets, adjoint)
