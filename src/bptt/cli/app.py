"""The command `bptt`: finds the verb, runs it, and turns what goes wrong into one message."""

import errno
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

from bptt import errors

USER_MISTAKES = tuple(
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)
)
FAILED, MISTAKEN, INTERRUPTED = 1, 2, 130
SMALLER = "Take a smaller --hidden, --batch-size, --window or --layers"
STOPPED = "stopped."
CLEAN_LINE = b"\r\x1b[2K\x1b[?25h"  # without a spinner, and with the cursor that it had hidden


def main(tokens: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 done, 2 a mistake of the user's, 130 Ctrl-C.

    Args:
        tokens: the words after `bptt`; None: those of the command line.
    """
    signal.signal(signal.SIGINT, _interrupt)
    sys.exit(_run(tokens))


def _run(tokens: Sequence[str] | None) -> int:
    try:
        from bptt.cli.verbs import app

        warnings.showwarning = _show_warning
        code = app(tokens, result_action="return_int_as_exit_code_else_zero")
        sys.stdout.flush()
    except KeyboardInterrupt:
        if _is_first():
            _complain(STOPPED)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has gone
        _drop_output()
        return FAILED
    except Exception as error:
        message = _message(error)
        if message is None:
            raise
        _complain(message)
        return MISTAKEN
    return code


def _message(error: Exception) -> str | None:
    """What to say of an error that the user can do something about; None: it is ours."""
    if isinstance(error, USER_MISTAKES):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and _is_extra(error):
        return f"the command needs the package {error.name}: pip install 'bptt[train]'"
    if _lacks_memory(error):
        return f"the memory of this machine is too small for it. {SMALLER}. ({error})"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        _drop_output()
        return "the disk is full where the output goes. Free some space, or write it elsewhere"
    return None


def _drop_output() -> None:
    """Python would complain of what it cannot write again when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(_number: int, frame: FrameType | None) -> None:
    """Ctrl-C: a KeyboardInterrupt, but in the middle of an import the end at once.

    The command's first seconds are imports. Some libraries swallow an exception there and fail
    later, in other words. What is said goes past the streams, for they may be in use.
    """
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            if os.isatty(1):
                os.write(1, CLEAN_LINE)
            if _is_first():
                os.write(2, f"bptt: {STOPPED}\n".encode())
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


def _lacks_memory(error: Exception) -> bool:
    """Whether Python, or torch on a CPU or a GPU, could get no more memory."""
    by_name = type(error).__name__ in ("MemoryError", "OutOfMemoryError")
    return by_name or "can't allocate memory" in str(error)


def _is_first() -> bool:
    """Whether this process speaks, of all that train together and that a Ctrl-C reaches."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def _complain(message: str) -> None:
    print(f"bptt: {message}", file=sys.stderr)


def _show_warning(
    message: Warning | str, category: type[Warning], *place: Any, **more: Any
) -> None:
    """What bptt itself has to note as one message; other warnings with their place, as ever."""
    if category.__module__ == errors.__name__:
        _complain(f"note: {message}")
    else:
        sys.stderr.write(warnings.formatwarning(message, category, *place[:2]))


def _is_extra(error: ModuleNotFoundError) -> bool:
    """Whether the missing package is one that only the command needs."""
    extras = {"lightning", "polars", "cyclopts", "rich", "safetensors", "tomli_w", "jinja2"}
    return (error.name or "").partition(".")[0] in extras | {"altair", "vl_convert"}
