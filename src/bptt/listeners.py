"""Who is told of each unroll that begins: what watches a model hears what its cells are given."""

from collections.abc import Callable

# Called with the arguments of `bptt.unroll`, in their order. Empty but while somebody listens.
LISTENERS: list[Callable[..., None]] = []
