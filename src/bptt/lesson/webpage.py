"""The lesson as a page: t, the activation and the step of descent are chosen, the rest follows.

Everything that can be chosen has been worked out beforehand; the page's script only shows it.
"""

import json
from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from bptt.lesson import drawn, formulas
from bptt.lesson.example import Example, Weights
from bptt.lesson.formulas import low, math, mi, mo, over, weight
from bptt.lesson.lesson import Lesson
from bptt.lesson.walk import Walk
from bptt.lesson.written import numbers, told_steps, written
from bptt.picture.notation import number
from bptt.picture.page import document
from bptt.picture.place import arrange
from bptt.picture.said import all_said
from bptt.picture.style import script, style
from bptt.picture.svg import Drawing

CHART = (260.0, 90.0)  # pixels of the errors over the steps of descent


def webpage(walk: Walk, digits: int = 4) -> str:
    """The whole page, which needs nothing else.

    >>> from bptt.lesson import make_example
    >>> from bptt.lesson.walk import walk
    >>> webpage(walk(make_example(t=1))).startswith("<!doctype html>")
    True
    """
    example = walk.lessons[walk.chosen][0].example
    sketch = drawn.network(max(walk.activations, key=len))  # with room for each of their names
    shown = drawn.values(walk.lessons[walk.chosen][0], example.t)
    drawing = Drawing(sketch, arrange(sketch), shown).svg()
    values = {
        "CONTROLS": _controls(walk),
        "EQUATIONS": "".join(f"<li>{text}</li>" for text in _equations(walk)),
        "DRAWING": drawing,
        "DATA": _json(data(walk, digits)),
        "SCRIPTS": f"<script>{script('picture')}</script><script>{_beside('lesson.js')}</script>",
        "SIZES": _sizes(example),
        "RATE": f"{walk.lessons[walk.chosen][0].learning_rate:g}",
    }
    body = _beside("lesson.html")
    for name, text in values.items():
        body = body.replace(f"@{name}@", text)
    title = "Back-propagation through time, worked with numbers"
    return document(title, body, style("figure") + _beside("lesson.css"))


def data(walk: Walk, digits: int) -> dict[str, Any]:
    """All that the page's script chooses among."""
    example = walk.lessons[walk.chosen][0].example
    output = "z" if example.loss.name == "cross-entropy" else "y"
    return {
        "chosen": {"activation": walk.chosen[0], "t": walk.chosen[1]},
        "times": walk.times,
        "x": [written(value, digits) for value in example.x],
        "d": [written(value, digits) for value in example.d],
        "s0": written(example.s0, digits),
        "formulas": {
            t: {**_formulas(t, output), "said": _said(walk, t, example.t)} for t in walk.times
        },
        "paths": {
            t: {n: {k: drawn.path(t, k, n) for k in _steps(t, n)} for n in Weights._fields}
            for t in walk.times
        },
        "lessons": {
            f"{activation} {t}": _lessons(lessons, example.t, digits)
            for (activation, t), lessons in walk.lessons.items()
        },
    }


def _lessons(lessons: Sequence[Lesson], steps: int, digits: int) -> dict[str, Any]:
    errors = [*(lesson.before for lesson in lessons), lessons[-1].after]
    return {
        "curve": _curve(errors),
        "top": number(max(errors), 3),
        "steps": [
            {**numbers(lesson, digits), "picture": drawn.values(lesson, steps)}
            for lesson in lessons
        ],
    }


def _curve(errors: Sequence[float]) -> list[list[float]]:
    """Where the error before each step lies in the chart, and after the last."""
    wide, high = CHART
    largest = max(errors) or 1.0
    gap = wide / max(1, len(errors) - 1)
    return [[round(i * gap, 1), round(high * (1 - e / largest), 1)] for i, e in enumerate(errors)]


def _steps(t: int, name: str) -> list[int]:
    return [t] if name == "Wy" else told_steps(t)


def _said(walk: Walk, t: int, steps: int) -> list:
    """What is said of the drawing's parts, the numbers left out: alike for all that one chooses."""
    lessons = next(own for (_, time), own in walk.lessons.items() if time == t)
    return all_said(drawn.values(lessons[0], steps), drawn.network("φ"))


def _formulas(t: int, output: str) -> dict[str, Any]:
    """What depends on the time alone."""
    names = Weights._fields
    told = told_steps(t)
    error, out = low("E", t), low(output, t)
    return {
        "error": math(error),
        "total": {name: formulas.total(t, name, output) for name in names},
        "gradient": {name: math(over(error, weight(name))) for name in names},
        "chain": {n: {k: formulas.chain(t, k, n, output) for k in _steps(t, n)} for n in names},
        "own": {n: {k: formulas.own_part(t, k, n, output) for k in _steps(t, n)} for n in names},
        "read": math(over(error, out)),
        "slope": formulas.slope(t, output),
        "out": math(f"<msubsup>{mi('W')}{mi('y')}{mi('T')}</msubsup>"),
        "state": {k: math(over(error, low("s", k))) for k in [*told, 0]},
        "jacobian": {k: math(over(low("s", k), low("s", k - 1))) for k in told},
        "delta": {k: math(low("δ", k)) for k in told},
        "update": math(mi("W"), mo("←"), mi("W"), mo("−"), mi("η"), over(error, mi("W"))),
    }


def _equations(walk: Walk) -> list[str]:
    activation, t = walk.chosen
    found = formulas.network(activation, walk.lessons[activation, t][0].example.loss.name)
    return [text.replace(f"<mi>{activation}</mi>", f"<mi data-phi>{activation}</mi>", 1)
            for text in found]  # fmt: skip


def _sizes(example: Example) -> str:
    (inputs, hidden), outputs = example.weights.Wx.shape, example.weights.Wy.shape[1]
    counted = (
        (inputs, "input", "inputs"),
        (hidden, "unit of state", "units of state"),
        (outputs, "output", "outputs"),
    )
    return ", ".join(f"{n} {one if n == 1 else several}" for n, one, several in counted)


def _controls(walk: Walk) -> str:
    times = _choice("time", "train at time t", [str(t) for t in walk.times], str(walk.chosen[1]))
    names = _choice("activation", "activation φ", walk.activations, walk.chosen[0])
    return times + names


def _choice(name: str, legend: str, values: Sequence[str], chosen: str) -> str:
    options = "".join(
        f'<label><input type="radio" name="{name}" value="{escape(value)}"'
        f"{' checked' if value == chosen else ''}><span>{escape(value)}</span></label>"
        for value in values
    )
    return f'<fieldset data-control="{name}"><legend>{escape(legend)}</legend>{options}</fieldset>'


def _json(value: dict[str, Any]) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("@", "\\u0040")


@cache
def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
