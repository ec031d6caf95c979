"""Ways back through time: how far, and at what cost in memory, a gradient travels."""

from bptt.methods.checkpointed import Checkpointed
from bptt.methods.full import Full
from bptt.methods.truncated import Truncated

__all__ = ["Checkpointed", "Full", "Method", "Truncated"]

Method = Full | Truncated | Checkpointed
