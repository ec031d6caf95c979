"""`bptt explain`: back-propagation through time with real numbers, in the terminal or as a page."""

from pathlib import Path
from typing import Any, Literal

from bptt.cli.chalk import WIDEST, console, show
from bptt.errors import ArgumentError

# What the options of the lesson are if nobody names them: with a run they mean nothing.
UNASKED = {
    "t": None, "inputs": None, "hidden": None, "outputs": None, "activation": "tanh",
    "loss": "squared", "learning_rate": 0.1, "seed": 16, "digits": 4, "weights": None,
}  # fmt: skip


def explain(
    run: Path | None = None,
    /,
    *,
    at: str | None = None,
    series: str | None = None,
    html: Path | None = None,
    overwrite: bool = False,
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
    """Work back-propagation through time by hand, with real numbers; or explain a run's error.

    Without RUN, a small network is trained at one time t, taking into account all that happened
    before. Shown are the network, folded and unfolded; the gradient of each weight as the sum of
    its terms over the paths back through time; two checks of it; and one step of gradient descent.

    With RUN, an error of that trained network is taken back through time: which earlier steps and
    inputs it is blamed on.

    Args:
        run: Folder of a trained network.
        at: With RUN: the time of the error: what the data call the last step that the network had
            read, such as 2005-03; in a text, the position of a character. By default that of the
            largest error.
        series: With RUN: the series or sequence.
        html: A file to write a page to in place of the text.
        overwrite: Replace that file if there is one.
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
    check_place(html, overwrite=overwrite)
    asked = {
        "t": t, "inputs": inputs, "hidden": hidden, "outputs": outputs, "activation": activation,
        "loss": loss, "seed": seed,
    }  # fmt: skip
    more = {"learning_rate": learning_rate, "digits": digits, "weights": weights}
    if run is not None:
        check_idle({**asked, **more})
        return explain_run(run, at, series, html)
    if at is not None or series is not None:
        raise ArgumentError(
            "--at and --series name an error of a trained network: give its folder too, as in "
            "bptt explain runs/elnino-gru-1 --at 2005-03"
        )
    return explain_example(asked, weights, learning_rate, digits, html)


def explain_run(run: Path, at: str | None, series: str | None, html: Path | None) -> int:
    """An error of a trained network, as text or as a page."""
    from bptt.blame import blame
    from bptt.blame.page import page
    from bptt.blame.text import lines
    from bptt.cli.trained import note_unfinished
    from bptt.train.run import Run

    found = blame(run, series=series, at=at)
    note_unfinished(Run.open(run))
    if html is not None:
        write_page(html, page(found))
    else:
        terminal = console()
        show(terminal, lines(found, min(terminal.width, WIDEST)))
    return 0


def explain_example(
    asked: dict[str, Any],
    weights: Path | None,
    learning_rate: float,
    digits: int,
    html: Path | None,
) -> int:
    """The founding example, as text or as a page."""
    from bptt.lesson import make_example, work
    from bptt.lesson.arrays import read_arrays
    from bptt.lesson.page import page
    from bptt.lesson.walk import walk
    from bptt.lesson.webpage import webpage

    given = read_arrays(weights) if weights else None
    example = make_example(given, **asked)
    if html is not None:
        walked = walk(example, learning_rate)
        lesson = walked.lessons[walked.chosen][0]
        write_page(html, webpage(walked, digits))
    else:
        lesson = work(example, learning_rate)
        terminal = console()
        show(terminal, page(lesson, digits, min(terminal.width, WIDEST)))
    return 0 if all(check.agrees for check in lesson.checks.values()) else 1


def check_idle(given: dict[str, Any]) -> None:
    """Refuse options of the lesson beside a run, which would otherwise be lost in silence."""
    for name, value in given.items():
        if value != UNASKED[name]:
            option = "--" + name.replace("_", "-")
            raise ArgumentError(
                f"{option} is for the worked example and means nothing with a run. Leave it out, "
                "or leave the run out"
            )


def check_place(html: Path | None, *, overwrite: bool) -> None:
    """Raise ArgumentError where a page cannot be written or would replace something untold."""
    if html is None:
        return
    if html.is_dir() or not html.parent.is_dir():
        what = f"{html} is a folder" if html.is_dir() else f"there is no folder {html.parent}"
        raise ArgumentError(f"--html {html}: {what}. Name a file, such as page.html")
    if html.exists() and not overwrite:
        raise ArgumentError(f"there is {html} already. Choose another --html, or add --overwrite")


def write_page(place: Path, text: str) -> None:
    """Write a page, and say where it is."""
    from bptt.folder.files import write_atomically

    write_atomically(place, text.encode())
    print(place)
