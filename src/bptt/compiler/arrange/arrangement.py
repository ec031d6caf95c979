"""The loop column of a graph as stages over the columns of a row.

A value of the graph becomes a list of pieces that lie side by side, each an expression that is the
same for all of its columns (`pieces.py`). What needs whole rows is stored first, and used by a
later stage (`ledger.py`).
"""

from bptt.compiler.arrange.expressions import call
from bptt.compiler.arrange.memories import Names
from bptt.compiler.arrange.moves import MOVES
from bptt.compiler.arrange.pieces import Piece, Pieces
from bptt.compiler.arrange.products import PRODUCTS
from bptt.compiler.arrange.reductions import REDUCTIONS
from bptt.compiler.arrange.values import Values
from bptt.compiler.split import Columns
from bptt.compiler.stages import Loop, Outer

_RULES = {**MOVES, **PRODUCTS, **REDUCTIONS}


def arrange(
    columns: Columns, carried_leaves: str, absent: frozenset[int] = frozenset()
) -> tuple[Loop, Names]:
    """The stages of a loop column, and which memory is which node.

    Args:
        columns: one direction of a step.
        carried_leaves: the graph's name for what comes from the step before: "state" or "d_state".
        absent: given values that are zero throughout.

    Raises:
        Untraceable: features are moved about in a way that no offsets describe.
    """
    values = Values(columns, carried_leaves, absent)
    _compute(columns, values)
    for leaf, number in enumerate(columns.carried):
        _carry(values, leaf, number)
    _total(columns, values)
    outers = tuple(_outer(values, n) for n in columns.sums if values.graph[n].op == "outer")
    assert set(columns.loop) <= set(values.pieces)
    _count_steps(columns, values)
    memories = values.memories
    loop = Loop(tuple(memories.found.values()), values.ledger.stages(), outers)
    return loop, memories.names


def _compute(columns: Columns, values: Values) -> None:
    """The loop's values, and what is kept of them and of what it takes."""
    for number in columns.loop:
        node = values.graph[number]
        rule = _RULES.get(node.op, Values.point)
        values.give(number, rule(values, node))
        if number in columns.kept:
            _keep(values, number)
    loop = set(columns.loop)
    for number in columns.kept:
        if number not in loop:
            _keep(values, number)


def _keep(values: Values, number: int) -> None:
    pieces = values.of(number)
    values.ledger.store(values.memories.keep(number), pieces)


def _carry(values: Values, leaf: int, number: int | None) -> None:
    """Stores what the next step finds, unless it is what this one found."""
    name = values.memories.names.carried[leaf]
    if number is None and name not in values.memories.found:
        return
    none = [Piece(values.memories.found[name].width, ("number", 0.0))] if number is None else []
    pieces = none if number is None else values.of(number)
    if [p.expression for p in pieces] != [("read", name, 0, False)]:
        values.ledger.store(name, pieces)


def _total(columns: Columns, values: Values) -> None:
    """Sums of the loop's own values over all rows: bias gradients, for the most part."""
    loop = set(columns.loop)
    for number in dict.fromkeys((*columns.after, *columns.sums)):
        node = values.graph[number]
        if node.op == "total" and node.operands[0] in loop:
            name = values.memories.total(number)
            values.ledger.store(name, _added_to(name, values.pieces[node.operands[0]]))


def _outer(values: Values, number: int) -> Outer:
    """A weight's gradient, as a sum of products over rows."""
    left, right = (values.pile(operand) for operand in values.graph[number].operands)
    return Outer(left, right, values.memories.outer(number))


def _added_to(name: str, pieces: Pieces) -> Pieces:
    found: Pieces = []
    for piece in pieces:
        offset = sum(p.width for p in found)
        whole = call("add", ("read", name, offset, False), piece.expression)
        found.append(piece._replace(expression=whole))
    return found


def _count_steps(columns: Columns, values: Values) -> None:
    """A loop is told T by what it reads or stores at each step: there is always something."""
    steps = any(memory.kind in ("step", "begun") for memory in values.memories.found.values())
    if values.ledger and not steps:
        _keep(values, next(n for n in columns.carried if n in values.pieces))
