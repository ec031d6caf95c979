"""What an earlier call found out about a step, so that the next one need not write it down again.

A hint and no more: a step's numbers come from the step itself, and what was written down is used
only where it gives those, or their derivatives, once more to the last bit.
"""

from threading import Lock

import torch

from bptt.backends.programs import Programs
from bptt.backends.repeat import Repeat
from bptt.compiler.fingerprint import Fingerprint
from bptt.compiler.record import Operation
from bptt.draws import Draws
from bptt.step import Arguments, Step

MOST = 256  # steps that are remembered, each a few kilobytes of Python


class Known:
    """A step.

    Args:
        opening: what it did when it was run first; empty where it cannot be replayed.
        draws: what it drew.
        again: what repeats it where it draws.

    Attributes:
        programs: of its way back, by what is asked of it.
        sparing: whether only functions of torch's that are known to draw do so in it.
    """

    def __init__(self, opening: tuple[Operation, ...], draws: Draws, again: Repeat | None) -> None:
        self.opening, self.again = opening, None if again is None else again.program
        self.sparing = True
        self.drew, self._draws = draws.used, draws
        self.outputs = 0 if again is None else again.outputs
        self.programs = Programs()

    def draws(self, like: Draws) -> Draws:
        """The random numbers of another call, by its seed, whichever way it goes in the end."""
        return self._draws.anew(like.take_seed(), like.steps_in_all) if self.drew else like


_KNOWN: dict[tuple | None, Known] = {}  # the first to be forgotten first
_LOCK = Lock()


def key_of(made: Fingerprint, step: Step, arguments: Arguments) -> tuple | None:
    """What a step depends on in Python; None where that cannot be told."""
    if made.opaque is not None:
        return None
    return (
        made.key,
        step.inputs.layout,
        step.state.layout,
        tuple((leaf.shape[1:], leaf.dtype, leaf.requires_grad) for leaf in arguments.inputs),
        tuple((leaf.shape, leaf.dtype, leaf.device) for leaf in arguments.initial),
        torch.get_default_dtype(),
    )


def recall(key: tuple | None) -> Known | None:
    """What is known of a step."""
    return _KNOWN.get(key)


def remember(key: tuple | None, known: Known) -> None:
    """For the next call, where there is a key to find it by."""
    if key is not None:
        with _LOCK:
            _KNOWN[key] = known
            while len(_KNOWN) > MOST:
                del _KNOWN[next(iter(_KNOWN))]


def forget(key: tuple | None) -> None:
    """It was not so."""
    with _LOCK:
        _KNOWN.pop(key, None)
