"""A step's graph in four columns: once, before the loop, in the loop, after it.

Forward, the loop is what the next state is made of and what itself depends on the state; what
depends on inputs alone comes before it, for all steps at once, unless it costs less than its way
through memory, as a product of few inputs does, and what is made of products row by row; and what
no next state needs comes after it.
Backward, the same with adjoints for states: the loop is what dE/ds_{t-1} is made of and depends on
dE/ds_t. What depends on weights alone (`Step.once`) is in neither.

Forward values that the way back needs are kept by the forward loop if they cost a product, a
reduction or a transcendental function, and computed again where they are used if they cost less
than reading them from memory would.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bptt.compiler.graph import CONTRACTIONS, LEAVES, SUMS, Graph, Node
from bptt.compiler.lower import Step
from bptt.compiler.stages import OPERATIONS

# What costs less than storing and loading its result.
CHEAP = frozenset(
    ("add", "sub", "mul", "neg", "abs", "sign", "maximum", "minimum", "where", "lt", "le", "gt",
     "ge", "eq", "ne", "logical_and", "logical_or", "logical_xor", "logical_not", "isnan", "isinf",
     "div", "reciprocal")
)  # fmt: skip
# So many inputs that a number of their product takes as long to compute as to store and load.
NARROW = 64
_MOVES = ("slice", "cat", "reshape", "expand")
_FREE = ("number", "fixed", "sequence")


class Columns(NamedTuple):
    """One direction of a step, in columns. All are numbers of nodes of one graph.

    Attributes:
        graph: the graph.
        given: values that are there for all steps when the direction begins: inputs, draws, states
            and adjoints from outside, forward values that were kept.
        before: what the loop takes that is computed for all steps at once, from `given`.
        loop: what has to wait for the step before, operands first.
        carried: per leaf of the state, what the loop hands on to the next step; None for nothing.
        kept: values of the loop that are stored for all steps.
        after: what is computed for all steps at once, from `given` and `kept`.
        sums: of what that is made of, sums over rows that the loop adds up.
    """

    graph: Graph
    given: tuple[int, ...]
    before: tuple[int, ...]
    loop: tuple[int, ...]
    carried: tuple[int | None, ...]
    kept: tuple[int, ...]
    after: tuple[int, ...]
    sums: tuple[int, ...] = ()


def forward(step: Step, needed: Iterable[int] = ()) -> Columns:
    """The columns of the way forward.

    Args:
        step: the step's graph.
        needed: forward values that the way back takes from here.
    """
    graph, needed = step.graph, tuple(needed)
    leaves = _leaves(graph, ("state",))
    loop = _between(graph, leaves, step.state)
    loop |= _drawn(graph, loop, {*needed, *step.outputs, *step.state})
    loop |= _pulled(graph, loop, ())
    late = graph.descendants(leaves) - loop  # depends on the state, and no next state needs it
    results = dict.fromkeys((*step.outputs, *needed))
    after = tuple(n for n in results if n not in loop and (n in step.outputs or n in late))
    inner = _ancestors_outside(graph, after, loop)
    kept = [n for n in dict.fromkeys([*needed, *step.outputs, *_operands(graph, inner)])
            if n in loop]  # fmt: skip
    early = [n for n in (*step.state, *needed) if n not in late]
    return Columns(
        graph,
        _leaves(graph, ("input", "draw", "state")),
        _boundary(graph, loop, early),
        tuple(sorted(loop)),
        tuple(step.state),
        tuple(kept),
        after,
    )


def backward(
    step: Step,
    stored: Sequence[int],
    d_inputs: Sequence[int | None],
    d_fixed: Sequence[int | None],
    small: Sequence[int] = (),
) -> Columns:
    """The columns of the way back.

    Args:
        step: the step's graph.
        stored: forward values that are at hand for all steps.
        d_inputs: the gradients to the inputs that are wanted.
        d_fixed: the gradients to fixed tensors that are wanted.
        small: other values that are wanted of every step, so much smaller than what they are made
            of that the loop computes and keeps them.
    """
    graph = step.graph
    loop = _between(
        graph, _leaves(graph, ("d_state",)), [n for n in step.d_before if n is not None]
    )
    seeds = _leaves(graph, ("d_output", "d_state"))
    inner = graph.between(small, {*loop, *stored, *seeds})
    loop |= inner & graph.descendants(seeds)
    loop |= _pulled(graph, loop, stored)
    own = graph.ancestors([*step.outputs, *step.state])
    loop |= _absorbed(graph, loop, (*stored, *_leaves(graph, ("d_output",))), own)
    after = tuple(n for n in (*d_inputs, *d_fixed, *small) if n is not None)
    loop |= _joined(graph, loop, graph.ancestors(after))
    inner = _ancestors_outside(graph, [n for n in after if n not in loop], loop | set(stored))
    arriving = set(_leaves(graph, ("d_state",)))  # what comes from the step behind
    kept = [n for n in _operands(graph, inner) if n in loop | arriving]
    kept += [n for n in after if n in loop | arriving]
    return Columns(
        graph,
        (*stored, *_leaves(graph, ("d_output",))),
        _boundary(graph, loop, [n for n in step.d_before if n is not None]),
        tuple(sorted(loop)),
        tuple(step.d_before),
        tuple(dict.fromkeys(kept)),
        after,
    )


def gathered(columns: Columns, most: int) -> Columns | None:
    """The columns of a way back whose loop does what comes after it, too.

    What it computes then goes no way through memory, and weights' gradients are added up while the
    rows that they are made of are near.

    Args:
        columns: of the way back.
        most: numbers that those sums of products may have, which the loop keeps near as well.

    Returns:
        None where they have more, or there are none.
    """
    graph, loop = columns.graph, set(columns.loop)
    late = _ancestors_outside(graph, columns.after, {*loop, *columns.given, *columns.before})
    loop |= {n for n in late if graph[n].op not in (*SUMS, *_FREE, *LEAVES)}
    over_rows = sorted(n for n in late if graph[n].op in SUMS)
    sums = [n for n in over_rows if _is_gathered(graph, n, loop)]
    outers = [graph[n].shape for n in sums if graph[n].op == "outer"]
    if not 0 < sum(map(math.prod, outers)) <= most:
        return None
    apart = (o for n in over_rows if n not in sums for o in graph[n].operands)
    arriving = set(_leaves(graph, ("d_state",)))
    kept = [n for n in (*columns.after, *apart) if n in loop | arriving]
    return columns._replace(
        before=_boundary(graph, loop, [n for n in columns.carried if n is not None]),
        loop=tuple(sorted(loop)),
        kept=tuple(dict.fromkeys(kept)),
        sums=tuple(sums),
    )


def carrying(columns: Columns) -> Columns:
    """The columns of a way back that leaves nothing but what it hands on from step to step."""
    carried = [n for n in columns.carried if n is not None]
    loop = set(columns.loop) & columns.graph.ancestors(carried)
    before = _boundary(columns.graph, loop, carried)
    return columns._replace(before=before, loop=tuple(sorted(loop)), kept=(), after=(), sums=())


def by_row(columns: Columns) -> Columns | None:
    """The columns of a way back whose loop does all that comes after it but products.

    A layer norm's derivative, say, takes ten operations on a row that is at hand in the loop; after
    it each of them would go through memory. Sums over rows are the loop's as well.

    Args:
        columns: of the way back.

    Returns:
        None where nothing but products comes after the loop.
    """
    graph, loop = columns.graph, set(columns.loop)
    late = _ancestors_outside(graph, columns.after, {*loop, *columns.given, *columns.before})
    products = [n for n in late if graph[n].op in CONTRACTIONS]
    apart = graph.descendants(products) | set(products)
    adjoints = loop & graph.descendants(_leaves(graph, ("d_output", "d_state")))
    rows = {n for n in late & graph.descendants(adjoints) - apart if graph[n].op not in SUMS}
    if all(graph[n].op in _MOVES for n in rows):
        return None
    users = _users(graph, late)
    for n in sorted(late - rows - apart, reverse=True):  # functions of what is given
        if graph[n].op not in (*SUMS, *_FREE, *LEAVES) and users[n] and users[n] <= rows:
            rows.add(n)
    loop |= rows
    sums = [n for n in sorted(late) if graph[n].op == "total" and graph[n].operands[0] in loop]
    near = loop | set(_leaves(graph, ("d_state",)))
    kept = [o for n in sorted(late - rows) if n not in sums for o in graph[n].operands if o in near]
    return columns._replace(
        before=_boundary(graph, loop, [n for n in columns.carried if n is not None]),
        loop=tuple(sorted(loop)),
        kept=tuple(dict.fromkeys([*kept, *(n for n in columns.after if n in near)])),
        sums=tuple(sums),
    )


def _is_gathered(graph: Graph, number: int, loop: set[int]) -> bool:
    """Whether a sum over rows is one of a loop's values, or of products of two values of a row."""
    node, rowless = graph[number], graph.rowless()
    if node.op == "total":
        return node.operands[0] in loop
    operands = [graph[o] for o in node.operands]
    flat = all(len(operand.shape) == 1 and not operand.mask for operand in operands)
    return node.op == "outer" and not node.attributes and flat and rowless.isdisjoint(node.operands)


