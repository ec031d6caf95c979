"""Where packed weights lie and the source that packs them.

A group's weights are packed panel by panel, each k by k: for one k the vectors of the panel's
columns, product by product, zeros beyond the last column.
"""

from collections.abc import Iterator
from typing import NamedTuple

from bptt.backends.cpu.layout import Layout
from bptt.backends.cpu.lines import function, indent
from bptt.backends.cpu.tiling import Group, Tiling
from bptt.compiler.stages import Product, Stage


class Packed(NamedTuple):
    """A group's weights.

    Attributes:
        group: of products.
        offset: bytes from the beginning of all packed weights.
        vector: bytes for one vector of columns.
        size: bytes of all.
    """

    group: Group
    offset: int
    vector: int
    size: int


def packed(tilings: list[Tiling | None], layout: Layout) -> list[list[Packed]]:
    """Where the weights of each stage's groups lie."""
    found: list[list[Packed]] = []
    offset = 0
    for cut in tilings:
        found.append([])
        if cut is None:
            continue
        for group in cut.groups:
            vector = group.products[0].count * len(group.products) * layout.lanes * layout.size
            size = vector * (cut.panels * (cut.vectors - 1) + cut.wide)
            found[-1].append(Packed(group, offset, vector, size))
            offset += size
    return found


def panels(cut: Tiling) -> list[str]:
    """Lines for a panel: its first vector of columns, and how many there are."""
    if cut.wide == cut.panels:
        return [f"begin = panel * {cut.vectors}", f"vectors = {cut.vectors}"]
    return [
        f"begin = panel * {cut.vectors} - max(0, panel - {cut.wide})",
        f"vectors = {cut.vectors} if panel < {cut.wide} else {cut.vectors - 1}",
    ]


PACK = """\
def pack_panel(matrix, down, across, count, columns, target, step):
    # count rows of a matrix's columns, to every step-th byte of target; zeros fill the last vector
    rest = columns % LANES
    full = columns - rest
    turned = count - count % LANES if down == 1 else 0
    for j in range(0, full, LANES):
        for k in range(0, turned, LANES):
            source = matrix + (k + j * across) * SIZE
            turn(target + k * step + j * SIZE, step // SIZE, source, across)
    for k in range(count):
        row = matrix + k * down * SIZE
        place = target + k * step
        if rest:
            store(place, full, splat(0.0))
        begin = full if k < turned else 0
        if across == 1:
            for j in range(begin, full, LANES):
                store(place, j, load(row, j))
            begin = full
        for j in range(begin, columns):
            put(place, j, element(row, j * across))


"""


def pack(
    stages: tuple[Stage, ...],
    tilings: list[Tiling | None],
    weights: list[list[Packed]],
    layout: Layout,
    slots: dict[str, int],
) -> str:
    """The functions that pack all weights."""
    lines = [f"packed = integer(block, {slots['packed']})"]
    for stage, cut, parts in zip(stages, tilings, weights, strict=True):
        if cut is None:
            continue
        for part in parts:
            for place, product in enumerate(part.group.products):
                lines += _pack_product(stage, cut, part, place, product, layout, slots)
    return PACK + "\n".join(function("pack_all", ["block"], "every matrix, into panels", lines))


def _pack_product(
    stage: Stage,
    cut: Tiling,
    part: Packed,
    place: int,
    product: Product,
    layout: Layout,
    slots: dict[str, int],
) -> Iterator[str]:
    """Packs one product's matrix among those of its group."""
    name, side, line = product.matrix, len(part.group.products), layout.lanes * layout.size
    yield f"# {name}, columns {product.column} to {product.column + stage.width}"
    yield f"matrix = integer(block, {slots[name]})"
    yield f"down = integer(block, {slots[f'{name}.down']})"
    yield f"across = integer(block, {slots[f'{name}.across']})"
    yield f"for panel in range({cut.panels}):"
    yield from indent(
        [
            *panels(cut),
            f"left = begin * {layout.lanes}",
            f"columns = min(vectors * {layout.lanes}, {stage.width} - left)",
            f"source = matrix + (left + {product.column}) * across * {layout.size}",
            f"target = packed + begin * {part.vector} + vectors * {place * line} + {part.offset}",
            f"step = vectors * {side * line}",
            f"pack_panel(source, down, across, {product.count}, columns, target, step)",
        ]
    )
