"""Runs back through time as a few sweeps through all steps: in one sweep, no two runs meet."""

from typing import NamedTuple

import torch
from torch import Tensor

from bptt.methods.spans import Spans
from bptt.schedule import select


class Sweep(NamedTuple):
    """What an adjoint meets on its way from the last step to the first.

    Attributes:
        losses: per step (B,) rows whose loss enters; None where all do.
        cuts: per step (B,) rows whose adjoint ends before it; None where none does.
        final: (B,) rows whose final state's adjoint enters; None where all do.
        idle: per step, whether nothing goes through it.
    """

    losses: list[Tensor | None]
    cuts: list[Tensor | None]
    final: Tensor | None
    idle: list[bool]


def whole(steps: int) -> list[Sweep]:
    """Every loss goes back to the first step."""
    return [Sweep([None] * steps, [None] * steps, None, [False] * steps)]


def sweeps(spans: Spans, steps: int, batch: int) -> list[Sweep]:
    """One for each phase of the runs."""
    phases = spans.phase.unique().tolist()
    return [_sweep(spans.where(spans.phase == phase), steps, batch) for phase in phases]


def _sweep(spans: Spans, steps: int, batch: int) -> Sweep:
    sequence, end, back = spans[:3]
    start = end - back
    cuts = torch.zeros(steps + 1, batch, dtype=torch.bool, device=end.device)
    cut = (start > 0) & (back > 0)
    cuts[start[cut], sequence[cut]] = True
    final = torch.zeros(batch, dtype=torch.bool, device=end.device)
    final[sequence[spans.final]] = True
    losses = _inside(spans, end - spans.losses, steps, batch)
    through = _inside(spans, start, steps, batch).any(1).tolist()
    some = cuts.any(1).tolist()
    return Sweep(
        list(losses.unbind(0)),
        [mask if any_ else None for mask, any_ in zip(cuts[:steps].unbind(0), some, strict=False)],
        final,
        [not any_ for any_ in through],
    )


def _inside(spans: Spans, start: Tensor, steps: int, batch: int) -> Tensor:
    """(P, B) whether a step is one of a run's from `start` to its end."""
    edges = torch.zeros(steps + 1, batch, dtype=torch.int32, device=start.device)
    one = edges.new_ones(())
    edges.index_put_((start, spans.sequence), one, accumulate=True)
    edges.index_put_((spans.end, spans.sequence), -one, accumulate=True)
    return edges.cumsum(0)[:steps] > 0


def keep(rows: Tensor | None, leaf: Tensor | None) -> Tensor | None:
    """Rows of an adjoint, zero elsewhere; all of it where no rows are named."""
    return leaf if rows is None or leaf is None else select(rows, leaf, None)


def add(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """A sum of adjoints, where None is nothing."""
    if a is None or b is None:
        return b if a is None else a
    return a + b
