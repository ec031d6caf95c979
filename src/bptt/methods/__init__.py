"""Ways back through time: how far, and at what cost in memory, a gradient travels."""

from bptt.methods.full import Full

__all__ = ["Full"]
