"""What functions without a derivative say: the gradient is no number, ends, or is a stand-in."""

from collections.abc import Iterator

from bptt.inspect.finding import Finding, Seen, Severity
from bptt.inspect.kinks import Kind, Kink

# A few numbers fall exactly on a corner where states start from zero; more than a hundredth, and
# it is what the cell or its inputs are made of.
OFTEN = 0.01
SAID: dict[Kind, tuple[Severity, str]] = {
    "infinite": (
        "problem",
        "keep what goes into it away from there: (x + 1e-8).sqrt(), or clamp(min=1e-8) before it.",
    ),
    "jump": (
        "note",
        "if an error is meant to go back through it, give it a backward pass of its own, as "
        "bptt.cells.LIF's spikes have.",
    ),
    "corner": ("note", ""),
    "own": ("note", ""),
}


def not_differentiable(seen: Seen) -> Iterator[Finding]:
    """Functions of the step that were met where they have no derivative."""
    for kink in (_in_batch(seen, kink) for kink in seen.kinks):
        share = kink.count / kink.total if kink.total else 1.0
        if kink.kind == "corner" and share < OFTEN:
            continue
        severity, advice = SAID[kink.kind]
        step = kink.step if kink.kind in ("infinite", "corner") else None
        yield Finding("not differentiable", severity, str(kink), share, advice, step)


def _in_batch(seen: Seen, kink: Kink) -> Kink:
    """A sample's kink, its step and sequence as the batch has them."""
    return kink._replace(step=kink.step + seen.start, sequence=seen.sequences[kink.sequence])
