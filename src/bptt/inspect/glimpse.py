"""A short look at a cell while it is trained: few sequences, few steps, at little cost."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bptt.course import Course
from bptt.draws import Draws
from bptt.inspect.jacobian import measured
from bptt.inspect.pull import pull
from bptt.inspect.sample import from_step, rows_of
from bptt.inspect.subject import Subject
from bptt.inspect.trajectory import Trajectory, draws_numbers
from bptt.numerics import plain_numerics
from bptt.ready import initial_state
from bptt.step import Leaves, Step
from bptt.structure import leaves_of, structure

SEQUENCES = 4  # the longest of the batch
STEPS = 20  # their last: enough for a rate, which says what is left from any earlier step
PROBES = 4  # random directions in which each sequence's last state is moved
EIGENVALUES = 2  # sequences whose Jacobian's are found, the dearest figure


@dataclass(frozen=True)
class Glimpse:
    """What a short look finds.

    Attributes:
        rate: the factor by which a gradient to the state shrinks, or grows, with each step back.
        half_life: steps in which it halves; inf where it does not shrink.
        norm: largest singular value of the last step's Jacobian, in the mean over sequences.
        radius: its spectral radius, likewise.
        path: the states that were looked at.
    """

    rate: float
    half_life: float
    norm: float
    radius: float
    path: Trajectory


def glimpse(given: Subject) -> Glimpse | None:
    """Look at the last steps of a batch's longest sequences; None if none has a step.

    Modules are as in evaluation meanwhile, so that dropout does not blur what is seen.
    """
    with _evaluated(given.cell):
        few = _few(given)
        if few is None:
            return None
        path, fade = _walk(few)
        rate = _rate(fade)
        last = torch.zeros_like(path.live)
        last[-1, :EIGENVALUES] = True
        found = measured(path, last)
    half_life = math.log(2) / -math.log(rate) if 0 < rate < 1 else (math.inf if rate else 0.0)
    norm, radius = (part[-1, :EIGENVALUES].mean() for part in (found.norm, found.spectral_radius))
    return Glimpse(rate, half_life, float(norm), float(radius), path)


def _few(given: Subject) -> Subject | None:
    """The last steps of the longest sequences, cut to the shortest of them."""
    counts = given.counts().cpu()
    chosen = counts.argsort(descending=True, stable=True)[:SEQUENCES]
    chosen = chosen[counts[chosen] > 0]
    if not len(chosen):
        return None
    few = rows_of(given, chosen)
    end = int(counts[chosen].min())
    inputs, reset = (first_steps(part, end, given.reverse) for part in (few.inputs, few.reset))
    state = initial_state(given.cell, len(chosen)) if few.state is None else few.state
    few = replace(few, inputs=inputs, state=state, lengths=None, reset=reset, reverse=False)
    return from_step(few, max(0, end - STEPS))


def first_steps(part: Any, end: int, reverse: bool) -> Any:
    """The first steps in the order of processing: those that all sequences have."""

    def steps(leaf: Tensor) -> Tensor:
        return leaf[:end].flip(0) if reverse else leaf[:end]

    return pytree.tree_map_only(Tensor, steps, part)


def _walk(few: Subject) -> tuple[Trajectory, Tensor]:
    """The trajectory, step by step, and (T,) what is left of a gradient that far back.

    Each sequence is run `PROBES` times side by side, and the gradient of a random direction of each
    one's last state is taken to all states before: its mean square is ||J||_F^2 / H, J the product
    of the Jacobians on the way.
    """
    step = Step(few.cell, structure(few.inputs), structure(few.state))
    inputs = [leaf.repeat_interleave(PROBES, 1) for leaf in leaves_of(few.inputs)]
    state = [leaf.repeat_interleave(PROBES, 0) for leaf in leaves_of(few.state)]
    drawn = draws_numbers(step, [leaf[0] for leaf in inputs], state)
    draws = Draws(seed=0)
    before, after = [], []
    with torch.enable_grad(), plain_numerics(state[0].device.type), draws if drawn else ALONE:
        state = [leaf.requires_grad_(leaf.is_floating_point()) for leaf in state]
        for t in range(few.steps):
            draws.begin(t)
            before.append(_restarted(few, state, t))
            _, state = step([leaf[t] for leaf in inputs], before[-1])
            after.append(state)
    path = _path(few, step, before, after, 0 if drawn else None)
    return path, _fade(before, state)


def _restarted(few: Subject, state: Leaves, t: int) -> Leaves:
    """The state, afresh where a sequence is reset."""
    if few.reset is None or not bool(few.reset[t].any()):
        return state
    fresh = few.reset_state
    fresh = initial_state(few.cell, few.batch) if fresh is None else fresh
    mask = few.reset[t].repeat_interleave(PROBES)
    restarted = []
    for leaf, new in zip(state, leaves_of(fresh), strict=True):
        wide = new.expand(few.batch, *leaf.shape[1:]).repeat_interleave(PROBES, 0)
        restarted.append(torch.where(mask.view(-1, *[1] * (leaf.dim() - 1)), wide, leaf))
    return restarted


def _path(
    few: Subject, step: Step, before: list[Leaves], after: list[Leaves], seed: int | None
) -> Trajectory:
    """The states of each sequence once, as a trajectory."""

    def once(states: list[Leaves]) -> Leaves:
        return [torch.stack(leaves)[:, ::PROBES].detach() for leaves in zip(*states, strict=True)]

    live = torch.ones(few.steps, few.batch, dtype=torch.bool)
    reset = torch.zeros_like(live) if few.reset is None else few.reset.cpu()
    course = Course(few.steps, few.batch, None, None, False)
    inputs = [leaf.detach() for leaf in leaves_of(few.inputs)]
    return Trajectory(
        step, course, inputs, once(before), once(after), reset, live, seed, seed is not None
    )


def _fade(before: list[Leaves], last: Leaves) -> Tensor:
    """(T,) root mean square of the gradient to each state, of a direction of length 1."""
    ends = [leaf for leaf in last if leaf.requires_grad]
    fade = torch.zeros(len(before), dtype=torch.float64)
    if not ends:  # no state depends on the one before
        return fade
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(leaf.shape, generator=generator, dtype=torch.float64) for leaf in ends]
    length = torch.cat([part.flatten(1) for part in drawn], 1).norm(dim=1)
    adjoints = [
        (part / length.view(-1, *[1] * (part.dim() - 1))).to(leaf)
        for part, leaf in zip(drawn, ends, strict=True)
    ]
    places = [(t, leaf) for t, state in enumerate(before) for leaf in state if leaf.requires_grad]
    found = pull(ends, [leaf for _, leaf in places], adjoints, keep=False)
    for (t, _), gradient in zip(places, found, strict=True):
        if gradient is not None:
            fade[t] += gradient.double().square().sum().cpu() / len(gradient)
    return fade.sqrt()


def _rate(fade: Tensor) -> float:
    """The factor by which each step back multiplies what is left: a line through the logarithms."""
    lags = torch.arange(len(fade), 0, -1, dtype=torch.float64)
    there = (fade > 0) & fade.isfinite()
    if not bool(there.all()):
        lags, fade = lags[there], fade[there]
    if len(fade) < 2:
        return float(fade[0]) if len(fade) else 0.0
    away = lags - lags.mean()
    return float(((away * fade.log()).sum() / away.square().sum()).exp())


@contextmanager
def _evaluated(cell: Any) -> Iterator[None]:
    """While active, the cell's modules are in evaluation."""
    modules = [m for m in cell.modules() if m.training] if isinstance(cell, nn.Module) else []
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module in modules:
            module.training = True


ALONE = nullcontext()