def to_keep(step: Step, roots: Iterable[int]) -> list[int]:
    """Forward values that the way back to `roots` is made of and that are worth storing."""
    graph = step.graph
    seeded = graph.descendants(_leaves(graph, ("d_output", "d_state")))
    wanted = graph.ancestors(roots)
    users = [n for n in wanted if n in seeded or graph[n].op in SUMS]
    stack = sorted({o for n in users for o in graph[n].operands if o not in seeded}, reverse=True)
    results, kept = set(step.state) | set(step.outputs), dict[int, None]()
    own = graph.ancestors(results)
    while stack:
        number = stack.pop()
        node = graph[number]
        if number in kept or node.op in (*_FREE, *LEAVES):
            continue
        if number in own and _is_worth_keeping(graph, number, results):
            kept[number] = None
        else:
            stack.extend(node.operands)
    return list(kept)


def _is_worth_keeping(graph: Graph, number: int, results: set[int]) -> bool:
    """Whether a forward value costs more to compute again than to keep."""
    node = graph[number]
    if number in results or not _is_cheap(node):
        return True
    missing = {o for o in node.operands if not _is_at_hand(graph, o, results)}
    return len(missing) > 1 or (node.op == "slice" and bool(missing))


def _is_at_hand(graph: Graph, number: int, results: set[int]) -> bool:
    """Whether a value is there anyhow, so that parts of it need not be kept on their own."""
    node = graph[number]
    if number in results or node.op in (*_FREE, *LEAVES):
        return True
    return _is_cheap(node) and all(_is_at_hand(graph, o, results) for o in node.operands)


