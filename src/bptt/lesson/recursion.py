"""The chapter on the way back: every factor of the chain rule, and what they carry to each step."""

from bptt.lesson.activations import ACTIVATIONS
from bptt.lesson.lesson import Lesson
from bptt.lesson.picture import way_back
from bptt.lesson.table import Row, over_time
from bptt.picture.notation import flow, matrix, prose, sub, vector

SHOWN_JACOBIANS = 5
ROOM = 76


def recursion(lesson: Lesson, digits: int, width: int) -> list[str]:
    """The error's way from E_t to each state before it, drawn, as matrices and as a table."""
    t = sub(lesson.example.t)
    return [
        *prose(
            f"Only E{t} is trained, with all that happened before. Each step used the same "
            f"weights, so a path leads from E{t} back to each step: a term of the gradient. "
            "∂⁺sₖ/∂W is the direct part, by step k's own use of W, with sₖ₋₁ held fast."
        ),
        "",
        *way_back(lesson.example.t, width),
        "",
        *_first_factors(lesson, digits),
        "",
        *_jacobians(lesson, digits, width),
        "",
        *_adjoints(lesson, digits, width),
        "",
        *prose(_course(lesson)),
    ]


def _first_factors(lesson: Lesson, digits: int) -> list[str]:
    t, chain = sub(lesson.example.t), lesson.chain
    if lesson.example.loss.name == "cross-entropy":
        output, opening = "z", [f"z{t} = s{t} Wy is what the softmax takes, and"]
        read_out = f"∂E{t}/∂z{t} = ∂E{t}/∂y{t} · ∂y{t}/∂z{t} = y{t} - d{t} = "
    else:
        output, opening = "y", []
        read_out = f"∂E{t}/∂y{t} = -2 (d{t} - y{t}) = "
    state = f"∂E{t}/∂s{t} = ∂E{t}/∂{output}{t} Wyᵀ = "
    return [
        *opening,
        read_out + vector(chain.read_out, digits, ROOM - len(read_out)),
        state + vector(chain.adjoints[-1], digits, ROOM - len(state)),
    ]


def _jacobians(lesson: Lesson, digits: int, width: int) -> list[str]:
    slopes = dict(ACTIVATIONS.values())
    slope = slopes.get(lesson.example.activation)
    blocks = [
        [f"∂s{sub(k)}/∂s{sub(k - 1)}", *matrix(lesson.chain.jacobians[k - 1], digits)]
        for k in range(lesson.example.t, 0, -1)
    ]
    if len(blocks) > SHOWN_JACOBIANS:
        blocks = [*blocks[: SHOWN_JACOBIANS - 2], ["⋯"], blocks[-1]]
    return [
        "∂sₖ/∂sₖ₋₁ = diag(φ'(aₖ)) Wsᵀ,",
        f"where aₖ = xₖ Wx + sₖ₋₁ Ws goes into φ = {lesson.example.activation_name}"
        + (f"; φ'(a) = {slope}" if slope else ""),
        "",
        *flow(blocks, width),
    ]


def _adjoints(lesson: Lesson, digits: int, width: int) -> list[str]:
    t, chain = sub(lesson.example.t), lesson.chain
    rows = [
        Row("φ'(aₖ)", chain.slopes),
        Row(f"∂E{t}/∂sₖ", chain.adjoints, first=0),
        Row(f"‖∂E{t}/∂sₖ‖", chain.adjoints.norm(dim=1, keepdim=True), first=0),
        Row("δₖ", chain.deltas),
    ]
    return [
        f"∂E{t}/∂sₖ₋₁ = ∂E{t}/∂sₖ · ∂sₖ/∂sₖ₋₁, from k = {lesson.example.t} down; "
        f"δₖ = ∂E{t}/∂sₖ ∘ φ'(aₖ)",
        "",
        *over_time("k", rows, digits, width),
    ]


def _course(lesson: Lesson) -> str:
    t, norms = lesson.example.t, lesson.chain.adjoints.norm(dim=1)
    if norms[-1] == 0:
        return f"E{sub(t)} has no slope here: there is nothing to send back."
    rate = float(norms[0] / norms[-1]) ** (1 / t)
    if rate == 0:
        return "On its way back the error dies out entirely."
    course = "fades" if rate < 1 else "grows" if rate > 1 else "keeps its size"
    return f"On its way back the error {course}, by a factor of {rate:.2g} a step on average."
