"""Where a state stops being a number."""

from typing import NamedTuple

import torch
from torch import Tensor

from bptt.inspect.jacobian import flat
from bptt.inspect.trajectory import Trajectory
from bptt.step import Leaves


class Breakage(NamedTuple):
    """The first number of a state that is none.

    Attributes:
        step: when, in time, counted from 0.
        sequence: in which sequence.
        unit: which number of the sequence's state, all leaves side by side.
        value: nan, inf or -inf.
        feature: a number of that step's inputs that is none, either; None if all are.
        size: the largest number of that sequence's state before the step.
    """

    step: int
    sequence: int
    unit: int
    value: float
    feature: int | None
    size: float


def first_breakage(path: Trajectory) -> Breakage | None:
    """The earliest number of the states, as processed, that is not finite; None if all are."""
    shape = path.live.shape
    states = flat(path, [leaf.flatten(0, 1) for leaf in path.after]).view(*shape, -1)
    broken = (~states.isfinite().cpu() & path.live[..., None]).nonzero()
    if not len(broken):
        return None
    step, sequence, unit = broken[0].tolist()
    value = float(states[step, sequence, unit])
    features = (~_numbers(path.inputs, step, sequence).isfinite()).nonzero().flatten().tolist()
    time = int(path.course.counts[sequence]) - 1 - step if path.course.reverse else step
    before = [leaf[step, sequence].abs().max() for leaf in (path.before[i] for i in path.real)]
    size = float(torch.stack(before).max())
    return Breakage(time, sequence, unit, value, features[0] if features else None, size)


def _numbers(inputs: Leaves, step: int, sequence: int) -> Tensor:
    """One step's inputs side by side."""
    return torch.cat([leaf[step, sequence].flatten().double() for leaf in inputs])