def _is_cheap(node: Node) -> bool:
    return node.op in CHEAP or node.op in _MOVES


def _leaves(graph: Graph, kinds: Sequence[str]) -> tuple[int, ...]:
    return tuple(n for n, node in enumerate(graph.nodes) if node.op in kinds)


def _between(graph: Graph, leaves: Iterable[int], roots: Iterable[int]) -> set[int]:
    """What depends on the leaves and what the roots are made of, the leaves left out."""
    leaves = set(leaves)
    return (graph.descendants(leaves) & graph.ancestors(roots)) - leaves


def _boundary(graph: Graph, loop: set[int], carried: Iterable[int] = ()) -> tuple[int, ...]:
    """What the loop takes from outside that has rows: leaves of its own left out."""
    taken = ({o for n in loop for o in graph[n].operands} | set(carried)) - loop
    kinds = (*_FREE, "state", "d_state")
    return tuple(sorted(n for n in taken if graph[n].op not in kinds))


def _pulled(graph: Graph, loop: set[int], given: Sequence[int]) -> set[int]:
    """What only moves features on its way into the loop, where it is a matter of offsets, and what
    is the same for all rows."""
    found: set[int] = set()
    rowless = graph.rowless()
    stack = [o for n in loop for o in graph[n].operands]
    while stack:
        number = stack.pop()
        node = graph[number]
        moves = node.op in _MOVES or number in rowless
        if moves and number not in found | loop and number not in given and node.op not in _FREE:
            found.add(number)
            stack.extend(node.operands)
    return found


