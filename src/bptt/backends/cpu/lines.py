"""Lines of generated source."""

from collections.abc import Iterable


def indent(lines: Iterable[str]) -> list[str]:
    """The lines, one level further in."""
    return [f"    {line}" if line else line for line in lines]


def function(name: str, arguments: Iterable[str], comment: str, lines: Iterable[str]) -> list[str]:
    """A function with a comment on what it does."""
    return [f"def {name}({', '.join(arguments)}):", f"    # {comment}", *indent(lines), "", ""]
