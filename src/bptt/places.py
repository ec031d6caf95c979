"""Places in code, "file:line": which line of the user's does something, and how it is told."""

import linecache
import os
import sys
from collections.abc import Collection
from pathlib import Path
from types import CodeType, FrameType

import torch

_TORCH = os.path.join(os.path.dirname(torch.__file__), "")
_OWN = os.path.join(os.path.dirname(__file__), "")
_CELLS = tuple(os.path.join(_OWN, room, "") for room in ("cells", "remedies"))


def line(frame: FrameType | None, ends: Collection[CodeType]) -> str:
    """The innermost line that is neither torch's nor ours; "" if there is none.

    Lines of `bptt.cells` and `bptt.remedies` count as the user's.

    Args:
        frame: where to begin.
        ends: the code of our functions beyond which is who called `bptt`, and not the step.
    """
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_CELLS) or not name.startswith((_TORCH, _OWN)):
            return f"{name}:{frame.f_lineno}"
        if frame.f_code in ends:
            return ""
        frame = frame.f_back
    return ""


def code(where: str) -> str:
    """The line of code at a place; "" if it cannot be read."""
    file, _, number = where.rpartition(":")
    return linecache.getline(file, int(number)).strip() if file else ""


def told(where: str) -> str:
    """A place as others may see it, without the folders of this machine.

    Relative to the working directory; else to where the module is imported from; else the file's
    name alone.

    >>> told(os.path.abspath("cells.py") + ":3"), told("/some/where/else/cells.py:3"), told("")
    ('cells.py:3', 'cells.py:3', '')
    """
    file, _, number = where.rpartition(":")
    if not os.path.isabs(file):
        return where
    roots = [os.getcwd(), *sorted(filter(os.path.isabs, sys.path), key=len, reverse=True)]
    near = (Path(file).relative_to(root) for root in roots if Path(file).is_relative_to(root))
    return f"{next(near, Path(Path(file).name)).as_posix()}:{number}"
