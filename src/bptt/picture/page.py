"""The drawing as a page: a slider leads through the loss times, pointing at a part tells of it."""

import json
from html import escape
from typing import TYPE_CHECKING, Any

from bptt.picture.numbers import shown
from bptt.picture.said import unfilled
from bptt.picture.spread import spread
from bptt.picture.style import script, style

if TYPE_CHECKING:
    from bptt.picture.unfolded import Unfolded

HEADS = {"s": "‖∂E/∂s‖", "x": "‖∂E/∂x‖"}


def page(picture: "Unfolded", title: str = "The gradient on its way back") -> str:
    """A whole page that needs nothing else."""
    return document(title, f"<main>{picture.fragment()}</main>")


def document(title: str, body: str, more: str = "") -> str:
    """A page around what is in its body, with more of a style if it needs some."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style('colours')}{style('page')}{more}</style></head>"
        f"<body>{body}</body></html>\n"
    )


def framed(picture: "Unfolded") -> str:
    """The page as a notebook shows it, apart from the notebook's own style."""
    high = 370 + int(picture.size()[1])
    return (
        f'<iframe srcdoc="{escape(page(picture))}" sandbox="allow-scripts" '
        f'title="unfolded network" style="width:100%;height:{high}px;border:0"></iframe>'
    )


def fragment(picture: "Unfolded", room: int) -> str:
    """The figure alone, with its style, data and script.

    Args:
        picture: what is drawn.
        room: bytes that the numbers of its loss times may take; where they take more, loss times
            are left out evenly, and the figure says so.
    """
    rows, chosen = _kept(picture, room)
    now = rows[chosen]
    data = _json({"rows": rows, "said": unfilled(now, picture.sketch)})
    return (
        f"<style>{style('figure')}</style>"
        f'<figure class="bptt-picture" data-loss-time="{now["at"]}">'
        f"{_controls(now, chosen, len(rows))}"
        f'<div class="unfolded" tabindex="-1">{picture.svg()}</div>'
        f'<p class="said" data-said role="status">{escape(now["summary"])}</p>'
        f'<p class="note" data-shown="folded">{escape(now["folded"])}</p>'
        f"{_notes(picture, len(rows))}{_table(picture, now)}"
        f'<script type="application/json">{data}</script>'
        f"<script>{script('picture')}</script></figure>"
    )


def _json(data: Any) -> str:
    """As it may stand in a script."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _kept(picture: "Unfolded", room: int) -> tuple[list[dict[str, Any]], int]:
    """As many loss times as have room, and the place of the chosen one among them."""
    count = len(picture.credit.times)
    one = len(_json(moment(picture, picture.chosen)).encode())
    kept = spread(range(count), max(1, room // one), picture.chosen)
    return [moment(picture, row) for row in kept], kept.index(picture.chosen)


def moment(picture: "Unfolded", row: int) -> dict[str, Any]:
    """What `shown` gives of a loss time, and what is said of it as a whole."""
    values = shown(picture, row)
    t = values["t"]
    name = f", {values['called']}" if values["called"] else ""
    values |= {
        "at": int(picture.credit.times[row]),
        "error": f"E at step {t}{name}: {values['loss']}",
        "summary": f"Loss time t = {t}{name}: E = {values['loss']}. Point at a part, or go to it "
        "with Tab and the arrow keys, to read its term and number.",
    }
    return values


def _controls(now: dict[str, Any], chosen: int, count: int) -> str:
    """A slider, if there is anything to choose."""
    return (
        '<div class="controls"><label>loss time t <input type="range" data-loss-slider min="0" '
        f'max="{count - 1}" value="{chosen}" aria-valuetext="{escape(now["error"])}"'
        f'{"" if count > 1 else " hidden"}></label> <output data-shown="t">{now["t"]}</output> '
        f'<span class="loss" data-shown="error">{escape(now["error"])}</span></div>'
    )


def _choice(picture: "Unfolded", count: int) -> str:
    """Which loss times the slider leads through."""
    if picture.losses == 1:
        return "There is one loss time: only the error at this step is looked at."
    if count == picture.losses:
        return f"The slider leads through all {count:,} loss times."
    return (
        f"The slider leads through {count:,} of {picture.losses:,} loss times, evenly spread, to "
        "keep the page small."
    )


def _notes(picture: "Unfolded", count: int) -> str:
    """What there is to choose, what the widths mean, and what is not known."""
    notes = [
        f"{_choice(picture, count)} Steps are counted from {picture.first}.",
        "Against the arrows, in colour: what of E's gradient travels on a line. Its width is the "
        "root of its norm, beside the largest drawn; the rim of a weight is the step's term of the "
        "weight's gradient. Below a state: ‖∂E/∂s‖.",
    ]
    if picture.flow.edges is None:
        drawn = (
            "the step draws random numbers"
            if picture.sketch.of("draw")
            else "its own way back is not that of the operations it is drawn with"
        )
        why = picture.sketch.refusal or drawn
        notes.append(f"The inside of the step carries no numbers: {why}.")
    return "".join(f'<p class="note">{escape(note)}</p>' for note in notes)


def _table(picture: "Unfolded", now: dict[str, Any]) -> str:
    keys = [key for key in now["v"] if key[0] in "sxw"]
    heads = [f"‖∂E/∂{key[2:]}‖, term" if key[0] == "w" else _head(key, now) for key in keys]
    head = "".join(f"<th>{escape(text)}</th>" for text in ("step", "called", *heads))
    body = "".join(
        f"<tr><td>{k}</td><td>{escape(now['name'][place])}</td>"
        + "".join(f'<td data-key="{escape(key)}">{now["v"][key][place][0]}</td>' for key in keys)
        + "</tr>"
        for place, k in enumerate(now["k"])
    )
    folded = picture.folded()
    return (
        "<details><summary>The numbers as a table</summary>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f"</div></details><details><summary>The network folded</summary>"
        f'<div class="scroll">{folded}</div></details>'
    )


def _head(key: str, now: dict[str, Any]) -> str:
    one = "s1" not in now["v"]
    return HEADS[key[0]] if one or key[0] == "x" else f"‖∂E/∂s[{key[1:]}]‖"
