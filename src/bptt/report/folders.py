"""Texts without the folders of the machine that they come from: a page is passed on."""

import re
import shlex
from pathlib import PurePath

# A file below a folder from the root or from home, its name caught; line numbers follow it.
FILE = re.compile(
    r"(?<![\w.~/\\])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\'\"`:<>|]+)+[/\\]([^\s/\\'\"`<>|]+)"
)


def without_folders(text: str) -> str:
    """A text in which files have their names alone.

    >>> without_folders("tanh (/home/ann/cells/own.py:14) is saturated by 1/2 of dE/ds")
    'tanh (own.py:14) is saturated by 1/2 of dE/ds'
    """
    return FILE.sub(r"\1", text)


def portable(command: str) -> str:
    """A command line with the names of files alone, for another machine.

    >>> portable("bptt train '/home/ann/my data/sales.csv' --out runs/first")
    'bptt train sales.csv --out runs/first'
    """
    try:
        words = shlex.split(command)
    except ValueError:  # an open quote: it was not made by a shell
        return without_folders(command)
    told = list(map(_portable, words))
    return command if told == words else shlex.join(told)


def _portable(word: str) -> str:
    """One word: `--out=/home/ann/run` too."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    path = PurePath(value)
    return f"{option}{equals}{path.name if path.is_absolute() and path.name else value}"
