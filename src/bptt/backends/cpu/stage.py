"""The source of one stage: its columns, and the tiles of its products before them."""

from collections.abc import Iterator

from bptt.backends.cpu.columns import Columns, addresses, columns
from bptt.backends.cpu.fetching import fetch_call, fetched
from bptt.backends.cpu.layout import Layout
from bptt.backends.cpu.lines import function, indent
from bptt.backends.cpu.tiles import Tile
from bptt.backends.cpu.tiling import Group, Tiling
from bptt.backends.cpu.weights import Packed, panels
from bptt.compiler.stages import Stage

PLACES = ["order", "sequence", "shift", "stride", "ones"]  # what rows and lanes are found by


def members(cut: Tiling) -> dict[int, int]:
    """The place of each product of a stage among its panel's sums."""
    return {i: place for place, i in enumerate(i for part in cut.groups for i in part.members)}


def across(cut: Tiling, layout: Layout) -> int:
    """Bytes of a row's sums."""
    return len(members(cut)) * cut.vectors * layout.lanes * layout.size


def tiles(cut: Tiling) -> Iterator[Tile]:
    """The shapes of the tiles that a stage uses."""
    for group in cut.groups:
        for vectors in _widths(cut):
            for rows in cut.rows:
                yield Tile(rows, vectors * len(group.products), cut.partial)


def _widths(cut: Tiling) -> list[int]:
    """Vectors of a panel, narrow ones first."""
    return [cut.vectors] if cut.wide == cut.panels else [cut.vectors - 1, cut.vectors]


def columns_function(name: str, stage: Stage, cut: Tiling | None, layout: Layout) -> list[str]:
    """The function that does the columns of rows `first` to `last`."""
    text = columns(stage, layout, members(cut) if cut else {})
    panel = ["left", "wide", "sums"] if cut else []
    lines = ["for r in range(first, last):", *indent(_row(stage, text, cut, layout))]
    given = ["first", "last", *panel, *PLACES, *addresses(stage, layout)]
    return function(name, given, _stores(stage), lines)


def _stores(stage: Stage) -> str:
    """What a stage is for, in a comment."""
    names = [f"{s.memory}[{s.offset}:{s.offset + stage.width}]" for s in stage.stores]
    names += [f"{r.memory}[{r.offset}]" for r in stage.reductions]
    return f"stores {', '.join(names)}"


def _row(stage: Stage, text: Columns, cut: Tiling | None, layout: Layout) -> Iterator[str]:
    if any("at *" in line for line in text.rows):
        yield "at = integer(order, r) + shift"
    yield from text.rows
    yield from text.before
    if cut:
        yield f"here = sums + (r - first) * {across(cut, layout)}"
    rest = stage.width % layout.lanes
    if text.whole:
        yield f"for j in range({_range(cut, stage.width - rest)}, {layout.lanes}):"
        yield from indent(text.whole)
    if text.part:
        yield from _part(stage, text, cut, rest)
    yield from text.after


def _range(cut: Tiling | None, end: int) -> str:
    return f"left, min(left + wide, {end})" if cut else f"0, {end}"


def _part(stage: Stage, text: Columns, cut: Tiling | None, rest: int) -> list[str]:
    """The last columns, fewer than a vector."""
    lines = [f"j = {stage.width - rest}", f"n = {rest}"]
    if stage.reductions:
        lines += ["live = mask(load_part(ones, 0, n))"]
    lines += text.part
    return [f"if left + wide > {stage.width - rest}:", *indent(lines)] if cut else lines


def products_function(
    name: str, stage: Stage, cut: Tiling, parts: list[Packed], layout: Layout
) -> list[str]:
    """The function that computes a stage with products, panel by panel.

    At every other step the last panel comes first: what is left of the weights in the nearest
    cache is used before it is driven out.
    """
    lines = [
        f"panel = {cut.panels - 1} - i if turn else i",
        *panels(cut),
        f"left, wide = begin * {layout.lanes}, vectors * {layout.lanes}",
        "r = 0",
    ]
    for rows in cut.rows:
        lines += _tall(name, stage, cut, parts, layout, rows)
    loop = [f"for i in range({cut.panels}):", *indent(lines)]
    return function(
        f"{name}_products", _products_arguments(stage, cut, layout), _matrices(cut), loop
    )


def products_call(name: str, stage: Stage, cut: Tiling, layout: Layout) -> str:
    """The call that does a stage with products for all rows."""
    return f"{name}_products({', '.join(_products_arguments(stage, cut, layout))})"


def row_calls(name: str, stage: Stage, layout: Layout) -> Iterator[str]:
    """The calls that do a stage without products for row `r`."""
    if fetched(stage, layout):
        yield fetch_call(name, stage, layout, "r", "r + 1", "0")
    yield f"{name}({', '.join(['r', 'r + 1', *PLACES, *addresses(stage, layout)])})"


def _products_arguments(stage: Stage, cut: Tiling, layout: Layout) -> list[str]:
    sources = [layout.read(part.products[0].memory)[0] for part in cut.groups]
    given = ["rows", "turn", "sums", "packed", *PLACES, *addresses(stage, layout), *sources]
    return list(dict.fromkeys(given))


def _matrices(cut: Tiling) -> str:
    names = [f"{p.memory} @ {p.matrix}" for part in cut.groups for p in part.products]
    return f"{', '.join(names)}, then the columns"


def _tall(
    name: str, stage: Stage, cut: Tiling, parts: list[Packed], layout: Layout, rows: int
) -> Iterator[str]:
    """Tiles of so many rows: their sums, and their columns while the sums are at hand."""
    given = ", ".join([*PLACES, *addresses(stage, layout)])
    yield f"while r + {rows} <= rows:"
    if fetched(stage, layout):
        yield "    " + fetch_call(name, stage, layout, "r", f"r + {rows}", "i")
    for place, part in enumerate(parts):
        yield from indent(_tile(cut, place, part, layout, rows))
    yield f"    {name}(r, r + {rows}, left, wide, sums, {given})"
    yield f"    r += {rows}"


def _tile(cut: Tiling, place: int, part: Packed, layout: Layout, rows: int) -> Iterator[str]:
    """Calls the tile for rows `r` to `r + rows` of this panel."""
    product, size = part.group.products[0], layout.size
    before = sum(len(other.members) for other in cut.groups[:place])
    pitch = layout.pitch(product.memory)
    source = f"{layout.read(product.memory)[0]} + r * {pitch} + {product.offset * size}"
    weights = f"packed + begin * {part.vector} + {part.offset}"
    sums = f"sums + {before * size} * wide"
    given = f"{source}, {pitch}, {weights}, {product.count}, {sums}, {across(cut, layout)}"
    *narrow, widest = [f"{_called(cut, part.group, rows, n)}({given})" for n in _widths(cut)]
    if narrow:
        yield f"if vectors == {cut.vectors - 1}:"
        yield f"    {narrow[0]}"
        yield "else:"
        widest = f"    {widest}"
    yield widest


def _called(cut: Tiling, group: Group, rows: int, vectors: int) -> str:
    return Tile(rows, vectors * len(group.products), cut.partial).name
