"""Windows of a stream that are alike: what they ask is asked once, and whether it still holds."""

from typing import Any

import torch
from torch import Tensor

from bptt import check, finite, fused
from bptt.compiler.fingerprint import Fingerprint
from bptt.compiler.unchanged import Unchanged
from bptt.methods.spans import Way
from bptt.plans import Entry
from bptt.ready import Ready, prepare
from bptt.step import Arguments, Leaves
from bptt.unroll import unroll_window


class Alike:
    """Runs one window after another, in a shorter way where it is like the one before it."""

    def __init__(self) -> None:
        self._asked: tuple[Any, ...] | None = None
        self._known: _Known | None = None

    def __reduce__(self) -> tuple[type["Alike"], tuple[()]]:
        """A copy asks for itself."""
        return Alike, ()

    def run(
        self, given: tuple[Any, ...], way: Way, seed: int, first: int, stored: Leaves | None
    ) -> tuple[Any, Any]:
        """What `unroll_window` gives for these."""
        asked = None if stored is not None else _asked(given)
        again = asked is not None and asked == self._asked
        if not again or self._known is None or not self._known.holds():
            self._asked, self._known = None, _known(given) if again else None
        if self._known is None:
            result = unroll_window(given, way, seed, first, stored)
        else:
            result = self._known.run(given, way, seed, first)
        self._asked = asked  # only now: a window that failed has not been run
        return result


def _asked(given: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """All that an unroll's preparation depends on besides its cell; None where that is much."""
    cell, inputs, _, _, reset, _, _, _, backend = given
    if reset is not None or type(inputs) is not Tensor or torch.is_autocast_enabled("cpu"):
        return None
    if finite.detecting():
        return None
    return (
        id(cell), backend, inputs.shape, inputs.dtype, inputs.device, inputs.requires_grad,
        torch.is_grad_enabled(), torch.get_default_dtype(),
    )  # fmt: skip


class _Known:
    """A window ready to run, but for its tensors.

    Args:
        ready: the last window.
        plan: how its step is run.
        cell: what it was then.
    """

    def __init__(self, ready: Ready, plan: tuple[Entry, Fingerprint], cell: Unchanged) -> None:
        self._ready, self._plan, self._cell = ready, plan, cell

    def holds(self) -> bool:
        """Whether the cell is what it was."""
        return self._cell.holds()

    def run(self, given: tuple[Any, ...], way: Way, seed: int, first: int) -> tuple[Any, Any]:
        """What `unroll_window` gives."""
        check.not_transformed()
        arguments = Arguments([given[1]], given[2], [])
        ready = self._ready._replace(arguments=arguments, method=way, seed=seed, first=first)
        outputs, final = fused.run(*ready.job(*self._plan))
        return ready.step.unflatten(outputs, final)


def _known(given: tuple[Any, ...]) -> _Known | None:
    """A window like one that has run; None where kernels do not run it, or its cell may change
    unseen."""
    ready = prepare(*given)
    starts = any(leaf.requires_grad for leaf in ready.arguments.initial)
    if starts or not ready.is_for_kernels or not ready.course.steps:
        return None
    plan, cell = ready.find(), Unchanged.of(given[0])
    return None if cell is None or plan[0].compiled is None else _Known(ready, plan, cell)