def _drawn(graph: Graph, loop: set[int], wanted: set[int]) -> set[int]:
    """What the loop alone takes of products of inputs: those of a few, and what is made of any.

    In the loop they cost as much arithmetic and no memory: before it all that a layer norm makes on
    its way, say, would be stored for all steps and read again.
    """
    rowless, users = graph.rowless(), _users(graph, graph.ancestors(loop | wanted))
    made = _made_of_products(graph, rowless)
    found: set[int] = set()
    for number in sorted(graph.ancestors(loop) - loop - rowless, reverse=True):
        node = graph[number]
        alone = bool(users[number]) and users[number] <= loop | found
        with_rows = [o for o in node.operands if o not in rowless]
        adds = node.op in ("add", *_MOVES) and len(with_rows) == 1
        if node.op == "matmul":
            alone = alone and number not in wanted and _is_narrow(graph, node)
        elif number not in made:
            alone = alone and number not in wanted and adds
        if alone:
            found.add(number)
    return _leading(graph, found)


def _made_of_products(graph: Graph, rowless: set[int]) -> set[int]:
    """What is computed row by row from products of inputs alone, they included."""
    found: set[int] = set()
    for number, node in enumerate(graph.nodes):
        with_rows = [o for o in node.operands if o not in rowless]
        follows = node.op in OPERATIONS or node.op in ("sum", "max", *_MOVES)
        if node.op == "matmul" or (follows and with_rows and found.issuperset(with_rows)):
            found.add(number)
    return found


def _is_narrow(graph: Graph, node: Node) -> bool:
    """Whether a node is a product of a few inputs."""
    if node.op != "matmul":
        return False
    source = graph[node.operands[0]]
    return source.op == "input" and len(source.shape) == 1 and source.shape[0] <= NARROW


def _leading(graph: Graph, found: set[int]) -> set[int]:
    """Of these, the products, what is made of them, and what is made of wider ones: a bias costs
    nothing in the loop, and before it another way through memory."""
    kept: set[int] = set()
    for number in sorted(found):
        node = graph[number]
        wide = any(graph[o].op == "matmul" for o in node.operands)
        if node.op == "matmul" or wide or kept.intersection(node.operands):
            kept.add(number)
    return kept


def _users(graph: Graph, live: set[int]) -> list[set[int]]:
    """Which of the live values each is taken by."""
    users: list[set[int]] = [set() for _ in graph.nodes]
    for number in live:
        for operand in graph[number].operands:
            users[operand].add(number)
    return users


def _absorbed(graph: Graph, loop: set[int], given: Sequence[int], forward: set[int]) -> set[int]:
    """Functions of one value that is at hand: computed in the loop, they need not be read.

    Cheap ones, and those that only the way back computes, once in either column.
    """
    found: set[int] = set()
    for number in _boundary(graph, loop):
        chain, leaves, stack = set[int](), set[int](), [number]
        while stack:
            current = stack.pop()
            node = graph[current]
            computed = _is_cheap(node) or (current not in forward and node.op in OPERATIONS)
            if current in given or not computed:
                leaves |= {current} if node.op not in _FREE else set()
            elif current not in chain:
                chain.add(current)
                stack.extend(node.operands)
        if chain and leaves <= set(given) and len(leaves) <= 1:
            found |= chain
    return found


def _joined(graph: Graph, loop: set[int], wanted: set[int]) -> set[int]:
    """What comes after the loop and only puts its values side by side: stored so by the loop."""
    found: set[int] = set()
    for number in sorted(wanted - loop):
        node = graph[number]
        parts = {o for o in node.operands if graph[o].op != "number"}
        if node.op == "cat" and parts and parts <= loop | found:
            found.add(number)
    return found


def _ancestors_outside(graph: Graph, roots: Iterable[int], stop: set[int]) -> set[int]:
    """What the roots are made of, as far as `stop`, which is left out."""
    found: set[int] = set()
    stack = list(roots)
    while stack:
        number = stack.pop()
        if number not in found and number not in stop:
            found.add(number)
            stack.extend(graph[number].operands)
    return found


def _operands(graph: Graph, nodes: Iterable[int]) -> list[int]:
    return [o for n in sorted(nodes) for o in graph[n].operands]
