"""Products with some weights, found while a step runs, their left factor multiplied by a mask."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode, resolve_name

from bptt.errors import CellError

# Functions that multiply by a weight, and the place of their left factor; the weight comes next.
PRODUCTS = {
    Tensor.__matmul__: 0,
    Tensor.matmul: 0,
    Tensor.mm: 0,
    Tensor.addmm: 1,
    torch.matmul: 0,
    torch.mm: 0,
    torch.addmm: 1,
    functional.linear: 0,
}


class MaskedProducts(TorchFunctionMode):
    """While active, `s @ W` is `(s * mask) @ W`, for certain weights W and what is made of them.

    Args:
        weights: the weights.
        mask: (B, F). A product whose left factor has K < F features takes the next K of the mask.
        given: tensors that a step was given; weights are told from what depends on these.
    """

    def __init__(self, weights: Sequence[Tensor], mask: Tensor, given: Sequence[Tensor]) -> None:
        super().__init__()
        self._mask, self._next, self._found = mask, 0, False
        self._weights = {id(weight): weight for weight in weights}
        self._given = {id(tensor): tensor for tensor in given}
        self._refusal = ""

    def check(self) -> None:
        """Raise CellError unless all of the mask was used, and in products alone.

        Not raised while the step runs: torch takes a TypeError within `@` for its own.
        """
        if not self._found or self._next:
            self._refuse(
                f"the step does not multiply all {self._mask.shape[1]} units of the state by the "
                "recurrent weights; name those that it does multiply them by with weights="
            )
        if self._refusal:
            raise CellError(f"RecurrentDropout: {self._refusal}")

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = _tensors((*args, *kwargs.values()))
        by_weight = any(id(tensor) in self._weights for tensor in tensors)
        by_given = any(id(tensor) in self._given for tensor in tensors)
        if by_weight and by_given:
            args = self._masked(func, args)
        result = func(*args, **kwargs)
        if by_weight or by_given:
            kind = self._given if by_given else self._weights
            kind.update((id(tensor), tensor) for tensor in _tensors((result,)))
        return result

    def _refuse(self, reason: str) -> None:
        self._refusal = self._refusal or reason

    def _masked(self, func: Any, args: tuple) -> tuple:
        """The arguments of a product with its left factor masked."""
        left = PRODUCTS.get(func, len(args))
        if left + 1 >= len(args) or id(args[left + 1]) not in self._weights:
            self._refuse(
                f"the step uses a recurrent weight in {resolve_name(func) or func}; it should "
                "multiply the state by the weight with @, torch.matmul, mm, addmm or "
                "functional.linear, the weight on the right. In place of torch.nn's cells take "
                "those of bptt.cells"
            )
            return args
        part = self._part(args[left])
        return args if part is None else (*args[:left], args[left] * part, *args[left + 1 :])

    def _part(self, factor: Tensor) -> Tensor | None:
        """The mask's columns for a left factor."""
        rows, features = self._mask.shape
        count, start = factor.shape[-1], self._next
        fits = factor.dim() == 2 and rows in (1, factor.shape[0])
        if not fits or start + count > features:
            self._refuse(
                f"the mask is ({rows}, {features}), as begin(batch_size) drew it for the state; a "
                f"recurrent product takes {tuple(factor.shape)}. Multiply the state, or equal "
                "parts of it one by one, by a weight of its own"
            )
            return None
        self._found, self._next = True, (start + count) % features
        return self._mask[:, start : start + count]


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    """The tensors among values, lists of them taken in."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found += [item for item in value if isinstance(item, Tensor)]
    return found
