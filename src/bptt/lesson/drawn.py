"""The lesson's network drawn as any other is, its numbers those of the chain."""

from typing import Any

import torch
from torch import Tensor

from bptt.compiler.graph import Graph
from bptt.lesson.lesson import Lesson
from bptt.picture.numbers import width
from bptt.picture.sketch import Part, Sketch
from bptt.picture.words import figure

X, BEFORE, WX, WS, PHI, STATE, WY, Y = range(8)
COLUMNS = 6  # steps drawn at most


def network(activation: str) -> Sketch:
    """The parts of one step."""
    parts = (
        Part("input", "x", -1),
        Part("before", "s", -1),
        Part("weight", "Wx", -1, (X,), ("Wx",)),
        Part("weight", "Ws", -1, (BEFORE,), ("Ws",)),
        Part("function", activation, -1, (WX, WS)),
        Part("state", "s", -1, (PHI,)),
        Part("weight", "Wy", -1, (STATE,), ("Wy",)),
        Part("output", "y", -1, (WY,)),
    )
    return Sketch(parts, Graph(), None, ())


def values(lesson: Lesson, steps: int) -> dict[str, Any]:
    """What a drawing of as many as `steps` steps shows of a lesson, as `picture.numbers.shown`."""
    t = lesson.example.t
    window = min(COLUMNS, steps)
    start = max(0, min(t - window, steps - window))
    sizes = {key: _columns(norms, start, window) for key, norms in _norms(lesson).items()}
    scales = {
        weights: max((v for key, own in sizes.items() if (key[0] == "w") == weights for v in own))
        for weights in (False, True)
    }
    k = list(range(start + 1, start + window + 1))
    shown: dict[str, Any] = {
        "t": t,
        "k": k,
        "index": [number - 1 for number in k],
        "name": [""] * window,
        "loss": figure(lesson.before),
        "v": {
            key: [[figure(v), width(v, scales[key[0] == "w"])] for v in own]
            for key, own in sizes.items()
        },
    }
    shown["error"] = f"E at step {t}: {shown['loss']}"
    return shown


def _norms(lesson: Lesson) -> dict[str, Tensor]:
    """By key, a norm for each step 1 to t."""
    chain, (Wx, _, _) = lesson.chain, lesson.example.weights
    t = lesson.example.t
    adjoints = chain.adjoints.norm(dim=1)
    deltas = chain.deltas.norm(dim=1)
    inputs = (chain.deltas @ Wx.T).norm(dim=1)
    at_last = torch.zeros(t, dtype=torch.float64)
    read_out, state = at_last.clone(), at_last.clone()
    read_out[-1], state[-1] = chain.read_out.norm(), adjoints[-1]
    terms = {f"w:{name}": own.flatten(1).norm(dim=1) for name, own in _terms(lesson).items()}
    return {
        "s0": adjoints[1:], "b0": adjoints[:-1], "x": inputs, "y": read_out,
        f"e{X}-{WX}": inputs, f"e{BEFORE}-{WS}": adjoints[:-1], f"e{WX}-{PHI}": deltas,
        f"e{WS}-{PHI}": deltas, f"e{PHI}-{STATE}": adjoints[1:], f"e{STATE}-{WY}": state,
        f"e{WY}-{Y}": read_out, **terms,
    }  # fmt: skip


def _terms(lesson: Lesson) -> dict[str, Tensor]:
    """Each weight's terms for steps 1 to t; Wy has one, at t."""
    Wx, Ws, Wy = lesson.chain.terms
    earlier = Wy.new_zeros(lesson.example.t - 1, *Wy.shape[1:])
    return {"Wx": Wx, "Ws": Ws, "Wy": torch.cat([earlier, Wy])}


def _columns(norms: Tensor, start: int, window: int) -> list[float]:
    """Of the steps drawn; 0 for those after t."""
    found = norms.tolist()[start : start + window]
    return [*found, *[0.0] * (window - len(found))]


def path(t: int, k: int, name: str) -> list[str]:
    """What a term's path leads over, from E_t back to step k's use of a weight: "step:key"."""
    way = [f"{t}:y", f"{t}:e{WY}-{Y}", f"{t}:p{Y}"]
    if name == "Wy":
        return [*way, f"{t}:p{WY}"]
    way += [f"{t}:e{STATE}-{WY}", f"{t}:p{WY}"]
    for step in range(t, k, -1):
        way += [f"{step}:p{STATE}", f"{step}:e{PHI}-{STATE}", f"{step}:p{PHI}"]
        way += [f"{step}:e{WS}-{PHI}", f"{step}:p{WS}", f"{step}:e{BEFORE}-{WS}"]
    own = WS if name == "Ws" else WX
    way += [f"{k}:p{STATE}", f"{k}:e{PHI}-{STATE}", f"{k}:p{PHI}", f"{k}:e{own}-{PHI}"]
    return [*way, f"{k}:p{own}"]
