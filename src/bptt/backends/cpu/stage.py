"""The source of one stage: its columns, and the tiles of its products before them."""

from collections.abc import Iterator
from typing import NamedTuple

from bptt.backends.cpu.columns import Columns, addresses, columns
from bptt.backends.cpu.fetching import Ranges, fetch_call
from bptt.backends.cpu.layout import Layout
from bptt.backends.cpu.lines import function, indent
from bptt.backends.cpu.tiles import Tile
from bptt.backends.cpu.tiling import Group, Tiling
from bptt.backends.cpu.weights import Packed, panels
from bptt.compiler.stages import Stage

PLACES = ("order", "sequence", "shift", "ones")  # what rows and lanes are found by
TRAILS = ("trail", "trailed")  # and rows' own places at each step


def places(layout: Layout) -> list[str]:
    """What rows and lanes are found by."""
    return [*PLACES, *(TRAILS if layout.trails else ()), *(["mask"] if layout.begun else [])]


class Work(NamedTuple):
    """A stage and all that its source depends on.

    Attributes:
        name: of its function.
        stage: what it does.
        cut: how its products are cut; None if it has none.
        parts: where their weights lie, group by group.
        fetch: what it asks for on behalf of the next step.
        layout: of all memories.
    """

    name: str
    stage: Stage
    cut: Tiling | None
    parts: list[Packed]
    fetch: Ranges
    layout: Layout


def tiles(cut: Tiling) -> Iterator[Tile]:
    """The shapes of the tiles that a stage uses."""
    for group in cut.groups:
        for vectors in _widths(cut):
            for rows in cut.rows:
                yield _shape(cut, group, rows, vectors)


def _widths(cut: Tiling) -> list[int]:
    """Vectors of a panel, narrow ones first."""
    return [cut.vectors] if cut.wide == cut.panels else [cut.vectors - 1, cut.vectors]


def _shape(cut: Tiling, group: Group, rows: int, vectors: int) -> Tile:
    return Tile(rows, vectors * len(group.products), cut.partial)


def members(cut: Tiling) -> dict[int, int]:
    """The place of each product of a stage among its panel's sums."""
    return {i: place for place, i in enumerate(i for part in cut.groups for i in part.members)}


def across(cut: Tiling, layout: Layout) -> int:
    """Bytes of a row's sums."""
    return len(members(cut)) * cut.vectors * layout.lanes * layout.size


def functions(work: Work) -> list[str]:
    """The functions of a stage."""
    lines = _columns_function(work)
    if work.cut:
        lines += _products_function(work, work.cut)
    return lines


def calls(work: Work) -> list[str]:
    """The calls that do a stage: for all rows if it has products, else for row `r`."""
    if work.cut:
        own = {"low": f"{work.name}_low", "high": f"{work.name}_high"}
        given = [own.get(name, name) for name in _products_arguments(work, work.cut)]
        return [f"{work.name}_products({', '.join(given)})"]
    lines = [fetch_call(work.fetch, "r", "r + 1", "0")] if work.fetch else []
    return [*lines, f"{work.name}({', '.join(['r', 'r + 1', *_columns_arguments(work)])})"]


def _columns_arguments(work: Work) -> list[str]:
    return [*places(work.layout), *addresses(work.stage, work.layout)]


def _columns_function(work: Work) -> list[str]:
    """The function that does the columns of rows `first` to `last`."""
    text = columns(work.stage, work.layout, members(work.cut) if work.cut else {})
    panel = ["left", "wide", "sums"] if work.cut else []
    lines = ["for r in range(first, last):", *indent(_row(work, text))]
    return function(
        work.name, ["first", "last", *panel, *_columns_arguments(work)], _stores(work.stage), lines
    )


def _stores(stage: Stage) -> str:
    """What a stage is for, in a comment."""
    names = [f"{s.memory}[{s.offset}:{s.offset + stage.width}]" for s in stage.stores]
    names += [f"{r.memory}[{r.offset}]" for r in stage.reductions]
    return f"stores {', '.join(names)}"


