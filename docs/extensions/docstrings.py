"""Docstrings as this project writes them, made fit for reStructuredText.

An indented block after a blank line is an equation or code, shown as it stands; and bars and
asterisks mean themselves.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

BEFORE_NAPOLEON = 400
MARKS = re.compile(r"\||(?<![\w*])\*(?=\w[^*]*$)")


def as_text(lines: list[str]) -> Iterator[str]:
    """The same lines with literal blocks marked and marks escaped.

    >>> list(as_text(["Of |x|:", "", "    y = |x|", "", "and (T, *shape)"]))
    ['Of \\\\|x\\\\|:', '', '::', '', '    y = |x|', '', 'and (T, \\\\*shape)']
    """
    before, literal = "", False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not before and not literal:
            yield from ("::", "")
            literal = True
        elif line and not indented:
            literal = False
        as_it_is = literal or line.startswith((">>>", "..."))
        yield line if as_it_is else MARKS.sub(r"\\\g<0>", line)
        before = line


def mend(app: "Sphinx", what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = list(as_text(lines))


def setup(app: "Sphinx") -> dict[str, bool]:
    app.connect("autodoc-process-docstring", mend, priority=BEFORE_NAPOLEON)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
