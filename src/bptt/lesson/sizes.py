"""The sizes of an example, told by its arrays and by its user, which have to agree."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from bptt.errors import ArgumentError

AXES = {
    "Wx": ("I", "H"),
    "Ws": ("H", "H"),
    "Wy": ("H", "K"),
    "s0": ("H",),
    "x": ("t", "I"),
    "d": ("t", "K"),
}
LIMITS = {"t": 100, "I": 32, "H": 32, "K": 32}
MEANING = {"t": "steps", "I": "inputs", "H": "hidden units", "K": "outputs"}


class Size(NamedTuple):
    """A size and who said so."""

    value: int
    source: str


def infer(arrays: Mapping[str, Tensor], told: Mapping[str, Size] | None = None) -> dict[str, Size]:
    """The sizes t, I, H, K that the arrays and the user's own words agree on.

    Args:
        arrays: any of Wx (I, H), Ws (H, H), Wy (H, K), s0 (H,), x (t, I), d (t, K).
        told: sizes that are settled before the arrays are looked at.

    Returns: the sizes that are known; a size nobody spoke of is missing.

    Raises:
        ArgumentError: an array has the wrong rank or disagrees with a size settled before it.

    >>> import torch
    >>> infer({"Wx": torch.zeros(3, 2)})["H"]
    Size(value=2, source='Wx')
    """
    sizes = dict(told or {})
    _check_limits(sizes)
    for name in AXES:
        if name in arrays:
            _take(sizes, name, arrays[name])
    _check_limits(sizes)
    return sizes


def _take(sizes: dict[str, Size], name: str, array: Tensor) -> None:
    axes, shape = AXES[name], tuple(array.shape)
    if len(shape) != len(axes):
        raise ArgumentError(
            f"{name} is {_shown(shape)}; it must be {' x '.join(axes)}, "
            + (
                "a list of rows, each a list of numbers."
                if len(axes) == 2
                else "a list of numbers."
            )
        )
    for axis, value in zip(axes, shape, strict=True):
        known = sizes.setdefault(axis, Size(value, name))
        if known.value != value:
            raise ArgumentError(_disagreement(sizes, name, shape, axis))


def _disagreement(sizes: dict[str, Size], name: str, shape: tuple[int, ...], axis: str) -> str:
    axes, source = AXES[name], sizes[axis].source
    if source == name:
        return f"{name} is {_shown(shape)}; it must be square, {' x '.join(axes)}."
    needed = tuple(sizes[a].value if a in sizes else n for a, n in zip(axes, shape, strict=True))
    return (
        f"{name} is {_shown(shape)}; it must be {_shown(needed)} ({' x '.join(axes)}), "
        f"for {source} says {axis} = {sizes[axis].value} {MEANING[axis]}. "
        f"Change {name} or {source}."
    )


def _check_limits(sizes: Mapping[str, Size]) -> None:
    for axis, (value, source) in sizes.items():
        if not 1 <= value <= LIMITS[axis]:
            raise ArgumentError(
                f"{source} says {axis} = {value} {MEANING[axis]}; it must be from 1 to "
                f"{LIMITS[axis]}, for the lesson writes every number out."
            )


def _shown(shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return f"a list of {shape[0]}"
    return " x ".join(map(str, shape)) or "a single number"
