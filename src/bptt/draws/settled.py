"""A run that is repeated if a step turned out to draw."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from bptt.draws.draws import Draws

# So many numbers may be held from the way out to the way back: fewer bytes than a page or two.
HELD = 2048
T = TypeVar("T")


def settled(
    draws: Draws, device: torch.device, run: Callable[[], T], with_draws: Callable[[], T]
) -> T:
    """A way forward; once more with the draws substituted, should a step draw unexpectedly.

    Args:
        draws: of the run; where they are used already, or come to be, the first run counts.
        device: whose generator tells.
        run: the way forward.
        with_draws: the same, where every step looks whether `draws.used`.
    """
    if draws.sparing:
        draws.take_seed()
    before = None if draws.used and not draws.sparing else _generator_state(device)
    found = run()
    watched = before is not None and (draws.sparing or not draws.used)
    if before is not None and watched and not torch.equal(before, _generator_state(device)):
        _set_generator_state(device, before)
        draws.repeatable = draws.repeatable and draws.sparing
        draws.used, draws.sparing = True, False
        found = with_draws()
    draws.release(HELD)
    return found


def _generator_state(device: torch.device) -> Tensor:
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.get_rng_state()


def _set_generator_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
