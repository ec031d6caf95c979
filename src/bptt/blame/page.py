"""An error's way back as one page."""

from html import escape

from bptt.blame.blame import Blame, Step
from bptt.blame.text import answer, moves, spoken, verdict
from bptt.picture.page import document
from bptt.picture.style import style
from bptt.picture.words import figure


def page(blame: Blame) -> str:
    """A page that needs nothing else: the error, its way back drawn, and all steps as a table."""
    subject = blame.subject
    title = f"{subject.series[0]}, {blame.at}: where the error comes from"
    body = (
        f"<main><h1>{escape(title)}</h1>"
        + "".join(f"<p>{escape(text)}</p>" for text in (*answer(blame), *verdict(blame)))
        + f"<h2>The way back</h2>{blame.picture().fragment()}"
        + f"<h2>Every step</h2>{_table(blame)}</main>"
    )
    return document(title, body, style("blame"))


def _table(blame: Blame) -> str:
    names = [given.name for given in blame.steps[0].inputs]
    heads = ["step", "lag", "called", "‖∂E/∂s‖", "share", *names]
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    largest = max(step.norm for step in blame.steps) or 1.0
    body = "".join(_row(step, largest) for step in blame.steps)
    note = (
        "Beside each input: its value, and ∂E/∂x as the network reads it. E grows "
        "with x where it is above 0; of a word it is the norm."
    )
    return (
        f'<p class="faint">{escape(note)}</p><div class="wide"><table class="steps">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(step: Step, largest: float) -> str:
    size = f'<i class="bar" style="width:{6 * step.norm / largest:.2f}rem"></i>'
    cells = [str(step.k), str(step.lag), step.name, figure(step.norm), f"{step.share:.1%}"]
    first = "".join(f"<td>{escape(text)}</td>" for text in cells[:4])
    inputs = "".join(
        f'<td>{escape(spoken(given.value))} <small data-value="{figure(given.gradient)}">'
        f"{moves(given)}</small></td>"
        for given in step.inputs
    )
    return (
        f'<tr data-step="{step.k - 1}" data-value="{figure(step.norm)}">{first}'
        f"<td>{size}{cells[4]}</td>{inputs}</tr>"
    )
