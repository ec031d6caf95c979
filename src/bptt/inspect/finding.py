"""One thing that was found, and all figures that findings rest on."""

from typing import Literal, NamedTuple

import numpy as np

from bptt.inspect.breakage import Breakage
from bptt.inspect.credit import Credit
from bptt.inspect.decay import Decay
from bptt.inspect.jacobian import Jacobians
from bptt.inspect.kinks import Kink
from bptt.inspect.lyapunov import Lyapunov
from bptt.inspect.memory import Memory
from bptt.inspect.saturation import Saturation
from bptt.inspect.truncation import Truncation
from bptt.methods import Truncated

Severity = Literal["problem", "warning", "note", "good"]
SEVERITIES: tuple[Severity, ...] = ("problem", "warning", "note", "good")


class Finding(NamedTuple):
    """One thing that was found.

    Attributes:
        name: of what it is, such as "vanishing".
        severity: "problem", "warning", "note" or "good".
        statement: what is so, with the figure; steps, sequences and units counted from 0.
        figure: the number that it rests on.
        advice: what to try; "" where nothing need be.
        step: the step that the statement names, counted from 0; None if it names none.
    """

    name: str
    severity: Severity
    statement: str
    figure: float
    advice: str = ""
    step: int | None = None

    def counted_from(self, first: int) -> "Finding":
        """The same for readers whose first step has another number than 0.

        >>> finding = Finding("not finite", "problem", "nan first at step 3.", 3.0, step=3)
        >>> finding.counted_from(1).statement
        'nan first at step 4.'
        """
        if self.step is None:
            return self
        own, theirs = f"at step {self.step}", f"at step {self.step + first}"
        return self._replace(statement=self.statement.replace(own, theirs, 1))

    def __str__(self) -> str:
        advice = f"\n{'':10}Try: {self.advice}" if self.advice else ""
        return f"{self.severity:<9} {self.statement}{advice}"


class Seen(NamedTuple):
    """All figures of a sample; None where there are none.

    Attributes:
        steps: T of the sample.
        start: the step of the batch that the sample's first one is.
        sequences: what the batch calls the sample's sequences.
        reverse: whether later steps come before earlier ones.
        method: the truncation that the network is trained with, if any.
        losses: (T,) E_t; empty where the state is no number.
        norms: length of each sequence's gradient to the parameters, as far back as it has not
            grown tenfold.
        largest: number in the states that is one.
        spread: (I,) standard deviation of each input feature.
        kinks: where the step has no derivative.
    """

    steps: int
    start: int
    sequences: list[int]
    breakage: Breakage | None
    credit: Credit | None
    decay: Decay | None
    truncation: Truncation | None
    memory: Memory | None
    jacobians: Jacobians | None
    lyapunov: Lyapunov | None
    saturation: Saturation | None
    reverse: bool
    method: Truncated | None
    losses: np.ndarray
    norms: np.ndarray
    largest: float
    spread: np.ndarray
    kinks: tuple[Kink, ...]
