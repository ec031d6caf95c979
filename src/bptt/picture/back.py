"""The adjoints of some loss times on their way back through the last steps before each."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from bptt.backends.each import Passage
from bptt.backends.product import Found, is_real
from bptt.step import Leaves


class Back:
    """Each loss time's way back through the steps of its window, by the cell's own step."""

    def __init__(self, passage: Passage, times: Sequence[int], window: int) -> None:
        self.passage, self.times, self.window = passage, times, window
        self.states = [_room(leaf, len(times), window + 1) for leaf in passage.before]
        self.inputs = [_room(leaf, len(times), window) for leaf in passage.inputs]

    def run(self) -> tuple[list[Tensor], list[Tensor]]:
        """dE_t/ds_k (w + 1, n, B, ...) and dE_t/dx_k (w, n, B, ...) for k = t - j, per leaf."""
        for row, t in enumerate(self.times):
            for lag in range(min(self.window, t + 1)):
                self._step(row, t, lag)
        return self.states, self.inputs

    def _step(self, row: int, t: int, lag: int) -> None:
        """Take the adjoints of one loss time back through step t - lag."""
        passage, k = self.passage, t - lag
        live = k < passage.course.counts.cpu()
        x, before = (
            [_sound(leaf[k], live) for leaf in part] for part in (passage.inputs, passage.before)
        )
        passage.draws.begin(k)
        with torch.enable_grad(), passage.draws:
            outputs, after = passage.step(x, before)
        roots = after
        seeds: Found = [leaf[lag, row] for leaf in self.states]
        if not lag:
            roots = outputs
            seeds = [None if g is None else where(live, g[t]) for g in passage.losses]
            for room, found in zip(self.states, _direct(outputs, after, seeds), strict=True):
                room[0, row] = 0.0 if found is None else where(live, found)
        reset = passage.course.reset
        goes = live if reset is None else live & ~reset[k].cpu()
        for (room, place, mask), found in zip(
            [*((r, lag, live) for r in self.inputs), *((r, lag + 1, goes) for r in self.states)],
            _pulled(roots, [*x, *before], seeds),
            strict=True,
        ):
            room[place, row] = 0.0 if found is None else where(mask, found)


def _room(leaf: Tensor, times: int, lags: int) -> Tensor:
    dtype = leaf.dtype if is_real(leaf) else torch.float32
    return torch.zeros(lags, times, *leaf.shape[1:], dtype=dtype)


def _sound(leaf: Tensor, live: Tensor) -> Tensor:
    """A step's rows, zeros in place of those that do not count."""
    return where(live, leaf.detach()).requires_grad_(is_real(leaf))


def where(mask: Tensor, leaf: Tensor) -> Tensor:
    return torch.where(like(mask, leaf), leaf, torch.zeros((), dtype=leaf.dtype))


def _pulled(roots: Leaves, targets: Leaves, seeds: Found) -> Found:
    """The gradients to the targets of what reaches the roots; None where there is none."""
    pairs = [(r, s) for r, s in zip(roots, seeds, strict=True) if s is not None and r.requires_grad]
    wanted = [target for target in targets if target.requires_grad]
    if not pairs or not wanted:
        return [None] * len(targets)
    reached, given = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(reached, wanted, given, retain_graph=True, allow_unused=True))
    return [next(found) if target.requires_grad else None for target in targets]


def _direct(outputs: Leaves, after: Leaves, seeds: Found) -> Found:
    """What reaches each leaf of the new state from the outputs, and goes on from there no further.

    A leaf that another one is made of so is not told of twice.
    """
    caught: dict[int, Tensor] = {}

    def catch(leaf: Tensor) -> RemovableHandle:
        def hook(gradient: Tensor) -> Tensor:
            caught[id(leaf)] = gradient
            return torch.zeros_like(gradient)

        return leaf.register_hook(hook)

    hooks = [
        catch(leaf) for leaf in {id(leaf): leaf for leaf in after}.values() if leaf.requires_grad
    ]
    _pulled(outputs, after, seeds)
    for hook in hooks:
        hook.remove()
    return [caught.get(id(leaf)) for leaf in after]


def like(mask: Tensor, leaf: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *[1] * (leaf.dim() - mask.dim()))
