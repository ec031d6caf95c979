"""What is said of a part of a drawing: its formula's term, and numbers as people read them."""

from collections.abc import Sequence

from bptt.picture.notation import number, sub
from bptt.picture.sketch import Part

DIGITS = 4


def figure(value: float) -> str:
    """A number to four significant digits.

    >>> figure(0.123456), figure(0.0), figure(1.5e-7)
    ('0.1235', '0', '1.5e-07')
    """
    return number(value, DIGITS) if value else "0"


def say(part: Part, several: bool, lag: int) -> str:
    """What a part stands for on the way back, with its times to be `filled` in.

    Args:
        part: of a sketch.
        several: whether the state has several leaves.
        lag: steps from here to the loss time.
    """
    state = f"{part.label}{{k}}" if several else "s{k}"
    between = {0: "", 1: " = ∂E{t}/∂s{t} · ∂s{t}/∂s{k}"}
    chain = between.get(lag, " = ∂E{t}/∂s{t} ⋯ ∂s{n}/∂s{k}")
    terms = {
        "before": f"∂E{{t}}/∂{state}",
        "state": f"∂E{{t}}/∂{state}{chain}",
        "input": "∂E{t}/∂x{k} = ∂E{t}/∂s{k} · ∂s{k}/∂x{k}",
        "output": "∂E{t}/∂y{t}",
        "function": f"through {part.label} of step {{K}}",
        "gate": f"through {part.label} of step {{K}}",
        "sum": "through the sum of step {K}",
    }
    return terms.get(part.kind, "")


def term(name: str) -> str:
    """The term of a weight's gradient that one step contributes."""
    return f"∂E{{t}}/∂{name}, the term of step {{K}}: ∂E{{t}}/∂s{{k}} · ∂⁺s{{k}}/∂{name}"


def filled(template: str, t: int, k: int) -> str:
    """A template with its times: {t}, {k}, {n} for k + 1 and {j} for k - 1 set low, {T}, {K} not.

    >>> filled("∂E{t}/∂s{k} of step {K}", 5, 3)
    '∂E₅/∂s₃ of step 3'
    """
    low = {"t": sub(t), "k": sub(k), "n": sub(k + 1), "j": sub(k - 1), "T": str(t), "K": str(k)}
    for letter, text in low.items():
        template = template.replace(f"{{{letter}}}", text)
    return template


def among(names: Sequence[str]) -> str:
    """Names in a row.

    >>> among(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""
