"""The table of rules: operations of torch by name, and what the rules share."""

from collections.abc import Callable
from typing import Any

from bptt.compiler.lowering import Lowering
from bptt.compiler.record import Operation, Ref
from bptt.compiler.trace import Untraceable

Given = dict[str, Any]
Handler = Callable[[Lowering, Operation, Given], Any]
HANDLERS: dict[str, Handler] = {}


def rule(*names: str) -> Callable[[Handler], Handler]:
    """The function that follows lowers the operations of these names."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


def result_dims(low: Lowering, operation: Operation) -> tuple[int, ...]:
    """The shape of an operation's first result, as traced."""
    name = operation.results[0]
    assert name is not None
    return low.dims(name)


def fixed(low: Lowering, ref: Ref) -> Ref:
    """`ref`, which must not depend on the batch."""
    low.as_fixed(ref)
    return ref


def mixing(low: Lowering, what: str) -> Untraceable:
    """The error of an operation that mixes rows of the batch."""
    return Untraceable(f"{what}. Each sequence of the batch must be computed alone", low.line)


def reduced_axes(low: Lowering, given: Given, rank: int) -> list[int]:
    """The axes that an operation reduces; all where it names none."""
    axes = given.get("dim")
    axes = [axes] if isinstance(axes, int) else list(axes or range(rank))
    return [axis % rank for axis in axes]
