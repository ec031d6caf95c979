"""Generated Python, made to run and to be found again by a debugger."""

import itertools
import linecache
import weakref
from collections.abc import Callable
from typing import Any

_NUMBERS = itertools.count()


def function(source: str, name: str, namespace: dict[str, Any]) -> Callable[..., Any]:
    """The function `name` of a source text, whose other names come from `namespace`."""
    filename = f"<bptt {name} {next(_NUMBERS)}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), namespace)
    weakref.finalize(namespace[name], linecache.cache.pop, filename, None)
    return namespace[name]
