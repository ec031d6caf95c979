"""The source of what a stage does in the columns of one row.

What is the same in all columns (numbers, spread reads and what follows from them) is computed
before the loop over columns, once a row.
"""

from collections.abc import Iterator
from typing import NamedTuple

from bptt.backends.cpu.layout import Layout
from bptt.backends.cpu.values import Values, literal
from bptt.compiler.stages import Call, Number, Product, Read, Stage, Value

WHOLE, PART = "load(%s, %s)", "load_part(%s, %s, n)"
NEUTRAL = {"sum": "0.0", "max": "-1e999"}


class Columns(NamedTuple):
    """A stage's lines of source, not indented.

    Attributes:
        rows: addresses of the row's memories.
        before: the values that all columns share.
        whole: one vector of columns from column `j`; empty if there is none.
        part: the `n` columns from column `j`, fewer than a vector; empty if there are none.
        after: reductions, when the row is done.
    """

    rows: list[str]
    before: list[str]
    whole: list[str]
    part: list[str]
    after: list[str]


def columns(stage: Stage, layout: Layout, sums: dict[int, int]) -> Columns:
    """The source of one stage.

    Args:
        stage: what to do.
        layout: of its memories.
        sums: for each product among the values, its place among the panel's products.
    """
    writer, rest = _Writer(stage, layout, sums), stage.width % layout.lanes
    return Columns(
        list(_rows(stage, layout)),
        list(writer.before()),
        list(writer.body(rest=0)) if stage.width >= layout.lanes else [],
        list(writer.body(rest=rest)) if rest else [],
        list(writer.after()),
    )


def addresses(stage: Stage, layout: Layout) -> list[str]:
    """The names of the addresses that the stage's columns need."""
    names = [layout.read(value.memory)[0] for value in stage.values if isinstance(value, Read)]
    names += [layout.write(store.memory)[0] for store in (*stage.stores, *stage.reductions)]
    read = {value.memory for value in stage.values if isinstance(value, Read)}
    names += [f"fresh_{name}" for name in layout.begun if name in read]
    return list(dict.fromkeys(names))


def _rows(stage: Stage, layout: Layout) -> Iterator[str]:
    reads = [value.memory for value in stage.values if isinstance(value, Read)]
    writes = [store.memory for store in (*stage.stores, *stage.reductions)]
    pairs = [(name, layout.read(name)) for name in reads]
    pairs += [(name, layout.write(name)) for name in writes]
    for name, (address, row) in dict.fromkeys(pairs):
        yield f"{row} = {address}{layout.row(name)}"
        if name in layout.begun:
            yield f"if fresh_{name} != 0:"
            yield "    if is_set(mask, at):"
            yield f"        {row} = fresh_{name} + integer(sequence, r) * {layout.pitch(name)}"


def _plus(offset: int) -> str:
    return f" + {offset}" if offset else ""


class _Writer:
    """Writes a stage's values, stores and reductions."""

    def __init__(self, stage: Stage, layout: Layout, sums: dict[int, int]) -> None:
        self.stage, self.layout, self.sums = stage, layout, sums
        self.values = Values(stage)

    def before(self) -> Iterator[str]:
        """What all columns share, and where reductions begin."""
        for i, value in enumerate(self.stage.values):
            if self.values.uniform[i]:
                yield f"v{i} = {self._text(i, value, WHOLE)}"
        for i, reduction in enumerate(self.stage.reductions):
            yield f"total{i} = splat({NEUTRAL[reduction.operation]})"

    def body(self, rest: int) -> Iterator[str]:
        """A vector of columns, or the last `rest` of them."""
        done = self.values.absorbed
        for i, value in enumerate(self.stage.values):
            if i not in done and not self.values.uniform[i]:
                yield f"v{i} = {self._text(i, value, PART if rest else WHOLE)}"
        for name, offset, value in self.stage.stores:
            given = f"{self.layout.write(name)[1]}, j{_plus(offset)}, {self.values.number(value)}"
            yield f"store_part({given}, n)" if rest else f"store({given})"
        yield from self._reduce(rest)

    def _reduce(self, rest: int) -> Iterator[str]:
        """Lanes beyond the width leave a reduction as it is."""
        for i, (_, _, value, operation) in enumerate(self.stage.reductions):
            number = self.values.number(value)
            if rest:
                number = f"where(live, {number}, splat({NEUTRAL[operation]}))"
            yield f"total{i} = {'add' if operation == 'sum' else 'maximum'}(total{i}, {number})"

    def after(self) -> Iterator[str]:
        """Reductions are stored."""
        for i, (name, offset, _, operation) in enumerate(self.stage.reductions):
            whole = "total" if operation == "sum" else "largest"
            yield f"put({self.layout.write(name)[1]}, {offset}, {whole}(total{i}))"

    def _text(self, i: int, value: Value, load: str) -> str:
        match value:
            case Product():
                return f"load(here, j - left + {self.sums[i]} * wide)"
            case Read(memory, offset, spread):
                row = self.layout.read(memory)[1]
                return f"spread({row}, {offset})" if spread else load % (row, f"j{_plus(offset)}")
            case Number(number):
                return f"splat({literal(number)})"
            case Call():
                return self.values.call(value)
