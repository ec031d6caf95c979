"""`bptt explain`: back-propagation through time with real numbers, in the terminal."""

from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.theme import Theme

from bptt.errors import ArgumentError

WIDEST = 100

# One colour for each weight, in the drawings and in the formulas.
COLOURS = Theme(
    {
        "lesson.title": "bold",
        "lesson.Wx": "bold cyan",
        "lesson.Ws": "bold magenta",
        "lesson.Wy": "bold green",
        "lesson.E": "bold red",
        "lesson.bar": "magenta",
        "lesson.good": "green",
        "lesson.bad": "bold red",
        "lesson.faint": "dim",
    }
)

# What a terminal without Unicode gets instead.
PLAIN = {
    ord(character): plain
    for characters, plain in [
        *zip("₀₁₂₃₄₅₆₇₈₉ₖₜ₊₋⁺", "0123456789kt+-+", strict=True),
        *zip("─►▲∂δφΣ∘·", "->^dDfSo*", strict=True),
        ("ᵀ", "'"),
        ("²", "^2"),
        ("│⎢⎥‖", "|"),
        ("╭╮╰╯├┴", "+"),
        ("◄←", "<"),
        ("⎡⎣", "["),
        ("⎤⎦", "]"),
        ("…⋮⋯", "."),
        ("▏▎▍▌▋▊▉█", "#"),
    ]
    for character in characters
}


class LessonHighlighter(RegexHighlighter):
    """Colours for the page; the text itself is the same with and without them."""

    base_style = "lesson."
    highlights = (
        r"(?P<title>^── [^─]+)(?P<faint>─*)$",
        r"(?P<Wx>\bWx)",
        r"(?P<Ws>\bWs)",
        r"(?P<Wy>\bWy)",
        r"(?P<E>∂?E[₀-₉ₜ]+)",
        r"(?P<bar>[▏▎▍▌▋▊▉█]+)",
        r"(?P<good>agrees|fell)",
        r"(?P<bad>DISAGREES|ROSE)",
    )


def explain(
    *,
    t: int | None = None,
    inputs: int | None = None,
    hidden: int | None = None,
    outputs: int | None = None,
    activation: Literal["tanh", "sigmoid", "relu", "identity", "softplus", "silu", "sin"] = "tanh",
    loss: Literal["squared", "cross-entropy"] = "squared",
    learning_rate: float = 0.1,
    seed: int = 16,
    digits: int = 4,
    weights: Path | None = None,
) -> int:
    """Work back-propagation through time by hand, with real numbers.

    A small network is trained at one time t, taking into account all that happened before. Shown
    are the network, folded and unfolded; the gradient of each weight as the sum of its terms over
    the paths back through time; two checks of it; and one step of gradient descent.

    Args:
        t: The time to train at, 1 to 100. By default 3, or as many steps as the file has.
        inputs: Numbers that go in at each step. By default 2, or what the file has.
        hidden: Units of the state. By default 2, or what the file has.
        outputs: Numbers that come out. By default 1 (cross-entropy: 2), or what the file has.
        activation: The function of the state.
        loss: Squared error of a linear output, or cross-entropy of a softmax.
        learning_rate: Length of the step of gradient descent, in gradients.
        seed: Of the numbers that are drawn.
        digits: Decimals to show, 1 to 12.
        weights: A JSON or TOML file with your own numbers: any of Wx, Ws, Wy, s0, x, d. A matrix
            is a list of rows; x and d have one row a step. What is missing is drawn.

    Returns: 0, or 1 where the three ways of finding the gradient disagree.
    """
    if not 1 <= digits <= 12:
        raise ArgumentError(f"--digits must be from 1 to 12, got {digits}.")
    from bptt.lesson import make_example, work
    from bptt.lesson.arrays import read_arrays
    from bptt.lesson.page import page

    example = make_example(
        read_arrays(weights) if weights else None,
        t=t,
        inputs=inputs,
        hidden=hidden,
        outputs=outputs,
        activation=activation,
        loss=loss,
        seed=seed,
    )
    console = Console(theme=COLOURS, highlight=False)
    lesson = work(example, learning_rate)
    _show(console, page(lesson, digits, min(console.width, WIDEST)))
    return 0 if all(check.agrees for check in lesson.checks.values()) else 1


def _show(console: Console, lines: list[str]) -> None:
    highlight = LessonHighlighter()
    table = PLAIN if console.options.ascii_only else {}
    for line in lines:
        console.print(highlight(line.translate(table)), soft_wrap=True)
