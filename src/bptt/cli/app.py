"""The command `bptt`: finds the verb, runs it, and turns what goes wrong into one message."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from bptt import errors

USER_MISTAKES = tuple(
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)
)
FAILED, MISTAKEN, INTERRUPTED = 1, 2, 130


def main(tokens: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 done, 2 a mistake of the user's, 130 Ctrl-C.

    Args:
        tokens: the words after `bptt`; None: those of the command line.
    """
    sys.exit(_run(tokens))


def _run(tokens: Sequence[str] | None) -> int:
    try:
        from bptt.cli.verbs import app

        return app(tokens, result_action="return_int_as_exit_code_else_zero")
    except USER_MISTAKES as error:
        _complain(str(error))
        return MISTAKEN
    except ModuleNotFoundError as error:
        if not _is_extra(error):
            raise
        _complain(f"the command needs the package {error.name}: pip install 'bptt[train]'")
        return MISTAKEN
    except KeyboardInterrupt:
        _complain("stopped.")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _complain(message: str) -> None:
    print(f"bptt: {message}", file=sys.stderr)


def _is_extra(error: ModuleNotFoundError) -> bool:
    """Whether the missing package is one that only the command needs."""
    extras = {"lightning", "polars", "cyclopts", "rich", "safetensors", "tomli_w", "jinja2"}
    return (error.name or "").partition(".")[0] in extras | {"altair", "vl_convert"}
