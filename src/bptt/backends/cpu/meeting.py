"""The source of how threads that share a step's columns wait for each other.

What one of them stores in a stage the others read in the next, so all meet after every stage. The
place where arrivals are counted only ever grows: all are there when it has reached `goal`, as many
as there are members for each meeting so far.

Where another program has the processor of one of them, the others would wait for it at every
meeting. So one who has waited for long in vain proposes to go on alone, from the end of the step
in which all have met once more: all see by then that it has. The first to propose is the one.
"""

from bptt.backends.cpu.lines import function, indent

PATIENCE = 16384  # pauses, about a millisecond, after which a thread sleeps: others then wait too
NAP = 1  # microseconds
OFTEN = 256  # meetings in which one nap is not much
MOST = 1 << 10  # members: a proposal is the meeting from which on it counts, and who made it


def meeting(slots: dict[str, int]) -> str:
    """The function `meet(block, goal, member, members)`."""
    met, naps, alone = slots["met"], slots["naps"], slots["alone"]
    lines = [
        f"arrived = claim(block, {met}) + 1",
        "pauses = 0",
        "while arrived < goal:",
        "    pause()",
        "    pauses += 1",
        f"    if pauses >= {PATIENCE}:",
        f"        if (claim(block, {naps}) + 1) * {OFTEN} * members > goal:",
        f"            propose(block, {alone}, (goal + members) * {MOST} + member)",
        f"        call(integer(block, {slots['rest']}), {NAP})",
        f"    arrived = seen(block, {met})",
    ]
    given = ["block", "goal", "member", "members"]
    return "\n".join(function("meet", given, "waits for all members", lines))


def part(slots: dict[str, int], ranges: dict[str, int]) -> list[str]:
    """Lines at the end of a step, when all have met: from there on one may go on alone.

    Args:
        slots: of the block.
        ranges: how many panels each stage has, by the stage's name.
    """
    one = ["member = 0", *(f"{name}_high = {panels}" for name, panels in ranges.items())]
    rest = ["member = 1", *(f"{name}_high = 0" for name in ranges)]
    leave = [
        "members = 1",
        *(f"{name}_low = 0" for name in ranges),
        f"if parting % {MOST} == member:",
        *indent(one),
        "else:",
        *indent(rest),
    ]
    lines = [f"parting = seen(block, {slots['alone']})"]
    lines += [f"if parting != 0 and parting // {MOST} <= met:", *indent(leave)]
    return ["if members > 1:", *indent(lines)]
