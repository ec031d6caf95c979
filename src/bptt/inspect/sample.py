"""A part of a batch that is small enough to be looked at closely."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bptt.errors import ArgumentError
from bptt.inspect.showing import plural
from bptt.inspect.subject import Subject
from bptt.inspect.trajectory import check_some
from bptt.unroll import unroll


class Sample(NamedTuple):
    """Some sequences and steps of a batch, time first.

    Attributes:
        given: the model with these.
        targets: theirs, or None.
        start: the step that the sample's first one is in the batch.
        sequences: the numbers of its sequences in the batch.
        whole: (T, B) of the batch.
    """

    given: Subject
    targets: Any
    start: int
    sequences: list[int]
    whole: tuple[int, int]

    def __str__(self) -> str:
        steps, count = self.given.steps, len(self.sequences)
        whole, batch = self.whole
        span = (
            plural(whole, "step")
            if steps == whole
            else f"steps {self.start} to {self.start + steps}"
        )
        some = plural(batch, "sequence")
        some = some if count == batch else f"{count} of {some}"
        return f"{some}, {span}{'' if steps == whole else f' of {whole}'}"


def sample(given: Subject, targets: Any, sequences: int | None, steps: int | None) -> Sample:
    """The longest sequences of a batch, and of these the last steps; None for all.

    The state at the first of the steps is what the steps before lead to. In reverse no steps are
    left out, for a sequence's last ones are not then the same as another's.

    Raises:
        ArgumentError: sequences of less than 2 steps.
    """
    counts = given.counts().cpu()
    check_some(counts)
    count = given.batch if sequences is None else sequences
    chosen = counts.argsort(descending=True, stable=True)[:count].sort().values
    end = int(counts[chosen].max())
    if end < 2:
        raise ArgumentError(
            "inputs: expected sequences of at least 2 steps, for with one nothing goes back in "
            f"time; got {plural(end, 'step')}."
        )
    start = 0 if steps is None or given.reverse else max(0, end - steps)
    chosen = chosen[counts[chosen] > start]
    few = rows_of(given, chosen)
    return Sample(
        from_step(few, start),
        targets_of(given, targets, start, chosen),
        start,
        chosen.tolist(),
        (given.steps, given.batch),
    )


def targets_of(given: Subject, targets: Any, start: int, chosen: Tensor) -> Any:
    """The targets (T, B, ...) of some steps and sequences; all, for a model that is read as one."""
    if targets is None or given.reading is not None:
        return targets
    return pytree.tree_map_only(Tensor, lambda leaf: leaf[start:, chosen], targets)


def rows_of(given: Subject, chosen: Tensor) -> Subject:
    """Some sequences of a batch."""

    def steps(leaf: Tensor) -> Tensor:
        return leaf.detach()[:, chosen]

    def rows(leaf: Tensor) -> Tensor:
        whole = leaf.dim() and len(leaf) == given.batch
        return leaf.detach()[chosen] if whole else leaf.detach()

    return replace(
        given,
        inputs=pytree.tree_map_only(Tensor, steps, given.inputs),
        state=pytree.tree_map_only(Tensor, rows, given.state),
        lengths=None if given.lengths is None else given.counts()[chosen],
        reset=None if given.reset is None else steps(given.reset),
        reset_state=pytree.tree_map_only(Tensor, rows, given.reset_state),
        batch_first=False,
        reading=None if given.reading is None else given.reading.sequences(chosen),
    )


def from_step(given: Subject, start: int) -> Subject:
    """The steps from `start` on, from the state that those before lead to."""
    if not start:
        return given
    first, last = (
        {
            "inputs": pytree.tree_map(lambda leaf, part=part: leaf[part], given.inputs),
            "reset": None if given.reset is None else given.reset[part],
        }
        for part in (slice(None, start), slice(start, None))
    )
    before = after = None
    if given.lengths is not None:
        before, after = given.counts().clamp(max=start), (given.counts() - start).clamp(min=0)
    with torch.no_grad():
        _, state = unroll(
            given.cell, state=given.state, lengths=before, reset_state=given.reset_state, **first
        )
    reading = None if given.reading is None else given.reading.steps(start)
    return replace(given, state=state, lengths=after, reading=reading, **last)
