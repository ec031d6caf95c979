"""Where a step's draws are substituted: torch's modes around it."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

if TYPE_CHECKING:
    from bptt.draws.draws import Draws


class Dropping(TorchFunctionMode):
    """While active, dropout draws by (seed, operation, step); all else is left alone."""

    def __init__(self, draws: "Draws") -> None:
        super().__init__()
        self._draws = draws

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is nn.functional.dropout:
            found = self._draws.dropout(*args, **kwargs)
            if found is not None:
                return found
        return func(*args, **kwargs)


class Sparing(Dropping):
    """While active, functions that may draw do so by (seed, operation, step)."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func not in _MAY_DRAW:
            return func(*args, **kwargs) if kwargs else func(*args)
        if func is nn.functional.dropout:
            found = self._draws.dropout(*args, **(kwargs or {}))
            if found is not None:
                return found
        with self._draws:
            return func(*args, **(kwargs or {}))


_MAY_DRAW = {
    nn.functional.dropout,
    nn.functional.alpha_dropout,
    torch.bernoulli,
    torch.multinomial,
    torch.poisson,
    torch.randint,
    torch.dropout,
    torch.native_dropout,
    torch.normal,
    torch.rand,
    torch.rand_like,
    torch.randn,
    torch.randn_like,
    Tensor.bernoulli,
    Tensor.bernoulli_,
    Tensor.multinomial,
    Tensor.normal_,
    Tensor.uniform_,
}


def without_modes() -> AbstractContextManager:
    """Where no mode sees what is done; most often there is none besides this one."""
    alone = torch._C._len_torch_dispatch_stack() == 0
    return nullcontext() if alone else _disable_current_modes()
