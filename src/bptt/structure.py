"""The shape of a pytree, kept apart from its leaves, with the leniency a recurrent step needs."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


class Structure:
    """How the leaves of a pytree are laid out; flattens trees of the same layout.

    Tuple, list and NamedTuple of one length count as equal; a dict's keys may come in any order.

    >>> import torch
    >>> pair = Structure((torch.zeros(1), torch.ones(1)))
    >>> pair.flatten([torch.zeros(1), torch.zeros(1)])
    [tensor([0.]), tensor([0.])]
    >>> pair.flatten(torch.zeros(1)) is None
    True
    """

    def __init__(self, sample: Any) -> None:
        # Leaves are numbered, so that `_sample` is the tree itself with numbers for leaves.
        leaves, self._spec = pytree.tree_flatten(sample)
        self.size = len(leaves)
        self._sample = pytree.tree_unflatten(list(range(self.size)), self._spec)
        self._lone = isinstance(sample, Tensor)
        flat = isinstance(sample, tuple) and all(isinstance(leaf, Tensor) for leaf in sample)
        self._plain = type(sample) is tuple and flat
        self._named = type(sample) if flat and hasattr(sample, "_fields") else None

    @property
    def layout(self) -> Any:
        """Hashable; equal for structures that are the same."""
        if self._lone:
            return None
        return (type(self._sample), self.size) if self._plain or self._named else self._spec

    def unflatten(self, leaves: Sequence[Tensor]) -> Any:
        """The tree with these leaves."""
        if self._lone:
            return leaves[0]
        if self._plain:
            return tuple(leaves)
        if self._named is not None:
            return self._named(*leaves)
        return pytree.tree_unflatten(list(leaves), self._spec)

    def flatten(self, tree: Any) -> list[Any] | None:
        """The leaves of `tree` in this structure's order, or None if its layout is another."""
        if self._lone:
            return [tree] if isinstance(tree, Tensor) else None
        leaves: list[Any] = [None] * self.size
        return leaves if _collect(self._sample, tree, leaves) else None


def structure(tree: Any) -> Structure:
    """The structure of a pytree; the same object for the commonest ones."""
    if isinstance(tree, Tensor):
        return LONE
    if isinstance(tree, tuple) and all(isinstance(leaf, Tensor) for leaf in tree):
        return _of_tuple(type(tree), len(tree))
    return Structure(tree)


def leaves_of(tree: Any) -> list[Any]:
    """The leaves of a pytree, in torch's order."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, tuple) and all(isinstance(leaf, Tensor) for leaf in tree):
        return list(tree)
    return pytree.tree_leaves(tree)


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """torch's `tree_map`, which takes longer than a small step does, at once for common trees."""
    if isinstance(tree, Tensor):
        return function(tree)
    if type(tree) is tuple and all(isinstance(leaf, Tensor) for leaf in tree):
        return tuple(map(function, tree))
    return pytree.tree_map(function, tree)


@functools.lru_cache(maxsize=256)
def _of_tuple(kind: type, size: int) -> Structure:
    leaves = [torch.empty(0)] * size
    return Structure(kind(*leaves) if hasattr(kind, "_fields") else kind(leaves))


def _collect(sample: Any, tree: Any, leaves: list[Any]) -> bool:
    """Put the leaves of `tree` where `sample` numbers them; False if the layouts differ."""
    if isinstance(sample, int):
        leaves[sample] = tree
        return isinstance(tree, Tensor)
    if isinstance(sample, (tuple, list)):
        alike = isinstance(tree, (tuple, list)) and len(tree) == len(sample)
        return alike and all(_collect(s, t, leaves) for s, t in zip(sample, tree, strict=True))
    if isinstance(sample, dict):
        alike = isinstance(tree, dict) and tree.keys() == sample.keys()
        return alike and all(_collect(s, tree[key], leaves) for key, s in sample.items())
    numbers, spec = pytree.tree_flatten(sample)
    values, other = pytree.tree_flatten(tree)
    if spec != other:
        return False
    return all(
        _collect(number, value, leaves) for number, value in zip(numbers, values, strict=True)
    )


def describe(tree: Any) -> str:
    """A pytree's layout in words short enough for an error message.

    >>> import torch
    >>> describe((torch.zeros(2, 3), {"c": torch.zeros(2)}))
    '(tensor (2, 3), {c: tensor (2,)})'
    """
    if isinstance(tree, Tensor):
        return f"tensor {tuple(tree.shape)}"
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key}: {describe(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, (tuple, list)):
        inside = ", ".join(describe(value) for value in tree)
        name = type(tree).__name__ if hasattr(tree, "_fields") else ""
        return f"[{inside}]" if isinstance(tree, list) else f"{name}({inside})"
    return type(tree).__name__


# The structure of a single tensor.
LONE = Structure(torch.empty(0))
