"""How `--method` is written: full, truncated:K1,K2 or checkpointed:64MB."""

import re
from typing import TYPE_CHECKING

from bptt.errors import ArgumentError, StructureError

if TYPE_CHECKING:  # torch takes seconds to import
    from bptt.methods import Method

WRITTEN = re.compile(r"(full)|truncated:(\d+)(?:,(\d+))?|checkpointed:(.+)")
EXPECTED = (
    "full, or truncated:K1,K2 (every K1 steps back through K2; truncated:20 is truncated:20,20), "
    "or checkpointed:MEMORY, such as checkpointed:64MB"
)


def make_method(written: str) -> "Method":
    """The way back through time that is meant.

    Raises:
        ArgumentError: it is spelt wrongly, or its numbers do not fit each other.

    >>> make_method("truncated:20"), make_method("truncated:20,40")
    (Truncated(k1=20, k2=20, losses='new'), Truncated(k1=20, k2=40, losses='new'))
    """
    found = WRITTEN.fullmatch(written)
    if found is None:
        raise ArgumentError(f"expected --method to be {EXPECTED}; got {written!r}")
    from bptt import methods

    full, k1, k2, memory = found.groups()
    try:
        if full:
            return methods.Full()
        if k1:
            return methods.Truncated(int(k1), int(k2 or k1))
        return methods.Checkpointed(memory=memory)
    except (ArgumentError, StructureError) as error:
        raise ArgumentError(f"--method {written}: {error}") from error
