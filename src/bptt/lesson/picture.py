"""The network drawn: folded, unfolded in time, and the error's way back."""

from bptt.picture.notation import sub

PITCH = 13  # columns that one step takes
MARGIN = 6  # columns beside the steps: s_0 on the left, E_t on the right


def folded() -> list[str]:
    """The network as it is built: one set of weights, the state fed back.

    >>> print(folded()[2])
              │ Wy
    """
    return [
        "          yₜ ──── Eₜ ──── dₜ",
        "          ▲",
        "          │ Wy",
        "       ╭──┴──╮",
        "   ╭──►│ sₜ  ├───╮",
        "   │   ╰──▲──╯   │",
        "   │      │ Wx   │",
        "   │      xₜ     │",
        "   ╰───── Ws ◄───╯   one step later",
    ]


def unfolded(t: int, width: int) -> list[str]:
    """The same network written out in time, up to the step that is trained.

    Args:
        t: the last step.
        width: columns there are; steps that do not fit are left out in the middle.
    """
    start = [""] * 6 + [" s₀"] + [""] * 3
    skip = [""] * 6 + ["─ Ws ►   ⋯"] + [""] * 3
    return _row(start, 4, [_step(k, k == t) if k else skip for k in shown_steps(t, width)])


def way_back(t: int, width: int) -> list[str]:
    """The error's way from E_t back through the states, and off to the weights at every step.

    Args:
        t: the last step.
        width: columns there are; steps that do not fit are left out in the middle.
    """
    skip = [""] * 3 + ["   ⋯   ◄─────"] + [""] * 2
    return _row([""] * 6, 1, [_step_back(k, t) if k else skip for k in shown_steps(t, width)])


def shown_steps(t: int, width: int) -> list[int]:
    """The steps that a drawing of this width has room for; 0 stands for those left out.

    >>> shown_steps(3, 80), shown_steps(10, 80)
    ([1, 2, 3], [1, 2, 0, 9, 10])
    """
    room = max(3, (width - MARGIN) // PITCH)
    if t <= room:
        return list(range(1, t + 1))
    after = (room - 1) // 2
    return [*range(1, room - after), 0, *range(t - after + 1, t + 1)]


def _step(k: int, last: bool) -> list[str]:
    n = sub(k)
    error = [f"d{n} ─── ".rjust(9) + f"E{n}", "         ▲"] if last else ["", ""]
    return [
        *error,
        f"         y{n}",
        "         ▲",
        "         │ Wy",
        "      ╭──┴──╮",
        f"─ Ws ►│ {'s' + n:<4}│",
        "      ╰──▲──╯",
        "         │ Wx",
        f"         x{n}",
    ]


def _step_back(k: int, t: int) -> list[str]:
    label = f"∂s{sub(k + 1)}/∂s{sub(k)}" if k < t else f"∂E{sub(t)}/∂s{sub(t)}"
    return [
        f"∂⁺s{sub(k)}/∂W".center(7),
        "   ▲",
        "╭──┴──╮",
        f"│ {'s' + sub(k):<4}│◄─────" + (f" E{sub(t)}" if k == t else ""),
        "╰─────╯",
        " " * 6 + label.center(8),
    ]


def _row(left: list[str], left_width: int, drawn: list[list[str]]) -> list[str]:
    """Columns of text put together, each step as wide as the next."""
    lines = zip(left, *drawn, strict=True)
    return [
        (first.ljust(left_width) + "".join(text.ljust(PITCH) for text in texts)).rstrip()
        for first, *texts in lines
    ]
