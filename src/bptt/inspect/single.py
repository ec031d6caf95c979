"""One unit of the state by itself: E_t = s_t[unit]."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bptt.errors import ArgumentError
from bptt.inspect.around import OneUnit
from bptt.inspect.losses import Loss
from bptt.inspect.subject import Subject
from bptt.ready import initial_state


def followed(given: Subject, unit: int, loss: Loss | None, targets: Any) -> tuple[Subject, Loss]:
    """A subject whose output is a unit of its state, and that as the loss.

    Raises:
        ArgumentError: a unit that the state has not; a loss or targets besides.
    """
    if loss is not None or targets is not None:
        raise ArgumentError(
            "unit: expected no loss and no targets besides, for a unit of the state is followed "
            "back in their place, E_t = s_t[unit]. Leave out either."
        )
    state = start(given)
    leaf, place = whereabouts(state, number(unit, state))
    return replace(given, cell=OneUnit(given.cell, leaf, place), reading=None), _itself


def start(given: Subject) -> Any:
    """The state that a subject starts from."""
    if given.state is not None:
        return given.state
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return initial_state(given.cell, given.batch)


def number(unit: int, state: Any) -> int:
    """A unit's number, negative ones counted from the end.

    Raises:
        ArgumentError: one that the state has not.

    >>> number(-1, (torch.zeros(2, 3), torch.zeros(2, 4)))
    6
    """
    spans = _spans(state)
    count = sum(size for _, size in spans)
    if not count:
        raise ArgumentError(
            "unit: expected a state with floating numbers to choose from, got none."
        )
    if isinstance(unit, bool) or not isinstance(unit, int) or not -count <= unit < count:
        raise ArgumentError(
            f"unit: expected a whole number from 0 to {count - 1}, one of the {count} numbers of a "
            f"sequence's state{_listed(spans)}, or from -{count} to -1 counted from its end, got "
            f"{unit!r}."
        )
    return unit % count


def whereabouts(state: Any, unit: int) -> tuple[int, int]:
    """The leaf that a unit is in, among all leaves, and its place in that leaf's row.

    >>> whereabouts((torch.zeros(2, 3), torch.zeros(2, dtype=int), torch.zeros(2, 4)), 4)
    (2, 1)
    """
    for index, leaf in enumerate(pytree.tree_leaves(state)):
        size = leaf[0].numel() if leaf.is_floating_point() else 0
        if unit < size:
            return index, unit
        unit -= size
    raise IndexError(unit)


def _itself(outputs: Tensor) -> Tensor:
    return outputs


def _spans(state: Any) -> list[tuple[str, int]]:
    """By floating leaf of a state what it is called, and how many numbers a row has."""
    leaves, _ = pytree.tree_flatten_with_path(state)
    return [
        (pytree.keystr(path).lstrip("."), leaf[0].numel())
        for path, leaf in leaves
        if leaf.is_floating_point()
    ]


def _listed(spans: list[tuple[str, int]]) -> str:
    """Which units are whose, in brackets; "" for a state of one tensor."""
    if len(spans) < 2:
        return ""
    ends = [sum(size for _, size in spans[: i + 1]) for i in range(len(spans))]
    pairs = zip(spans, ends, strict=True)
    named = [f"{name} {end - size} to {end - 1}" for (name, size), end in pairs if size]
    return f" ({', '.join(named)})"
