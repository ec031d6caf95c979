"""Expressions: what one column of a row is computed from.

They are tuples: ("read", memory, offset, spread), ("number", value), ("call", operation,
expressions), ("product", memory, offset, count, matrix, column).
"""

from bptt.compiler.split import CHEAP
from bptt.compiler.stages import MASKS, Call, Number, Product, Read, Value

Expression = tuple


def call(op: str, *expressions: Expression) -> Expression:
    """An operation; nothing is added where 0 would be."""
    if op == "add" and ("number", 0.0) in expressions:
        return expressions[expressions[0] == ("number", 0.0)]
    return ("call", op, expressions)


def write(expression: Expression, values: dict[Value, int]) -> int:
    """An expression among the values of a stage; its number."""
    kind, *rest = expression
    value: Value
    if kind == "read":
        value = Read(*rest)
    elif kind == "number":
        value = Number(*rest)
    elif kind == "product":
        value = Product(*rest)
    else:
        value = Call(rest[0], tuple(write(operand, values) for operand in rest[1]))
    return values.setdefault(value, len(values))


def is_heavy(expression: Expression) -> bool:
    """Whether it is worth storing rather than computing once more in a later stage."""
    kind, *rest = expression
    if kind == "call":
        return rest[0] not in CHEAP or any(is_heavy(operand) for operand in rest[1])
    return kind == "product"


def is_mask(expression: Expression) -> bool:
    """Whether it is a comparison's result."""
    return expression[0] == "call" and expression[1] in MASKS


def read_again(expression: Expression, memory: str, offset: int) -> Expression:
    """An expression read where it has been stored."""
    again: Expression = ("read", memory, offset, False)
    return call("ne", again, ("number", 0.0)) if is_mask(expression) else again


def spread(expression: Expression) -> Expression | None:
    """An expression of one column for many; None if it has to be stored for that."""
    kind, *rest = expression
    if kind == "number":
        return expression
    if kind == "read":
        return ("read", rest[0], rest[1], True)
    if kind == "call" and all(operand[0] in ("read", "number") for operand in rest[1]):
        operands = (spread(operand) for operand in rest[1])
        return ("call", rest[0], tuple(operand for operand in operands if operand))
    return None


def moved(expression: Expression, columns: int) -> Expression:
    """An expression `columns` to the right."""
    kind, *rest = expression
    if kind == "read":
        return expression if rest[2] else ("read", rest[0], rest[1] + columns, False)
    if kind == "product":
        return ("product", *rest[:4], rest[4] + columns)
    if kind == "call":
        return ("call", rest[0], tuple(moved(operand, columns) for operand in rest[1]))
    return expression
