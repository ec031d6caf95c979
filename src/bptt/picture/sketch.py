"""A step's graph as a person draws it: states, weights, non-linearities, and what leads where.

The compiler's graph has every operation. Here slices, sums and scalings are lines between what is
drawn; a product with a weight is drawn as the weight, with the biases that are added to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bptt.compiler.compiled import Compiled
from bptt.compiler.graph import CONTRACTIONS, Graph
from bptt.methods import Full
from bptt.picture.names import Names, short
from bptt.unroll import find_plan

FUNCTIONS = {
    "sigmoid": "σ", "exp": "exp", "log": "log", "sqrt": "√", "maximum": "max", "minimum": "min",
    "where": "if", "pow": "pow", "max": "max",
    **{name: name for name in ("tanh", "sin", "cos", "erf", "log1p", "expm1", "atan", "sign")},
}  # fmt: skip
MOST = 48  # parts of a drawing that can be read


class Part(NamedTuple):
    """Something drawn.

    Attributes:
        kind: "input", "draw" (random numbers), "before" (a state as the step takes it), "weight",
            "function", "gate" (a product of two values), "sum", "state" (as the step leaves it) or
            "output".
        label: what is written there.
        node: of the graph, whose value it is.
        sources: the parts that lead here, by number.
        parameters: names of the weights that act here.
        leaf: which leaf of the inputs, state or outputs it is.
    """

    kind: str
    label: str
    node: int
    sources: tuple[int, ...] = ()
    parameters: tuple[str, ...] = ()
    leaf: int = 0


@dataclass(frozen=True)
class Sketch:
    """What is drawn of a step.

    Attributes:
        parts: sources come first.
        graph: the compiler's.
        compiled: the step that it is of; None for a cell without a graph, drawn as one box.
        tensors: the cell's own, in the compiler's order.
        refusal: why there is no graph.
    """

    parts: tuple[Part, ...]
    graph: Graph
    compiled: Compiled | None
    tensors: tuple[Tensor, ...]
    refusal: str = ""

    def edges(self) -> list[tuple[int, int]]:
        """All lines, from part to part."""
        return [(a, b) for b, part in enumerate(self.parts) for a in part.sources]

    def of(self, kind: str) -> list[int]:
        """The numbers of all parts of a kind, in order of their leaves."""
        found = [n for n, part in enumerate(self.parts) if part.kind == kind]
        return sorted(found, key=lambda n: self.parts[n].leaf)


def sketch(
    cell: Any, given: Sequence[Any], output: bool, names: dict[int, str] | None = None
) -> Sketch:
    """What is drawn of a cell.

    Args:
        cell: one cell.
        given: inputs, state, lengths, reset, reset_state, reverse, as `unroll` takes them.
        output: whether the cell returns an output besides its state.
        names: what the weights are called, by identity; None: as the cell calls them.
    """
    if names is None:
        named = cell.named_parameters() if isinstance(cell, nn.Module) else ()
        names = {id(parameter): name for name, parameter in named}
    with torch.no_grad():
        entry, tensors = find_plan(cell, *given, Full(), "auto")
    compiled = None if entry is None else entry.compiled
    if compiled is None:
        refusal = "it is of no batch" if entry is None else entry.refusal
        return Sketch(boxed(cell, output, names), Graph(), None, tuple(tensors), refusal)
    drawer = _Drawer(names, compiled, tensors, output)
    parts = drawer.run()
    if len(parts) > MOST:
        refusal = f"its step has {len(parts)} parts, more than a drawing of a step can hold"
        return Sketch(boxed(cell, output, names), Graph(), None, tuple(tensors), refusal)
    return Sketch(parts, compiled.step.graph, compiled, tuple(tensors))


def boxed(cell: Any, output: bool, names: dict[int, str]) -> tuple[Part, ...]:
    """A cell whose inside is not drawn: one box with all its weights."""
    parts = [
        Part("before", "s", -1),
        Part("input", "x", -1),
        Part("weight", type(cell).__name__, -1, (0, 1), tuple(names.values())),
        Part("state", "s", -1, (2,)),
    ]
    return (*parts, Part("output", "y", -1, (2,))) if output else tuple(parts)


class _Drawer:
    """Finds out which nodes are drawn, and what leads to each."""

    def __init__(
        self, names: dict[int, str], compiled: Compiled, tensors: Sequence[Tensor], output: bool
    ) -> None:
        self.compiled, self.graph, self.output = compiled, compiled.step.graph, output
        self.names = Names(names, compiled, tensors)
        self.outputs = list(compiled.step.outputs) if output else []
        self.live = self.graph.ancestors([*compiled.step.state, *self.outputs])
        self.rowless = self.graph.rowless()
        self.uses: dict[int, list[int]] = {}
        for number in sorted(self.live):
            operands = () if self.graph[number].mask else self.graph[number].operands
            for operand in operands:
                self.uses.setdefault(operand, []).append(number)
        self.parts: list[Part] = []
        self.drawn: set[int] = set()  # nodes
        self.reach: dict[int, frozenset[int]] = {}  # by node: the parts that lead to it

    def run(self) -> tuple[Part, ...]:
        """What leads to the next state, that state, and what is read out of it."""
        states = self.compiled.step.state
        inside = self.graph.ancestors(states)
        for number in sorted(self.live & inside):
            self._see(number)
        ends = [self._end("state", "s", states, leaf) for leaf in range(len(states))]
        self.reach |= dict(zip(states, map(frozenset, zip(ends)), strict=True))
        for number in sorted(self.live - inside):
            self._see(number)
        for leaf in range(len(self.outputs)):
            self._end("output", "y", self.outputs, leaf)
        return tuple(self.parts)

    def _see(self, number: int) -> None:
        node = self.graph[number]
        if number in self.rowless or node.op in ("number", "sequence"):
            self.reach[number] = frozenset()
            return
        self.reach[number] = self._before(number)
        kind, label = self._kind(number)
        if kind:
            leaf = node.attributes[0] if node.op in _LEAVES else 0
            self.parts.append(Part(kind, label, number, *self._given(number), leaf))
            self.reach[number] = frozenset([len(self.parts) - 1])
            self.drawn.add(number)

    def _end(self, kind: str, letter: str, nodes: list[int], leaf: int) -> int:
        """A state or an output, which another part may be the value of."""
        node = nodes[leaf]
        sources, weights = tuple(sorted(self.reach[node])), self._parameters(node)
        own = () if node in self.drawn else tuple(weights)
        self.parts.append(Part(kind, _numbered(letter, leaf, nodes), node, sources, own, leaf))
        return len(self.parts) - 1

    def _before(self, number: int) -> frozenset[int]:
        return frozenset().union(*(self.reach[o] for o in self.graph[number].operands))

    def _given(self, number: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
        return tuple(sorted(self._before(number))), tuple(self._parameters(number))

    def _kind(self, number: int) -> tuple[str, str]:
        """What a node is drawn as; an empty kind for a line."""
        node = self.graph[number]
        if node.op in _LEAVES:
            kind, letter = _LEAVES[node.op]
            return kind, _numbered(letter, node.attributes[0], self._leaves(node.op))
        if node.op in CONTRACTIONS or self._adds_bias(number):
            return self._product(number)
        if node.op in FUNCTIONS and not node.mask:
            return "function", "relu" if self._is_relu(number) else FUNCTIONS[node.op]
        apart = [self.reach[o] for o in node.operands if self.reach[o]]
        if node.op in ("mul", "div") and len(apart) == 2 and apart[0] != apart[1]:
            return "gate", "×" if node.op == "mul" else "÷"
        many = len(self.uses.get(number, ())) > 1 and len(self.reach[number]) > 1
        return ("sum", "+") if node.op in ("add", "sub") and many else ("", "")

    def _is_relu(self, number: int) -> bool:
        """Whether a node is where(a <= 0, 0, a)."""
        node = self.graph[number]
        if node.op != "where":
            return False
        test, nothing, a = (self.graph[o] for o in node.operands)
        zero = self.graph.value(node.operands[1]) == 0
        return (
            zero and test.op == "le" and test.operands[0] == node.operands[2] and a is not nothing
        )

    def _product(self, number: int) -> tuple[str, str]:
        """A product is drawn where the last of the biases is added to it."""
        users = self.uses.get(number, [])
        if len(users) == 1 and self._adds_bias(users[0]):
            return "", ""
        return "weight", self._label(number)

    def _label(self, number: int) -> str:
        """The name of the matrix, which comes before its biases."""
        names = self._parameters(number)
        return short(names[0]) if names else "·"

    def _adds_bias(self, number: int) -> bool:
        """Whether a node adds what is made of weights alone to a product used nowhere else."""
        node = self.graph[number]
        if node.op != "add":
            return False
        product = [o for o in node.operands if o not in self.rowless]
        if len(product) != 1 or len(self.uses[product[0]]) != 1:
            return False
        inner = self.graph[product[0]].op in CONTRACTIONS or self._adds_bias(product[0])
        return inner and self.graph[product[0]].shape == node.shape

    def _parameters(self, number: int) -> list[str]:
        """Names of the weights met on the lines that lead to a node."""
        found: dict[str, None] = {}
        stack, seen = [number], set[int]()
        while stack:
            node = stack.pop()
            if node in seen or (node != number and node in self.drawn):
                continue
            seen.add(node)
            if self.graph[node].op == "fixed":
                found |= dict.fromkeys(self.names.of(self.graph[node].attributes[0]))
            stack.extend(self.graph[node].operands)
        return sorted(found, key=self.names.order)

    def _leaves(self, op: str) -> list[int]:
        return [n for n in self.live if self.graph[n].op == op]


_LEAVES = {"input": ("input", "x"), "state": ("before", "s"), "draw": ("draw", "random")}


def _numbered(letter: str, leaf: int, all_leaves: Sequence[int]) -> str:
    return letter if len(all_leaves) < 2 else f"{letter}[{leaf}]"
