"""Lines of the lesson on a terminal, coloured, and plain where it has no Unicode."""

from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.theme import Theme

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
        *zip("─━►▲∂δφΣ∘·", "-=>^dDfSo*", strict=True),
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


def console() -> Console:
    """The terminal, with the lesson's colours."""
    return Console(theme=COLOURS, highlight=False)


def show(terminal: Console, lines: list[str]) -> None:
    highlight = LessonHighlighter()
    table = PLAIN if terminal.options.ascii_only else {}
    for line in lines:
        terminal.print(highlight(line.translate(table)), soft_wrap=True)
