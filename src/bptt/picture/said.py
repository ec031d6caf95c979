"""What is said of the parts of a drawing: the formula's term, and which number goes with it."""

from typing import Any

from bptt.picture.names import titles
from bptt.picture.sketch import Part, Sketch
from bptt.picture.words import filled, say, term

Said = list[list[str]]  # pairs of a text and the key of its number, "" for none
KEYS = {"state": "s{}", "before": "b{}", "input": "x", "output": "y"}


def said(values: dict[str, Any], sketch: Sketch, number: int, column: int) -> Said:
    """What is said of a part in a column: its own term, or what it hands on, and its weights'.

    Args:
        values: as `picture.numbers.shown` gives them.
        sketch: what they are of.
        number: of the part.
        column: of the steps drawn.
    """
    t, k = values["t"], values["k"][column]
    own = k - (sketch.parts[number].kind == "before")
    return [[filled(text, t, own), key] for text, key in _unfilled(values, sketch, number, t - k)]


def all_said(values: dict[str, Any], sketch: Sketch) -> list[list[Said]]:
    """What is said of every part, in every column."""
    columns = range(len(values["k"]))
    numbers = range(len(sketch.parts))
    return [[said(values, sketch, number, column) for column in columns] for number in numbers]


def unfilled(values: dict[str, Any], sketch: Sketch) -> list[list[Said]]:
    """What is said of every part at every loss time, its times left out.

    That depends on how far from the loss time its step is alone: after it, at it, one step before
    it, further back.
    """
    lags, numbers = (-1, 0, 1, 2), range(len(sketch.parts))
    return [[_unfilled(values, sketch, number, lag) for lag in lags] for number in numbers]


def _unfilled(values: dict[str, Any], sketch: Sketch, number: int, lag: int) -> Said:
    """With the times still to be `filled` in, of a step so long before the loss time."""
    part = sketch.parts[number]
    if lag < 0:
        return [["step {K} comes after t = {T}: E does not depend on it", ""]]
    if part.kind == "output" and lag:
        return [["y of step {K} is not looked at by E of step {T}", ""]]
    weights = titles([key[2:] for key in values["v"] if key[0] == "w"])
    own = say(part, "s1" in values["v"], lag + (part.kind == "before"))
    found = [[own, KEYS[part.kind].format(part.leaf)]] if part.kind in KEYS else []
    if part.kind in ("function", "gate", "sum"):
        sources = [(a, _source(sketch.parts[a])) for a in part.sources]
        found = [[f"{own}, on to {source}", f"e{a}-{number}"] for a, source in sources]
    return found + [[term(weights.get(name, name)), f"w:{name}"] for name in part.parameters]


def _source(part: Part) -> str:
    """How a part is called by what it leads to."""
    return f"{part.label}{{j}}" if part.kind == "before" else part.label


def joined(values: dict[str, Any], pairs: Said, column: int) -> str:
    """Texts with their numbers, in a row."""
    told = (
        f"{text}: norm {values['v'][key][column][0]}" if key in values["v"] else text
        for text, key in pairs
    )
    return ". ".join(told)
