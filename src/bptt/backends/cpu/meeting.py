"""The source of how threads that share a step's columns wait for each other.

What one of them stores in a stage the others read in the next, so all meet after every stage. The
place where arrivals are counted only ever grows: all are there when it has reached `goal`, as many
as there are members for each meeting so far.
"""

from bptt.backends.cpu.lines import function

PATIENCE = 16384  # pauses, about a millisecond, after which a thread sleeps: others then wait too
NAP = 1  # microseconds


def meeting(slots: dict[str, int]) -> str:
    """The function `meet(block, goal)`."""
    met, rest = slots["met"], slots["rest"]
    lines = [
        f"arrived = claim(block, {met}) + 1",
        "pauses = 0",
        "while arrived < goal:",
        "    pause()",
        "    pauses += 1",
        f"    if pauses % {PATIENCE} == 0:",
        f"        claim(block, {slots['naps']})",
        f"        call(integer(block, {rest}), {NAP})",
        f"    arrived = seen(block, {met})",
    ]
    return "\n".join(function("meet", ["block", "goal"], "waits for all members", lines))
