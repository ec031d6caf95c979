"""The drawing as text: the error's way back through the states, and each step's terms."""

from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from bptt.picture.names import titles
from bptt.picture.notation import bar, sub
from bptt.picture.numbers import shown, width
from bptt.picture.words import figure

if TYPE_CHECKING:
    from bptt.picture.unfolded import Unfolded

BAR = 16
ARROWS = ((9.0, "◄━━━━"), (5.0, "◄━━━"), (2.0, "◄───"), (0.0, "◄─ "))  # by width of the line
STEPS = 12  # rows of the table


def lines(picture: "Unfolded", room: int) -> list[str]:
    """The loss time that is shown, its way back, and a row for each step.

    Args:
        picture: what is drawn.
        room: columns there are.
    """
    now = shown(picture, picture.chosen)
    called = f" ({now['called']})" if now["called"] else ""
    return [
        *wrap(f"E{sub(now['t'])} = {now['loss']}{called}, and its gradient on its way back:", room),
        "",
        *_way(picture, now["t"], room),
        "",
        *_table(picture, room),
        *(["", *wrap(now["folded"], room)] if now["folded"] else []),
    ]


def _way(picture: "Unfolded", t: int, room: int) -> list[str]:
    """States from left to right, the arrows between them as heavy as what they carry."""
    norms = picture.flow.states[picture.chosen]
    pieces = [f"◄━━ E{sub(t)}"]
    for lag in range(min(picture.window, t - picture.first + 1) + 1):
        size = width(float(norms[lag]), float(norms.max()))
        arrow = next(drawn for least, drawn in ARROWS if size >= least)
        state = f"s{sub(t - lag)} "
        if len(" ".join([state, arrow, *pieces])) + 2 > room:
            pieces.insert(0, "⋯ ")
            break
        pieces = [state, *([arrow, *pieces] if lag else pieces)]
    return ["".join(pieces)]


def _table(picture: "Unfolded", room: int) -> list[str]:
    """A row for each of the last steps: its state's norm, a bar, its terms."""
    credit, row, first = picture.credit, picture.chosen, picture.first
    t = int(credit.times[row])
    steps = list(range(t, max(-1, t - STEPS), -1))
    largest = float(credit.state[row].max()) or 1.0
    named = any(picture.names)
    head = ["k", *(["called"] if named else []), "‖∂E/∂sₖ‖", "".ljust(BAR)]
    head += titles(list(credit.parameters)).values()
    body = [
        [
            str(k + first),
            *([picture.names[k]] if named else []),
            figure(float(credit.state[row, k])),
            bar(_share(float(credit.state[row, k]), largest), BAR).ljust(BAR),
            *(figure(float(norms[row, k])) for norms in credit.parameters.values()),
        ]
        for k in steps
    ]
    return in_columns([head, *body], room)


def _share(value: float, largest: float) -> float:
    return value / largest if np.isfinite(value / largest) else 0.0


def in_columns(rows: list[list[str]], room: int) -> list[str]:
    """Rows set in columns, as many as there is room for."""
    wide = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    kept = len(wide)
    while kept > 3 and sum(wide[:kept]) + 2 * (kept - 1) > room:
        kept -= 1
    return [
        "  ".join(cell.rjust(wide[place]) for place, cell in enumerate(row[:kept])).rstrip()
        for row in rows
    ]
