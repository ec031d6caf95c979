"""From figures to plain words: all rules, and in which order they are told."""

from bptt.inspect.finding import SEVERITIES, Finding, Seen
from bptt.inspect.smooth import not_differentiable
from bptt.inspect.travel import broken, exploding, no_gradient, truncated, vanishing
from bptt.inspect.units import chaotic, dead, ignored, saturated

# What comes first is told first among findings of one severity.
RULES = (
    broken, not_differentiable, no_gradient, exploding, vanishing, saturated, dead, truncated,
    chaotic, ignored,
)  # fmt: skip


def findings(seen: Seen) -> list[Finding]:
    """What the figures say, the weightiest first; where all is well, that before the rest."""
    found = [finding for rule in RULES for finding in rule(seen)]
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    if found and found[0].severity in ("problem", "warning"):
        return found
    what = "Nothing is wrong with the gradient's way, as far as these figures tell."
    return [Finding("healthy", "good", what, 1.0), *found]
