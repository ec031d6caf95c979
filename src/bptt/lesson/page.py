"""The lesson as a page of text: what `bptt explain` prints."""

from bptt.lesson.lesson import Lesson
from bptt.lesson.picture import folded, shown_steps, unfolded
from bptt.lesson.recursion import recursion
from bptt.lesson.table import Row, over_time
from bptt.lesson.terms import read_out_term, terms
from bptt.picture.notation import flow, matrix, number, prose, sub, vector


def page(lesson: Lesson, digits: int = 4, width: int = 80) -> list[str]:
    """The whole lesson as lines of text, which keep to the width if it is 80 or more.

    Args:
        lesson: from `work`.
        digits: decimals of a number.
        width: columns there are.

    >>> from bptt.lesson import make_example, work
    >>> print(page(work(make_example()))[-1])
     E₃ was 0.1688 and is 0.07016: it fell by 58.4 %.
    """
    room = width - 1
    gradient = f"∂E{sub(lesson.example.t)}/∂"
    chapters = {
        "The network": _network(lesson, room),
        "The numbers": _numbers(lesson, digits, room),
        "Forward": _forward(lesson, digits, room),
        "Back through time": recursion(lesson, digits, room),
        f"{gradient}Wy": read_out_term(lesson, digits),
        f"{gradient}Ws": terms(lesson, "Ws", digits),
        f"{gradient}Wx": terms(lesson, "Wx", digits),
        "One step of gradient descent": _step(lesson, digits, room),
    }
    lines = []
    for title, chapter in chapters.items():
        lines += [f"── {title} ".ljust(width, "─"), "", *(f" {x}".rstrip() for x in chapter), ""]
    return lines[:-1]


def _network(lesson: Lesson, width: int) -> list[str]:
    t = lesson.example.t
    skipped = " The steps in the middle are left out." if 0 in shown_steps(t, width) else ""
    return [
        *_equations(lesson),
        "",
        "Folded: the state comes back one step later.",
        "",
        *folded(),
        "",
        *prose(f"Unfolded to t = {t}: the same Wx, Ws and Wy at every step.{skipped}"),
        "",
        *unfolded(t, width),
    ]


def _equations(lesson: Lesson) -> list[str]:
    example = lesson.example
    (inputs, hidden), outputs = example.weights.Wx.shape, example.weights.Wy.shape[1]
    output, error = "sₜ Wy", "(dₜ - yₜ)²" if outputs == 1 else "‖dₜ - yₜ‖²"
    if example.loss.name == "cross-entropy":
        output, error = "softmax(sₜ Wy)", "-Σ dₜ log yₜ"
    state = f"{example.activation_name}(xₜ Wx + sₜ₋₁ Ws)"
    return [
        f"sₜ = {state:<30} the state: {_count(hidden, 'unit')}, {_count(inputs, 'input')}",
        f"yₜ = {output:<30} the output: {_count(outputs, 'number')}",
        f"Eₜ = {error:<30} the error against the desired dₜ",
    ]


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n > 1)}"


def _numbers(lesson: Lesson, digits: int, width: int) -> list[str]:
    example = lesson.example
    blocks = [[name, *matrix(w, digits)] for name, w in example.weights._asdict().items()]
    return flow([*blocks, ["s₀", vector(example.s0, digits)]], width)


def _forward(lesson: Lesson, digits: int, width: int) -> list[str]:
    example, forward = lesson.example, lesson.forward
    rows = [
        Row("xₜ", example.x),
        Row("sₜ", forward.s, first=0),
        Row("yₜ", forward.y),
        Row("dₜ", example.d),
        Row("Eₜ", forward.E[:, None]),
    ]
    return over_time("t", rows, digits, width)


def _step(lesson: Lesson, digits: int, width: int) -> list[str]:
    t = sub(lesson.example.t)
    blocks = [[name, *matrix(w, digits)] for name, w in lesson.stepped._asdict().items()]
    return [
        f"W ← W - {lesson.learning_rate:g} ∂E{t}/∂W, for each of the three, gives",
        "",
        *flow(blocks, width),
        "",
        *prose(outcome(lesson, digits)),
    ]


def outcome(lesson: Lesson, digits: int) -> str:
    before, after = lesson.before, lesson.after
    course = f"E{sub(lesson.example.t)} was {number(before, digits)} and is {number(after, digits)}"
    if after < before:
        return f"{course}: it fell by {number(100 * (1 - after / before), 3)} %."
    if after == before:
        return f"{course}: it stays, for its slope is 0 or the step too short to show."
    return (
        f"{course}: it ROSE. The step was too long, for the gradient tells the slope at W itself "
        f"and not far from it. Take a learning rate below {lesson.learning_rate:g}."
    )
