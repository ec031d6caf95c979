"""Settings of torch's that an unroll switches off inside."""

import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.utils import parametrize

_NOTHING = nullcontext()
knows_autocast = functools.cache(torch.amp.autocast_mode.is_autocast_available)


def autocast_off(device_type: str) -> AbstractContextManager[object]:
    """Where autocast does nothing; on devices that know none, nothing needs to be done."""
    if knows_autocast(device_type) and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return _NOTHING


class plain_weights:
    """Parametrized weights computed anew at each step.

    `parametrize.cached()` would keep one step's weight, with its graph, for all that follow.
    """

    def __enter__(self) -> None:
        self._cached = parametrize._cache_enabled
        parametrize._cache_enabled = 0

    def __exit__(self, *error: Any) -> None:
        parametrize._cache_enabled = self._cached


class plain_numerics(plain_weights):
    """The same, and autocast off."""

    def __init__(self, device_type: str) -> None:
        self._autocast = autocast_off(device_type)

    def __enter__(self) -> None:
        super().__enter__()
        self._autocast.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._autocast.__exit__(*error)
        super().__exit__(*error)
