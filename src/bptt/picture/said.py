"""What is said of the parts of a drawing: the formula's term, and which number goes with it."""

from typing import Any

from bptt.picture.names import titles
from bptt.picture.sketch import Part, Sketch
from bptt.picture.words import filled, say, term

Said = list[list[str]]  # pairs of a text and the key of its number, "" for none
KEYS = {"state": "s{}", "before": "b{}", "input": "x", "output": "y"}


def said(values: dict[str, Any], part: Part, column: int) -> Said:
    """What is said of a part in a column: its own term, and that of each weight there.

    Args:
        values: as `picture.numbers.shown` gives them.
        part: of the sketch that they are of.
        column: of the steps drawn.
    """
    t, k = values["t"], values["k"][column] - (part.kind == "before")
    if values["k"][column] > t:
        return [[f"step {k} comes after t = {t}: E does not depend on it", ""]]
    if part.kind == "output" and k != t:
        return [[f"y of step {k} is not looked at by E of step {t}", ""]]
    weights = titles([key[2:] for key in values["v"] if key[0] == "w"])
    own = say(part, "s1" in values["v"])
    found = [(own, KEYS.get(part.kind, "").format(part.leaf))] if own else []
    found += [(term(weights.get(name, name)), f"w:{name}") for name in part.parameters]
    return [[filled(text, t, k), key] for text, key in found]


def all_said(values: dict[str, Any], sketch: Sketch) -> list[list[Said]]:
    """What is said of every part, in every column."""
    columns = range(len(values["k"]))
    return [[said(values, part, column) for column in columns] for part in sketch.parts]


def joined(values: dict[str, Any], pairs: Said, column: int) -> str:
    """Texts with their numbers, in a row."""
    told = (
        f"{text}: norm {values['v'][key][column][0]}" if key in values["v"] else text
        for text, key in pairs
    )
    return ". ".join(told)
