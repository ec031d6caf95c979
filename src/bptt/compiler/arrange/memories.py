"""The memories of a loop, and what each of them stands for."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.compiler.graph import Graph
from bptt.compiler.split import Columns
from bptt.compiler.stages import Memory


class Part(NamedTuple):
    """A fixed tensor, or the head and the rows of it that a product takes."""

    node: int
    head: int | None = None
    start: int = 0
    stop: int | None = None

    def rows_of(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """The matrix, of the whole tensor."""
        matrix = tensor if self.head is None else tensor[self.head]
        if self.start or self.stop != matrix.shape[0]:
            matrix = matrix[self.start : self.stop]
        return matrix if matrix.dtype is dtype else matrix.to(dtype)


class Names(NamedTuple):
    """What the memories of a loop stand for.

    Attributes:
        step: node by memory: what is read, and what is kept, for all steps.
        sequence, fixed: node by memory, of what is read.
        carried: memory by leaf of the state.
        totals: node by memory: sums over all rows, of which the loop adds up each sequence's part.
        outers: node by memory: sums of products over all rows.
    """

    step: dict[str, int]
    sequence: dict[str, int]
    fixed: dict[str, Part]
    kept: dict[str, int]
    carried: list[str]
    totals: dict[str, int]
    outers: dict[str, int]


class Memories:
    """Named as they are asked for.

    Attributes:
        found: all of them, by name.
        names: what they stand for.
    """

    def __init__(self, graph: Graph) -> None:
        self.found: dict[str, Memory] = {}
        self.names = Names({}, {}, {}, {}, [], {}, {})
        self._graph = graph

    def carry_all(self, columns: Columns, leaf: str) -> None:
        """A memory for each leaf of the state that the loop takes or hands on."""
        prefix = "s" if leaf == "state" else "a"
        leaves = [n for n in self._graph.nodes if n.op == leaf]
        widths = {n.attributes[0]: math.prod(n.shape) for n in leaves}
        for number, result in enumerate(columns.carried):
            width = widths.get(number)
            if width is None and result is not None:
                width = self._width(result)
            name = f"{prefix}{number}"
            self.names.carried.append(name)
            if width is not None:
                self._add(name, "carry", width)

    def scratch(self, width: int) -> str:
        """A new one within a step."""
        count = sum(memory.kind == "scratch" for memory in self.found.values())
        return self._add(f"m{count}", "scratch", width)

    def pile(self, width: int) -> str:
        """A new one for rows of which products are summed."""
        count = sum(memory.kind == "pile" for memory in self.found.values())
        return self._add(f"h{count}", "pile", width)

    def outer(self, number: int) -> str:
        """A new one for a sum of products over rows and steps."""
        name, (height, width) = f"o{len(self.names.outers)}", self._graph[number].shape
        self.names.outers[name] = number
        return self._add(name, "outer", width, height)

    def step(self, number: int) -> str:
        """That of a value that is there for all steps."""
        kind = "begun" if self._graph[number].op == "state" else "step"
        return self._read(self.names.step, "p", kind, number)

    def sequence(self, number: int) -> str:
        """That of a value that each sequence has one of."""
        return self._read(self.names.sequence, "q", "sequence", number)

    def fixed(self, part: Part) -> str:
        """That of a fixed tensor, or of a matrix in it."""
        for name, known in self.names.fixed.items():
            if known == part:
                return name
        shape = self._graph[part.node].shape
        name = f"w{len(self.names.fixed)}"
        self.names.fixed[name] = part
        if part.stop is not None:
            return self._add(name, "matrix", shape[-1], part.stop - part.start)
        return self._add(name, "weight", math.prod(shape))

    def keep(self, number: int) -> str:
        """A new one for a value of the loop that is stored for all steps."""
        name = f"k{len(self.names.kept)}"
        self.names.kept[name] = number
        return self._add(name, "step", self._width(number))

    def total(self, number: int) -> str:
        """A new one for a sum over rows and steps."""
        name = f"t{len(self.names.totals)}"
        self.names.totals[name] = number
        return self._add(name, "sum", self._width(number))

    def _read(self, names: dict[str, int], prefix: str, kind: str, number: int) -> str:
        for name, node in names.items():
            if node == number:
                return name
        name = f"{prefix}{len(names)}"
        names[name] = number
        return self._add(name, kind, self._width(number))

    def _width(self, number: int) -> int:
        return math.prod(self._graph[number].shape)

    def _add(self, name: str, kind: str, width: int, height: int = 1) -> str:
        self.found.setdefault(name, Memory(name, kind, width, height))
        return name
