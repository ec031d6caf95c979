"""The loop column of a graph as stages over the columns of a row."""

from bptt.compiler.arrange.arrangement import arrange
from bptt.compiler.arrange.memories import Names, Part

__all__ = ["Names", "Part", "arrange"]
