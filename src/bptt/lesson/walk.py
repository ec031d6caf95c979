"""The founding example for every time, some activations, and some steps of gradient descent."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from bptt.errors import ArgumentError
from bptt.lesson.activations import ACTIVATIONS
from bptt.lesson.example import Example
from bptt.lesson.lesson import Lesson, work
from bptt.lesson.terms import SHOWN_TERMS
from bptt.picture.notation import SHOWN_ROWS as SHOWN

THREE = ("tanh", "sigmoid", "relu")
MOST_TIMES, FEW_TIMES = 12, 6  # times to choose from: all, or some of very many
MOST_STEPS = 8
MOST_NUMBERS = 110_000  # that a page may hold, about
MOST_WORK = 400_000  # weights times steps that may be worked out: a quarter of a minute, about


@dataclass(frozen=True)
class Walk:
    """Lessons to walk through.

    Attributes:
        activations: names, the example's own first chosen.
        times: the times to train at, ascending.
        lessons: by activation and time, the lesson at each step of gradient descent on that time's
            error: the weights of the next are those that the last one arrived at. Fewer where the
            descent leaves what float64 can hold.
        chosen: the activation and time that the example has.
    """

    activations: tuple[str, ...]
    times: tuple[int, ...]
    lessons: dict[tuple[str, int], list[Lesson]]
    chosen: tuple[str, int]


def walk(example: Example, learning_rate: float = 0.1) -> Walk:
    """Work the example out for all its times, the three activations and steps of descent.

    Args:
        example: what is worked; its own activation is among those shown.
        learning_rate: of each step.

    Raises:
        ArgumentError: as `work` does, for the example itself.

    >>> from bptt.lesson import make_example
    >>> found = walk(make_example(t=2))
    >>> found.times, found.activations, len(found.lessons["relu", 1])
    ((1, 2), ('tanh', 'sigmoid', 'relu'), 9)
    """
    own = example.activation_name
    activations, times = _choices(example)
    steps = _steps(example, len(activations) * len(times))
    found = {
        (name, t): list(_descent(_at(example, name, t), learning_rate, steps))
        for name in activations
        for t in times
    }
    lessons = {choice: descent for choice, descent in found.items() if descent}
    if (own, example.t) not in lessons:
        work(example, learning_rate)  # which says why
    times = tuple(sorted({t for _, t in lessons}))
    return Walk(activations, times, lessons, (own, example.t))


def _at(example: Example, activation: str, t: int) -> Example:
    phi = example.activation
    if activation != example.activation_name:
        phi = ACTIVATIONS[activation][0]
    return replace(example, activation=phi, x=example.x[:t], d=example.d[:t])


def _descent(example: Example, learning_rate: float, steps: int) -> Iterator[Lesson]:
    """The lesson before any step, and after each, as far as numbers reach."""
    for _ in range(steps + 1):
        try:
            lesson = work(example, learning_rate)
        except ArgumentError:  # too large for float64: the descent ends here, and the page says so
            return
        yield lesson
        example = replace(example, weights=lesson.stepped)


def _choices(example: Example) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Activations and times that there is time for; the example's own are always among them."""
    own = example.activation_name
    activations = THREE if own in THREE else (*THREE, own)
    lessons = MOST_WORK // (example.t * sum(weight.numel() for weight in example.weights))
    if lessons < 2 * len(activations):
        activations = (own,)
    return activations, _times(example.t, max(1, lessons // (2 * len(activations))))


def _times(t: int, most: int) -> tuple[int, ...]:
    """All times up to t, or some of them where they are many; t is the last.

    >>> _times(3, 99), _times(100, 99), _times(100, 1)
    ((1, 2, 3), (1, 21, 41, 60, 80, 100), (100,))
    """
    if t <= min(MOST_TIMES, most):
        return tuple(range(1, t + 1))
    count = min(FEW_TIMES, most)
    spread = (t - round(i * (t - 1) / max(1, count - 1)) for i in reversed(range(count)))
    return tuple(dict.fromkeys(spread))


def _steps(example: Example, paths: int) -> int:
    """Steps of descent for which there is room; one at least."""
    inputs, hidden = (min(SHOWN, size) for size in example.weights.Wx.shape)
    matrices = hidden * hidden + 2 * hidden * (hidden + inputs)  # of a step: J, terms, their sums
    each = min(example.t, SHOWN_TERMS) * (matrices + 6 * hidden)
    return max(1, min(MOST_STEPS, MOST_NUMBERS // (paths * each) - 1))
