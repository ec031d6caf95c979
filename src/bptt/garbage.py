"""Python's collector of cycles, at rest where much is made that stays."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Where modules are loaded or a plan is made, which takes a tenth of a second.

    Each pass of the collector goes through every object of torch's and finds nothing: together they
    took half of a first call.
    """
    was_at_work = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_at_work:
            gc.enable()
