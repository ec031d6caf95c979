"""One error of a trained network, taken back through time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bptt.errors import ArgumentError, RunError
from bptt.inspect.credit import Credit, credit
from bptt.tasks.excerpts import Answer
from bptt.train.subject import RunSubject, only, open_subject
from bptt.unroll import unroll

SEARCHED = 256  # stretches among which the largest error is looked for


class Input(NamedTuple):
    """One input of a step.

    Attributes:
        name: what it is called.
        value: what the data have there, in their own unit.
        gradient: dE_t/dx as the network reads it: E grows with x where it is above 0.
        signed: whether it has a sign; of an input that several numbers stand for, such as a word,
            it is the norm over these.
    """

    name: str
    value: Any
    gradient: float
    signed: bool = True


class Step(NamedTuple):
    """One step and what it is blamed for.

    Attributes:
        k: its number, from 1.
        lag: steps before the loss time.
        name: what it is called.
        norm: ||dE_t/ds_k||.
        share: of that of all steps together.
        inputs: in the network's order.
    """

    k: int
    lag: int
    name: str
    norm: float
    share: float
    inputs: tuple[Input, ...]


@dataclass(frozen=True, eq=False)
class Blame:
    """An error and its way back.

    Attributes:
        subject: the one stretch of the run's test data that ends with the loss time.
        credit: of that loss time.
        error: E_t.
        steps: latest first.
        answers: what the network said there, and what was to be said.
        searched: among how many stretches it is the largest error; 0 where the time was named.
    """

    subject: RunSubject
    credit: Credit
    error: float
    steps: tuple[Step, ...]
    answers: tuple[Answer, ...]
    searched: int

    @property
    def at(self) -> str:
        """What the loss time is called."""
        return self.steps[0].name

    def within(self, share: float) -> int:
        """How many of the last steps carry so much of the whole."""
        carried = np.cumsum([step.share for step in self.steps])
        return int(np.searchsorted(carried, share * (1 - 1e-9))) + 1

    def strongest(self, count: int) -> list[tuple[Step, Input]]:
        """The inputs that move the error most, over all steps."""
        pairs = [(step, given) for step in self.steps for given in step.inputs]
        return sorted(pairs, key=lambda pair: -abs(pair[1].gradient))[:count]

    def picture(self) -> Any:
        """The network unfolded, this error's gradient on its lines."""
        from bptt.picture import draw

        subject = self.subject
        times = subject.counted[:, 0].nonzero().flatten().tolist()
        return draw(
            subject.model, subject.inputs, subject.loss, targets=subject.targets,
            state=subject.state, times=times, names=subject.times[0],
        )  # fmt: skip


def blame(run: Path, *, series: str | None = None, at: str | None = None) -> Blame:
    """The steps and inputs that an error of a run is blamed on.

    Args:
        run: the run's folder.
        series: the name of a series or sequence of the test data; None: of all.
        at: what the loss time is called; None: the largest error of as many as 256 stretches.

    Raises:
        RunError: as `open_subject` does, or the network's output is no number.
        ArgumentError: no such series or step, or nothing to compare with at that step.
    """
    if at is not None:
        return _explained(open_subject(run, series=series, at=at, rows=1), 0)
    subject = open_subject(run, series=series, rows=SEARCHED)
    return _explained(only(subject, _worst(subject)), len(subject))


def _worst(subject: RunSubject) -> int:
    """The stretch whose last step has the largest error."""
    with torch.no_grad():
        outputs, _ = unroll(subject.model, subject.inputs, subject.state, lengths=subject.lengths)
    rows = _rows(subject, outputs)
    lasts = [float(rows[subject.last(b), b]) for b in range(len(subject))]
    return int(np.argmax(np.nan_to_num(lasts, nan=np.inf)))


def _rows(subject: RunSubject, outputs: Tensor) -> Tensor:
    """(T, B) E_t of each stretch."""
    found = subject.loss(outputs, subject.targets)
    return found.flatten(2).sum(2) if found.dim() > 2 else found


def _explained(subject: RunSubject, searched: int) -> Blame:
    last = subject.last(0)
    if not bool(subject.counted[last, 0]):
        raise ArgumentError(
            f"there is nothing to compare with at {subject.times[0][last]}: the data have no value "
            "for what the network says there. Name another step"
        )
    inputs = subject.inputs.detach().clone().requires_grad_()
    outputs, _ = unroll(subject.model, inputs, subject.state)
    error = _rows(subject, outputs)[last, 0]
    if not error.isfinite():
        raise RunError(
            f"the network's error at {subject.times[0][last]} is {float(error.detach())}, so there "
            "is no way back from it. Its weights or its inputs are too large: train again, with a "
            "smaller --learning-rate or with --clip"
        )
    (slopes,) = torch.autograd.grad(error, inputs)
    found = credit(
        subject.model, subject.inputs, subject.loss, targets=subject.targets,
        state=subject.state, times=[last],
    )  # fmt: skip
    return Blame(
        subject=subject,
        credit=found,
        error=float(error.detach()),
        steps=tuple(_steps(subject, found.state[0], slopes[:, 0])),
        answers=tuple(subject.answers(last, 0, outputs[last, 0])),
        searched=searched,
    )


def _steps(subject: RunSubject, norms: Sequence[float], slopes: Tensor) -> list[Step]:
    total, last = float(np.sum(norms)) or 1.0, subject.last(0)
    return [
        Step(
            k + 1,
            last - k,
            subject.times[0][k],
            float(norms[k]),
            float(norms[k]) / total,
            tuple(_inputs(subject, k, slopes[k])),
        )
        for k in range(last, -1, -1)
    ]


def _inputs(subject: RunSubject, k: int, slopes: Tensor) -> list[Input]:
    """Each input once; numbers of one name stand for one word."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(subject.names):
        places.setdefault(name, []).append(place)
    return [
        Input(
            name,
            subject.readings[0][name][k] if name in subject.readings[0] else None,
            float(slopes[own[0]]) if len(own) == 1 else float(slopes[own].norm()),
            len(own) == 1,
        )
        for name, own in places.items()
    ]
