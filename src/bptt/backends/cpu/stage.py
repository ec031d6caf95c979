"""The source of one stage: its columns, and the tiles of its products before them."""

from collections.abc import Iterator

from bptt.backends.cpu.columns import Columns, addresses, columns
from bptt.backends.cpu.layout import Layout
from bptt.backends.cpu.lines import function, indent
from bptt.backends.cpu.tiles import Tile
from bptt.backends.cpu.tiling import Group, Tiling
from bptt.backends.cpu.weights import Packed
from bptt.compiler.stages import Stage

PLACES = ["order", "sequence", "shift", "ones"]  # how any row's place is found, and its lanes


def members(cut: Tiling) -> dict[int, int]:
    """The place of each product of a stage among its panel's sums."""
    return {i: place for place, i in enumerate(i for part in cut.groups for i in part.members)}


def across(cut: Tiling, layout: Layout) -> int:
    """Bytes of a row's sums."""
    return len(members(cut)) * cut.vectors * layout.lanes * layout.size


def columns_function(name: str, stage: Stage, cut: Tiling | None, layout: Layout) -> list[str]:
    """The function that does the columns of rows `first` to `last`."""
    text = columns(stage, layout, members(cut) if cut else {})
    places = [*PLACES, *addresses(stage, layout)]
    panel = ["left", "wide", "sums"] if cut else []
    lines = ["for r in range(first, last):", *indent(_row(stage, text, cut, layout))]
    return function(name, ["first", "last", *panel, *places], _stores(stage), lines)


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


def tiles(cut: Tiling) -> Iterator[Tile]:
    """The shapes of the tiles that a stage uses."""
    for group in cut.groups:
        for vectors in dict.fromkeys((cut.vectors, cut.last)):
            for rows in dict.fromkeys((cut.rows, 1)):
                yield _shape(cut, group, rows, vectors)


def _shape(cut: Tiling, group: Group, rows: int, vectors: int) -> Tile:
    return Tile(rows, vectors * len(group.products), cut.partial, cut.block > 0)


def products_function(
    name: str, stage: Stage, cut: Tiling, parts: list[Packed], layout: Layout
) -> list[str]:
    """The function that computes a stage with products, panel by panel."""
    wide = cut.vectors * layout.lanes
    lines = [f"left = panel * {wide}", f"wide = {_wide(cut, layout)}"]
    make = _blocks if cut.block else _at_once
    lines += make(name, stage, cut, parts, layout)
    lines = [f"for panel in range({cut.panels}):", *indent(lines)]
    sources = [layout.read(part.group.products[0].memory)[0] for part in parts]
    names = ["rows", "sums", "packed", *PLACES, *addresses(stage, layout), *sources]
    return function(f"{name}_products", dict.fromkeys(names), _matrices(cut), lines)


def _wide(cut: Tiling, layout: Layout) -> str:
    """Columns of a panel's vectors."""
    whole, last = cut.vectors * layout.lanes, cut.last * layout.lanes
    return str(whole) if whole == last else f"{last} if panel == {cut.panels - 1} else {whole}"


def _matrices(cut: Tiling) -> str:
    names = [f"{p.memory} @ {p.matrix}" for part in cut.groups for p in part.products]
    return f"{', '.join(names)}, then the columns"


def _call(name: str, stage: Stage, first: str, last: str, sums: str, layout: Layout) -> str:
    places = ", ".join([first, last, "left", "wide", sums, *PLACES, *addresses(stage, layout)])
    return f"{name}({places})"


def _at_once(
    name: str, stage: Stage, cut: Tiling, parts: list[Packed], layout: Layout
) -> Iterator[str]:
    """A tile's sums over all k, and its columns while they are at hand."""
    yield "r = 0"
    yield "while r < rows:"
    lines = [f"last = r + {cut.rows} if r + {cut.rows} <= rows else r + 1"]
    for place, part in enumerate(parts):
        lines += _tile(cut, place, part, layout, "0", str(part.group.products[0].count), "sums")
    lines += [_call(name, stage, "r", "last", "sums", layout), "r = last"]
    yield from indent(lines)


def _blocks(
    name: str, stage: Stage, cut: Tiling, parts: list[Packed], layout: Layout
) -> Iterator[str]:
    """The sums of all rows, block after block of k, then the columns."""
    vectors = across(cut, layout) // (layout.lanes * layout.size)
    yield f"for i in range(rows * {vectors}):"
    yield f"    store(sums, i * {layout.lanes}, splat(0.0))"
    for place, part in enumerate(parts):
        count = part.group.products[0].count
        yield f"for begin in range(0, {count}, {cut.block}):"
        lines = [f"count = min({cut.block}, {count} - begin)", "r = 0", "while r < rows:"]
        inner = [f"last = r + {cut.rows} if r + {cut.rows} <= rows else r + 1"]
        row = f"sums + r * {across(cut, layout)}"
        inner += [*_tile(cut, place, part, layout, "begin", "count", row), "r = last"]
        yield from indent([*lines, *indent(inner)])
    yield _call(name, stage, "0", "rows", "sums", layout)


def _tile(
    cut: Tiling, place: int, part: Packed, layout: Layout, begin: str, count: str, sums: str
) -> Iterator[str]:
    """Calls the tile for rows `r` to `last` of this panel."""
    product, size = part.group.products[0], layout.size
    before = sum(len(other.members) for other in cut.groups[:place])
    pitch = layout.pitch(product.memory)
    source = f"{layout.read(product.memory)[0]} + r * {pitch} + {product.offset * size}"
    sums += f" + {before * size} * wide" if before else ""
    step = f"{size * len(part.group.products)} * wide"
    row = "" if begin == "0" else f" + {begin} * {step}"
    source += "" if begin == "0" else f" + {begin} * {size}"
    yield f"source = {source}"
    yield f"weights = packed + {part.offset} + panel * {part.panel}{row}"
    given = f"source, {pitch}, weights, {count}, {sums}, {across(cut, layout)}"
    yield from _choose(cut, part.group, given)


def _choose(cut: Tiling, group: Group, given: str) -> Iterator[str]:
    """The tile's shape by what rows and columns there are."""
    cases = {}
    for rows in dict.fromkeys((cut.rows, 1)):
        for vectors in dict.fromkeys((cut.last, cut.vectors)):
            tests = [f"last - r == {rows}"] if rows != 1 else []
            tests += [f"panel == {cut.panels - 1}"] if vectors != cut.vectors else []
            cases[" and ".join(tests)] = f"{_shape(cut, group, rows, vectors).name}({given})"
    for number, (test, call) in enumerate(cases.items()):
        if test:
            yield f"{'elif' if number else 'if'} {test}:"
            yield f"    {call}"
        elif number:
            yield "else:"
            yield f"    {call}"
        else:
            yield call
