"""The chapters on the gradient: each weight's terms, their sum, and whether others agree."""

from torch import Tensor

from bptt.lesson.checks import Check
from bptt.lesson.lesson import Lesson
from bptt.picture.notation import bar, beside, cut, matrix, number, sub

SHOWN_TERMS = 12
BAR = 14
ROOM = 60  # columns for the formula and its numbers


def read_out_term(lesson: Lesson, digits: int) -> list[str]:
    """dE_t/dWy, a single term."""
    t, gradient = sub(lesson.example.t), lesson.chain.gradient.Wy
    output = "z" if lesson.example.loss.name == "cross-entropy" else "y"
    return [
        f"E{t} uses Wy at time {lesson.example.t} alone: one term, and nothing goes back in time.",
        "",
        *_equation(f"∂E{t}/∂Wy = s{t}ᵀ ∂E{t}/∂{output}{t}", gradient, digits),
        "",
        *verdict(lesson.checks["Wy"], lesson.example.activation_name),
    ]


def terms(lesson: Lesson, name: str, digits: int) -> list[str]:
    """dE_t/dWs or dE_t/dWx: its terms over the paths back through time, and their sum."""
    t = lesson.example.t
    shown = [_term(lesson, name, k, digits) for k in range(t, 0, -1)]
    if t > SHOWN_TERMS:
        left_out = f"⋯       {t - SHOWN_TERMS + 1} terms are not shown; all are in the sum"
        shown = [*shown[: SHOWN_TERMS - 2], [left_out, ""], shown[-1]]
    return [
        _sum_formula(t, name),
        "",
        *(line for term in shown for line in term),
        *_equation("sum    ", getattr(lesson.chain.gradient, name), digits),
        "",
        *verdict(lesson.checks[name], lesson.example.activation_name),
    ]


def _sum_formula(t: int, name: str) -> str:
    over = ", ".join(cut([str(k) for k in range(t, 0, -1)], 3, "…"))
    last = f"∂E{sub(t)}/∂y{sub(t)} · ∂y{sub(t)}/∂s{sub(t)} · ∂s{sub(t)}/∂sₖ · ∂⁺sₖ/∂{name}"
    return f"∂E{sub(t)}/∂{name} = Σ {last}   over k = {over}"


def _term(lesson: Lesson, name: str, k: int, digits: int) -> list[str]:
    """A term's formula, its numbers, its norm, and a bar to set it beside the largest term."""
    values = getattr(lesson.chain.terms, name)
    largest = float(values.flatten(1).norm(dim=1).max()) or 1.0
    share = float(values[k - 1].norm()) / largest
    used = f"s{sub(k - 1)}" if name == "Ws" else f"x{sub(k)}"
    return [
        f"k = {k:<3} {_factors(lesson.example.t, k)} · ∂⁺s{sub(k)}/∂{name}",
        *_equation(f"        = {used}ᵀ δ{sub(k)}", values[k - 1], digits, bar(share, BAR)),
        "",
    ]


def _equation(left: str, values: Tensor, digits: int, *notes: str) -> list[str]:
    """What is meant, its numbers, its norm and whatever else is to stand beside them."""
    norm = f"norm {number(float(values.norm()), digits)}"
    numbers = matrix(values, digits, ROOM - len(left))
    return beside(beside([f"{left} = "], numbers, gap=0), [norm, *notes])


def _factors(t: int, k: int) -> str:
    """From E_t back to s_k."""
    back = [f"∂s{sub(j)}/∂s{sub(j - 1)}" for j in range(t, k, -1)]
    first = [f"∂E{sub(t)}/∂y{sub(t)}", f"∂y{sub(t)}/∂s{sub(t)}"]
    return " · ".join([*first, *cut(back, 3, "…")])


def verdict(check: Check, activation: str) -> list[str]:
    by_unroll, by_hand = number(check.unroll, 2), number(check.differences, 2)
    if not check.agrees:
        return [f"DISAGREES: {by_unroll} from bptt.unroll, {by_hand} from finite differences"]
    if check.corner:
        return [
            f"agrees with bptt.unroll to {by_unroll}; finite differences ({by_hand} off)",
            f"say nothing here, for a state lies at a corner of {activation}",
        ]
    large = [f"beside entries of up to {number(check.scale, 2)}"] if check.scale > 100 else []
    return [f"agrees with bptt.unroll to {by_unroll}, with finite differences to {by_hand}", *large]
