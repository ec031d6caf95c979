"""torch's operations by name."""

from typing import Any


def name_of(func: Any) -> str:
    """torch's name of an operation, whether it writes in place or not."""
    name = func._schema.name.removeprefix("aten::")
    return name.removesuffix("_") if not name.endswith("__") else name
