"""The source of what a stage does in the columns of one row.

What is the same in all columns (numbers, spread reads and what follows from them) is computed
before the loop over columns, once a row.
"""

from collections.abc import Iterator
from typing import NamedTuple

from bptt.backends.cpu.layout import Layout
from bptt.compiler.stages import MASKS, Call, Number, Product, Read, Stage, Value

WHOLE, PART = "load(%s, %s)", "load_part(%s, %s, n)"


class Columns(NamedTuple):
    """A stage's lines of source, not indented.

    Attributes:
        rows: addresses of the row's memories.
        before: the values that all columns share.
        whole: one vector of columns from column `j`.
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
    rest = stage.width % layout.lanes
    return Columns(
        list(_rows(stage, layout)),
        list(_before(stage, layout)),
        list(_body(stage, layout, sums, rest=0)) if stage.width >= layout.lanes else [],
        list(_body(stage, layout, sums, rest=rest)) if rest else [],
        list(_after(stage, layout)),
    )


def addresses(stage: Stage, layout: Layout) -> list[str]:
    """The names of the addresses that the stage's columns need."""
    names = [layout.read(value.memory)[0] for value in stage.values if isinstance(value, Read)]
    names += [layout.write(store.memory)[0] for store in (*stage.stores, *stage.reductions)]
    return list(dict.fromkeys(names))


def _rows(stage: Stage, layout: Layout) -> Iterator[str]:
    reads = [value.memory for value in stage.values if isinstance(value, Read)]
    writes = [store.memory for store in (*stage.stores, *stage.reductions)]
    pairs = [(name, layout.read(name)) for name in reads]
    pairs += [(name, layout.write(name)) for name in writes]
    for name, (address, row) in dict.fromkeys(pairs):
        yield f"{row} = {address}{layout.row(name)}"


def fetched(stage: Stage, layout: Layout) -> tuple[list[str], list[str]]:
    """Lines that bring near what the stage will read or store at steps: per row, per column `j`."""
    reads = [value for value in stage.values if isinstance(value, Read) and not value.spread]
    places = dict.fromkeys((place[0], place[1]) for place in (*reads, *stage.stores))
    places = [place for place in places if layout.memories[place[0]].kind == "step"]
    names = dict.fromkeys(name for name, _ in places)
    rows = [f"row_{name} = all_{name}{layout.row(name)}" for name in names]
    return rows, [f"fetch(row_{name}, j{_plus(offset)})" for name, offset in places]


def _uniform(stage: Stage) -> list[bool]:
    """Which values are the same in all columns of a row."""
    found: list[bool] = []
    for value in stage.values:
        if isinstance(value, Call):
            found.append(all(found[i] for i in value.operands))
        else:
            found.append(isinstance(value, Number) or (isinstance(value, Read) and value.spread))
    return found


def _before(stage: Stage, layout: Layout) -> Iterator[str]:
    uniform = _uniform(stage)
    for i, value in enumerate(stage.values):
        if uniform[i]:
            yield f"v{i} = {_text(stage, layout, value, WHOLE)}"
    for i, reduction in enumerate(stage.reductions):
        yield f"total{i} = splat({'0.0' if reduction.operation == 'sum' else '-1e999'})"


def _body(stage: Stage, layout: Layout, sums: dict[int, int], rest: int) -> Iterator[str]:
    """The lines for a vector of columns, or for the last `rest` of them."""
    uniform, load = _uniform(stage), PART if rest else WHOLE
    for i, value in enumerate(stage.values):
        if isinstance(value, Product):
            panel = f" + {sums[i]} * wide" if sums[i] else ""
            yield f"v{i} = load(here, j - left{panel})"
        elif not uniform[i]:
            yield f"v{i} = {_text(stage, layout, value, load)}"
    for store in stage.stores:
        place, number = f"{layout.write(store.memory)[1]}, j{_plus(store.offset)}", store.value
        number = as_number(stage, number)
        yield f"store_part({place}, {number}, n)" if rest else f"store({place}, {number})"
    yield from _reduce(stage, layout, rest)


def _reduce(stage: Stage, layout: Layout, rest: int) -> Iterator[str]:
    """The vector `v` goes into the reductions; lanes beyond the width leave them as they are."""
    for i, (_, _, value, operation) in enumerate(stage.reductions):
        number = as_number(stage, value)
        if rest:
            number = f"where(live, {number}, splat({'0.0' if operation == 'sum' else '-1e999'}))"
        yield f"total{i} = {'add' if operation == 'sum' else 'maximum'}(total{i}, {number})"


def _after(stage: Stage, layout: Layout) -> Iterator[str]:
    for i, (memory, offset, _, operation) in enumerate(stage.reductions):
        whole = "total" if operation == "sum" else "largest"
        yield f"put({layout.write(memory)[1]}, {offset}, {whole}(total{i}))"


def _plus(offset: int) -> str:
    return f" + {offset}" if offset else ""


def _text(stage: Stage, layout: Layout, value: Value, load: str) -> str:
    match value:
        case Read(memory, offset, True):
            return f"spread({layout.read(memory)[1]}, {offset})"
        case Read(memory, offset, False):
            return load % (layout.read(memory)[1], f"j{_plus(offset)}")
        case Number(number):
            return f"splat({literal(number)})"
        case Call(operation, operands):
            return f"{operation}({', '.join(_operands(stage, operation, operands))})"
    raise TypeError(f"expected a value of a stage, got {value!r}")


def literal(number: float) -> str:
    """Python source of a number, infinity and NaN included."""
    if number != number:
        return "1e999 - 1e999"
    return {float("inf"): "1e999", -float("inf"): "-1e999"}.get(number, repr(float(number)))


def _is_mask(stage: Stage, i: int) -> bool:
    value = stage.values[i]
    return isinstance(value, Call) and value.operation in MASKS


def as_number(stage: Stage, i: int) -> str:
    """Value `i` as numbers, 1 and 0 for a mask."""
    return f"number(v{i})" if _is_mask(stage, i) else f"v{i}"


def _as_mask(stage: Stage, i: int) -> str:
    return f"v{i}" if _is_mask(stage, i) else f"mask(v{i})"


def _operands(stage: Stage, operation: str, operands: tuple[int, ...]) -> Iterator[str]:
    for place, i in enumerate(operands):
        logical = operation.startswith("logical_") or (operation == "where" and place == 0)
        yield _as_mask(stage, i) if logical else as_number(stage, i)
