"""Who is told of each unroll that begins: what watches a model hears what its cells are given."""

from collections.abc import Callable
from typing import Any

# Called with the arguments of `bptt.unroll`, in their order. What one returns, unless it is None,
# the unroll gives: outputs and final state. Empty but while somebody listens.
LISTENERS: list[Callable[..., Any]] = []
