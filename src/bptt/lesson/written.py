"""A lesson's numbers as a page shows them: every one of them text already."""

from typing import Any

from torch import Tensor

from bptt.lesson.example import Weights
from bptt.lesson.lesson import Lesson
from bptt.lesson.page import outcome
from bptt.lesson.terms import SHOWN_TERMS, verdict
from bptt.picture.notation import SHOWN_ROWS, entries, number

Rows = list[list[str]]
ByStep = dict[str, Rows]


def written(values: Tensor, digits: int) -> Rows:
    """A matrix, or a vector as a row, its middle left out where it is large.

    >>> import torch
    >>> written(torch.tensor([0.5, -1.0]), 4)
    [['0.5', '-1.0']]
    """
    matrix = values[None] if values.ndim == 1 else values
    columns = matrix.shape[1]
    flat = [text.strip() for text in entries(matrix.flatten().tolist(), digits)]
    rows = [_cut(flat[i : i + columns], "…") for i in range(0, len(flat), columns)]
    return _cut(rows, ["⋮"] * len(rows[0]))


def _cut(items: list, mark: Any) -> list:
    return items if len(items) <= SHOWN_ROWS else [*items[: SHOWN_ROWS - 2], mark, items[-1]]


def told_steps(t: int) -> list[int]:
    """The steps that are written out, latest first: all, or the last ones and the first.

    >>> told_steps(3), len(told_steps(100)), told_steps(100)[-2:]
    ([3, 2, 1], 12, [90, 1])
    """
    steps = list(range(t, 0, -1))
    return steps if t <= SHOWN_TERMS else [*steps[: SHOWN_TERMS - 1], 1]


def numbers(lesson: Lesson, digits: int) -> dict[str, Any]:
    """All that a page says of a lesson.

    Returns:
        weights, and those after the step of descent; by step k, as text, the quantities of the
        forward pass and of the way back, as lists of rows; and by weight `terms`, `so_far` (the sum
        of the terms from t down to k), their norms, the gradient by three ways, and what the
        comparison says.
    """
    example, forward, chain = lesson.example, lesson.forward, lesson.chain
    return {
        "W": _named(example.weights, digits),
        "stepped": _named(lesson.stepped, digits),
        "s": _each(forward.s, digits, 0),
        "y": _each(forward.y, digits),
        "E": _each(forward.E[:, None], digits),
        "slope": _each(chain.slopes, digits),
        "J": _each(chain.jacobians, digits),
        "adjoint": _each(chain.adjoints, digits, 0),
        "delta": _each(chain.deltas, digits),
        "read": written(chain.read_out, digits),
        "by": {name: _weight(lesson, name, digits) for name in Weights._fields},
        "outcome": outcome(lesson, digits),
        "before": number(lesson.before, digits),
        "after": number(lesson.after, digits),
    }


def _weight(lesson: Lesson, name: str, digits: int) -> dict[str, Any]:
    terms = getattr(lesson.chain.terms, name)
    sizes = terms.flatten(1).norm(dim=1)
    largest = float(sizes.max()) or 1.0
    so_far = terms.flip(0).cumsum(0).flip(0)
    first = lesson.example.t if name == "Wy" else 1
    return {
        "terms": _each(terms, digits, first),
        "so_far": _each(so_far, digits, first),
        "norms": {str(k): number(float(size), digits) for k, size in enumerate(sizes, first)},
        "shares": {str(k): round(float(v) / largest, 3) for k, v in enumerate(sizes, first)},
        "chain": written(terms.sum(0), digits),
        **{
            way: written(getattr(found, name), digits)
            for way, found in lesson.others._asdict().items()
        },
        "size": number(float(terms.sum(0).norm()), digits),
        "verdict": " ".join(verdict(lesson.checks[name], lesson.example.activation_name)),
        "agrees": lesson.checks[name].agrees,
    }


def _named(weights: Weights, digits: int) -> dict[str, Rows]:
    return {name: written(value, digits) for name, value in weights._asdict().items()}


def _each(values: Tensor, digits: int, first: int = 1) -> ByStep:
    """By step, those that are told."""
    last = len(values) + first - 1
    told = {first, *told_steps(last)}
    steps = enumerate(values, first)
    return {str(k): written(value, digits) for k, value in steps if k in told}
