"""Reading a run's files, and what is said of one that is missing, damaged or of another version."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bptt.errors import RunError
from bptt.version import __version__

FORMAT = 2  # of a run's files; raised when one of them must hold what it need not have held

BACK = "Put it back, or train again to a new folder"
ANEW = "`bptt train --resume {run}` writes it anew"
MENDS = {
    "config.toml": BACK,
    "metrics.csv": f"{BACK}; predict, evaluate and generate do without it",
    "model.json": ANEW,
    "model.safetensors": f"It is written at the end of an epoch; {ANEW}, or goes on to that end",
    "evaluation.json": ANEW,
}


def missing(path: Path) -> RunError:
    """The error for a file of a run that is not there."""
    return RunError(f"{path} is missing. {_mend(path)}")


def damaged(path: Path, why: object) -> RunError:
    """The error for a file of a run that does not hold what it should.

    >>> print(damaged(Path("runs/a-1/model.json"), "it is empty"))
    runs/a-1/model.json is damaged: it is empty. `bptt train --resume runs/a-1` writes it anew
    """
    return RunError(f"{path} is damaged: {why}. {_mend(path)}")


def read_text(path: Path) -> str:
    """The text of a run's file. Raises `RunError` if it is missing or is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise missing(path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, error) from error


def read_table(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """What a run's file holds by name, read by `json.loads` or `tomllib.loads`.

    Raises:
        RunError: it is missing or damaged.
    """
    text = read_text(path)
    try:
        content = parse(text)
    except ValueError as error:
        raise damaged(path, error) from error
    if not isinstance(content, dict):
        raise damaged(path, "expected a table of names, found a list or value")
    return content


def check_format(path: Path, content: dict[str, Any]) -> None:
    """Raise `RunError` unless what was read from a run's file is of the format that we read."""
    found = content.get("format")
    if found is None:
        raise damaged(path, "it does not say which format it has")
    if found != FORMAT:
        raise RunError(
            f"{path} cannot be read: its format is {found}, and this bptt ({__version__}) reads "
            f"format {FORMAT}. Use the version of bptt that wrote it, or train again"
        )


@contextmanager
def taken_apart(path: Path) -> Iterator[None]:
    """Turn what a file's content raises that is not what we wrote into the error for its damage."""
    try:
        yield
    except KeyError as error:
        raise damaged(path, f"it lacks {error}") from error
    except (TypeError, AttributeError, ValueError, IndexError, RuntimeError) as error:
        raise damaged(path, error) from error


def _mend(path: Path) -> str:
    if path.name in MENDS:
        return MENDS[path.name].format(run=shlex.quote(str(path.parent)))
    weights = path.parent.parent / "model.safetensors"
    still = f"; what it has learnt is in {weights}" if weights.exists() else ""
    return f"The run cannot go on without it{still}. Train again to a new folder to go further"