def _row(work: Work, text: Columns) -> Iterator[str]:
    layout, rest = work.layout, work.stage.width % work.layout.lanes
    if any("at *" in line for line in text.rows):
        yield "at = integer(order, r) + shift"
    if any("behind *" in line for line in text.rows):
        yield "behind = integer(trail, r) + trailed"
    yield from text.rows
    yield from text.before
    if work.cut:
        yield f"here = sums + (r - first) * {across(work.cut, layout)}"
    if text.whole:
        end = work.stage.width - rest
        within = f"left, min(left + wide, {end})" if work.cut else f"0, {end}"
        yield f"for j in range({within}, {layout.lanes}):"
        yield from indent(text.whole)
    if text.part:
        yield from _part(work, text, rest)
    yield from text.after


def _part(work: Work, text: Columns, rest: int) -> list[str]:
    """The last columns, fewer than a vector."""
    begin = work.stage.width - rest
    lines = [f"j = {begin}", f"n = {rest}"]
    if work.stage.reductions:
        lines += ["live = mask(load_part(ones, 0, n))"]
    lines += text.part
    return [f"if left + wide > {begin}:", *indent(lines)] if work.cut else lines


def _products_function(work: Work, cut: Tiling) -> list[str]:
    """The function that computes a stage with products, panel by panel.

    At every other step the last panel comes first: what is left of the weights in the nearest
    cache is used before it is driven out.
    """
    lines = [
        "panel = low + high - 1 - i if turn else i",
        *panels(cut),
        f"left, wide = begin * {work.layout.lanes}, vectors * {work.layout.lanes}",
        "r = 0",
    ]
    for rows in cut.rows:
        lines += _tall(work, cut, rows)
    products = [f"{p.memory} @ {p.matrix}" for part in cut.groups for p in part.products]
    return function(
        f"{work.name}_products",
        _products_arguments(work, cut),
        f"{', '.join(products)}, then the columns",
        ["for i in range(low, high):", *indent(lines)],
    )


def _products_arguments(work: Work, cut: Tiling) -> list[str]:
    given = ["rows", "turn", "low", "high", "sums", "packed", "stride", *_columns_arguments(work)]
    given += [work.layout.read(part.products[0].memory)[0] for part in cut.groups]
    return list(dict.fromkeys([*given, *(f"all_{name}" for name in work.fetch)]))


def _tall(work: Work, cut: Tiling, rows: int) -> Iterator[str]:
    """Tiles of so many rows: their sums, and their columns while the sums are at hand."""
    yield f"while r + {rows} <= rows:"
    if work.fetch:
        yield "    " + fetch_call(work.fetch, "r", f"r + {rows}", "i")
    for place, part in enumerate(work.parts):
        yield from indent(_tile(work, cut, place, part, rows))
    given = ["r", f"r + {rows}", "left", "wide", "sums", *_columns_arguments(work)]
    yield f"    {work.name}({', '.join(given)})"
    yield f"    r += {rows}"


def _tile(work: Work, cut: Tiling, place: int, part: Packed, rows: int) -> Iterator[str]:
    """Calls the tile of a group for rows `r` to `r + rows` of this panel."""
    product, layout = part.group.products[0], work.layout
    before = sum(len(other.members) for other in cut.groups[:place])
    pitch = layout.pitch(product.memory)
    source = f"{layout.read(product.memory)[0]} + r * {pitch} + {product.offset * layout.size}"
    weights = f"packed + begin * {part.vector} + {part.offset}"
    sums = f"sums + {before * layout.size} * wide"
    given = f"{source}, {pitch}, {weights}, {product.count}, {sums}, {across(cut, layout)}"
    names = [_shape(cut, part.group, rows, vectors).name for vectors in _widths(cut)]
    if len(names) == 1:
        yield f"{names[0]}({given})"
        return
    yield f"if vectors == {cut.vectors - 1}:"
    yield f"    {names[0]}({given})"
    yield "else:"
    yield f"    {names[1]}({given})"
