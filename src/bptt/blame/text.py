"""An error's way back as text."""

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from bptt.blame.blame import Blame, Input, Step
from bptt.picture.notation import bar
from bptt.picture.text import in_columns
from bptt.picture.text import lines as drawn
from bptt.picture.words import figure
from bptt.tasks.excerpts import Answer

BAR = 12
MOST = 20  # steps in the table
SHOWN = 3  # inputs told of a step, and of all
CONTEXT = 40  # characters
CARRIED = 0.95  # of the whole, by the steps in the table


def lines(blame: Blame, width: int) -> list[str]:
    """The error, which steps and inputs it is blamed on, and its way back.

    Args:
        blame: what is told.
        width: columns there are.
    """
    room = width - 1
    told = [line for text in (*answer(blame), *verdict(blame)) for line in wrap(text, room)]
    chapters = {
        "The error": told,
        "Blamed on": [*table(blame, room), *(["", rest(blame)] if rest(blame) else [])],
        "The way back": drawn(blame.picture(), room),
    }
    text = []
    for title, chapter in chapters.items():
        text += [f"── {title} ".ljust(width, "─"), "", *(f" {x}".rstrip() for x in chapter), ""]
    return text[:-1]


def answer(blame: Blame) -> list[str]:
    """Where the error is, how large, and what the network said there."""
    subject = blame.subject
    found = f", the largest of {blame.searched} looked at" if blame.searched > 1 else ""
    said = [_said(subject.task, given) for given in blame.answers]
    where = f"{subject.series[0]}, {blame.at}"
    more = f"; and {len(said) - 6} more" if len(said) > 6 else ""
    return [
        f"{where}: E = {figure(blame.error)} ({subject.unit}){found}.",
        _context(blame) + "; ".join(said[:6]) + more + ".",
    ]


def _said(task: str, given: Answer) -> str:
    if task == "forecast":
        return f"{given.name}: said {given.said}, came {given.wanted or 'nothing'}"
    return f"{given.name}: {given.said}" + (f" ({given.wanted})" if given.wanted else "")


def _context(blame: Blame) -> str:
    """The last characters that were read, where characters are."""
    if blame.subject.task != "text":
        return ""
    read = "".join(map(str, blame.subject.readings[0]["character"][-CONTEXT:]))
    return f"After {read!r} the network expects "


def verdict(blame: Blame) -> list[str]:
    """How far back the blame lies, and which inputs move the error most."""
    if not any(step.norm for step in blame.steps):
        return ["The error has no slope here: there is nothing to send back."]
    half, most, all_steps = blame.within(0.5), blame.within(CARRIED), len(blame.steps)
    moving = ", ".join(
        f"{given.name} at {step.name} ({moves(given)})" for step, given in blame.strongest(SHOWN)
    )
    return [
        f"Half of the blame lies on the last {_count(half)}, {CARRIED:.0%} on the last "
        f"{_count(most)} of {all_steps}. The inputs that move E most: {moving}."
    ]


def table(blame: Blame, width: int) -> list[str]:
    """A row for each of the steps that carry most of it."""
    steps = told_steps(blame)
    largest = max(step.norm for step in blame.steps) or 1.0
    head = ["k", "lag", "called", "‖∂E/∂sₖ‖", "share", "".ljust(BAR)]
    rows = [
        [
            str(step.k), str(step.lag), step.name, figure(step.norm), f"{step.share:.1%}",
            bar(step.norm / largest, BAR).ljust(BAR),
        ]
        for step in steps
    ]  # fmt: skip
    plain = in_columns([head, *rows], width)
    for count in range(SHOWN, 0, -1):
        told = ["inputs: value (∂E/∂x)", *(_told(step, count) for step in steps)]
        beside = [
            f"{line.ljust(max(map(len, plain)))}  {text}"
            for line, text in zip(plain, told, strict=True)
        ]
        if max(map(len, beside)) <= width:
            return beside
    return plain


def told_steps(blame: Blame) -> Sequence[Step]:
    """The last steps, up to those that carry nearly all; not too many."""
    return blame.steps[: min(MOST, blame.within(CARRIED))]


def rest(blame: Blame) -> str:
    """What the steps carry that are not in the table."""
    left = blame.steps[len(told_steps(blame)) :]
    if not left:
        return ""
    share = sum(step.share for step in left)
    return f"The {_count(len(left))} before carry {share:.1%} together."


def spoken(value: Any) -> str:
    """A value of the data as it is read.

    >>> spoken(26.810000001), spoken("wet"), spoken(None)
    ('26.81', 'wet', '')
    """
    if value is None:
        return ""
    return figure(value) if isinstance(value, float) else str(value)


def _told(step: Step, count: int) -> str:
    strong = sorted(step.inputs, key=lambda given: -abs(given.gradient))[:count]
    return ", ".join(
        " ".join(filter(None, (given.name, spoken(given.value), f"({moves(given)})")))
        for given in strong
    )


def moves(given: Input) -> str:
    """How an input moves the error: with a sign, if it has one."""
    if not given.gradient:
        return "0"
    return f"{given.gradient:+.3g}" if given.signed else f"{given.gradient:.3g}"


def _count(steps: int) -> str:
    return f"{steps} step{'' if steps == 1 else 's'}"
