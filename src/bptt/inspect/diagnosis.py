"""What is wrong with a recurrent network's learning, in plain words, and what to try."""

import textwrap
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from bptt.errors import ArgumentError
from bptt.inspect.credit import Credit
from bptt.inspect.decay import Decay
from bptt.inspect.examination import Examination
from bptt.inspect.finding import Finding
from bptt.inspect.findings import findings
from bptt.inspect.jacobian import Jacobians
from bptt.inspect.losses import Loss
from bptt.inspect.lyapunov import Lyapunov
from bptt.inspect.memory import Memory
from bptt.inspect.models import subject
from bptt.inspect.sample import sample
from bptt.inspect.saturation import Saturation
from bptt.inspect.showing import to_polars
from bptt.inspect.subject import Lengths
from bptt.inspect.truncation import Truncation
from bptt.methods import Method

SEQUENCES, STEPS = 8, 256  # enough for means that do not hang on one sequence; seconds of work


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis:
    """What was found, the weightiest first, and the figures that it rests on.

    Steps, sequences, units and features that it speaks of are counted from 0.

    Attributes:
        findings: statements with severity, figure and advice.
        sample: what was looked at, in words.
        credit, decay, truncation, memory, jacobians, lyapunov, saturation: results on the sample;
            None where there is none.
        missing: by name of such a result, why there is none.
    """

    findings: list[Finding]
    sample: str
    credit: Credit | None
    decay: Decay | None
    truncation: Truncation | None
    memory: Memory | None
    jacobians: Jacobians | None
    lyapunov: Lyapunov | None
    saturation: Saturation | None
    missing: dict[str, str]

    def __getitem__(self, name: str) -> Finding:
        """The finding of a name, such as "vanishing"; KeyError if that was not found."""
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(name)

    def __contains__(self, name: str) -> bool:
        return any(finding.name == name for finding in self.findings)

    def to_frame(self) -> Any:
        """A polars DataFrame: name, severity, figure, statement, advice."""
        names = ("name", "severity", "figure", "statement", "advice")
        return to_polars({name: [getattr(f, name) for f in self.findings] for name in names})

    def plot(self) -> Any:
        """The chart of the decay, on which most of the findings rest.

        Raises:
            ArgumentError: there is none.
        """
        if self.decay is None:
            raise ArgumentError(f"plot: there is no decay to show. {self.missing['decay']}")
        return self.decay.plot()

    def __repr__(self) -> str:
        lines = [f"Diagnosis of {self.sample}"]
        for finding in self.findings:
            lines += textwrap.wrap(f"{finding.severity:<9}{finding.statement}", **_WRAPPED)
            if finding.advice:
                lines += textwrap.wrap(f"{'':<9}Try: {finding.advice}", **_WRAPPED)
        return "\n".join(lines)


_WRAPPED: Any = {"width": 96, "subsequent_indent": " " * 9, "break_on_hyphens": False}


def diagnose(
    model: Any,
    inputs: Any,
    loss: Loss | None = None,
    *,
    targets: Any = None,
    state: Any = None,
    lengths: Lengths = None,
    reset: Tensor | None = None,
    reset_state: Any = None,
    reverse: bool = False,
    method: Method | None = None,
    sequences: int | None = SEQUENCES,
    steps: int | None = STEPS,
    backend: str = "auto",
) -> Diagnosis:
    """Say in plain words whether a network can learn over time, why not if not, and what to try.

    It runs the other functions of `bptt.inspect` on a part of the batch and judges their figures:
    numbers that are none, a gradient that explodes, vanishes or is not there, saturated and dead
    units, a truncation that is too short, chaos, inputs that are ignored; or how far the network
    learns, and that nothing is wrong. The thresholds, with their reasons, are in the modules
    `bptt.inspect.travel` and `bptt.inspect.units`.

    Args:
        model, inputs, loss, targets, state, lengths, reset, reset_state, reverse, backend: as for
            `bptt.inspect.credit`. The loss is given parts of the batch, too.
        method: what the network is trained with; a `bptt.Truncated` is judged, too.
        sequences: how many are looked at, the longest; None: all.
        steps: how many of each, the last ones; None: all.

    Returns:
        `Diagnosis`: findings, and the results that they rest on.

    Raises:
        What `bptt.inspect.credit` raises for the same arguments.

    Source: Bengio, Simard & Frasconi 1994, "Learning long-term dependencies with gradient descent
    is difficult"; Pascanu, Mikolov & Bengio 2013; for gates' biases Tallec & Ollivier 2018, "Can
    recurrent neural networks warp time?".

    >>> import torch, bptt
    >>> cell = bptt.cells.Elman(2, 8, bias=False)
    >>> cell.Ws.data *= 0.1
    >>> found = diagnose(cell, torch.randn(60, 4, 2), lambda s: s.square())
    >>> found.findings[0].name, found.findings[0].severity
    ('vanishing', 'problem')
    """
    given = subject(
        model, inputs, state=state, lengths=lengths, reset=reset, reset_state=reset_state,
        reverse=reverse, backend=backend,
    )  # fmt: skip
    if given.batch_first and targets is not None:
        targets = pytree.tree_map_only(Tensor, lambda leaf: leaf.transpose(0, 1), targets)
    part = sample(given, targets, sequences, steps)
    done = Examination(part, loss, method)
    return Diagnosis(findings(done.seen()), str(part), **done.results, missing=done.missing)
