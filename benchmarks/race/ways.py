"""Ways to run a job in PyTorch: bptt, a Python loop, torch.nn.

Every way gives, for a job, a `Runner`, or None where it does not have the cell.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import bptt
from race import cells
from race.jobs import KINDS, Job

Numbers = dict[str, Tensor]


class Runner(NamedTuple):
    """A job, ready to run.

    Attributes:
        forward: outputs alone, nothing kept for a backward pass.
        outputs: what `forward` returned, as a tensor (T, B, H).
        train: outputs and every gradient; None if the way knows no gradients.
        read: what `train` returned: "outputs" (T, B, H), and gradients by the names and in the
            layouts of the job's targets.
    """

    forward: Callable[[], Any]
    outputs: Callable[[Any], Tensor]
    train: Callable[[], Any] | None = None
    read: Callable[[Any], Numbers] | None = None


Way = Callable[[Job], Runner | None]


Outputs = Callable[[], Tensor]


def _in_torch(outputs: Outputs, targets: dict[str, Tensor], adjoint: Tensor) -> Runner:
    wanted = list(targets.values())

    def forward() -> Tensor:
        with torch.no_grad():
            return outputs()

    def train() -> tuple[Tensor, ...]:
        found = outputs()
        return found, *torch.autograd.grad(found, wanted, adjoint)

    return Runner(
        forward, lambda result: result, train, lambda result: _named(["outputs", *targets], result)
    )


def _named(names: Sequence[str], tensors: Sequence[Tensor]) -> Numbers:
    return dict(zip(names, (tensor.detach() for tensor in tensors), strict=True))


def _unrolled(module: nn.Module, job: Job, backend: str) -> Outputs:
    return lambda: bptt.unroll(module, job.inputs, job.bare_state, backend=backend)[0]


def chosen(job: Job, backend: str) -> str:
    """The backend that runs the job: "auto" may have fallen back."""
    return bptt.plan(job.module, job.inputs, job.bare_state, backend=backend).backend


def ours(job: Job, backend: str) -> Runner:
    """`bptt.unroll`."""
    return _in_torch(_unrolled(job.module, job, backend), job.targets, job.adjoint)


def own_lstm(job: Job, backend: str) -> Runner | None:
    """`bptt.unroll` of an LSTM that a user wrote, with the numbers of the built-in one."""
    if job.name != "LSTM":
        return None
    module = cells.LSTM(job.shape.I, job.shape.H)
    pairs = {"Wx": module.drive.weight, "Ws": module.recur.weight, "b": module.drive.bias}
    return _stand_in(_unrolled(module, job, backend), pairs, job)


def loop(job: Job) -> Runner:
    """The loop in Python that one writes by hand, differentiated by autograd."""

    def outputs() -> Tensor:
        state, found = job.bare_state, []
        for x in job.inputs:
            state = job.module(x, state)
            found.append(state if isinstance(state, Tensor) else state[0])
        return torch.stack(found)

    return _in_torch(outputs, job.targets, job.adjoint)


def torch_nn(job: Job) -> Runner | None:
    """torch.nn's own module, with the job's numbers."""
    return _module(KINDS[job.name].in_torch, job)


def drop_in(job: Job) -> Runner | None:
    """bptt.nn's module of the same name."""
    kind = KINDS[job.name].in_torch
    return _module(kind and getattr(bptt.nn, kind.__name__), job)


def _module(kind: Callable[[int, int], nn.RNNBase] | None, job: Job) -> Runner | None:
    if kind is None:
        return None
    module = kind(job.shape.I, job.shape.H)
    w_ih, w_hh, b_ih, b_hh = module.parameters()
    nn.init.zeros_(b_hh)  # where the cell has one bias; GRU's is overwritten
    biases = {"bx": b_ih, "bs": b_hh} if isinstance(module, nn.GRU) else {"b": b_ih}
    pairs: dict[str, Tensor] = {"Wx": w_ih, "Ws": w_hh, **biases}
    state = tuple(leaf[None] for leaf in job.state)
    hx = state if len(state) > 1 else state[0]
    return _stand_in(lambda: module(job.inputs, hx)[0], pairs, job)


def _stand_in(outputs: Outputs, pairs: dict[str, Tensor], job: Job) -> Runner:
    """A runner of another module: takes the job's numbers, and returns its gradients transposed."""
    theirs = dict(job.module.named_parameters())
    with torch.no_grad():
        for name, weight in pairs.items():
            weight.copy_(theirs[name].t())
    targets = job.targets | pairs

    def read(result: Any) -> Numbers:
        found = _named(["outputs", *targets], result)
        return found | {name: found[name].t() for name in pairs}

    return _in_torch(outputs, targets, job.adjoint)._replace(read=read)
