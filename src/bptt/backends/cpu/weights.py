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
        panel: bytes of one panel.
        size: bytes of all panels.
    """

    group: Group
    offset: int
    panel: int
    size: int


def packed(tilings: list[Tiling | None], layout: Layout) -> list[list[Packed]]:
    """Where the weights of each stage's groups lie."""
    found: list[list[Packed]] = []
    offset = 0
    for cut in tilings:
        found.append([])
        for group in cut.groups if cut else ():
            vector = group.products[0].count * len(group.products) * layout.lanes * layout.size
            total = vector * (cut.vectors * (cut.panels - 1) + cut.last)
            found[-1].append(Packed(group, offset, vector * cut.vectors, total))
            offset += total
    return found


PACK = """\
def pack_panel(matrix, down, across, count, columns, target, step):
    # count rows of a matrix's columns, to every step-th byte of target; zeros fill the last vector
    rest = columns % LANES
    for k in range(count):
        row = matrix + k * down * SIZE
        place = target + k * step
        if across == 1:
            for j in range(0, columns - rest, LANES):
                store(place, j, load(row, j))
            if rest:
                store(place, columns - rest, load_part(row, columns - rest, rest))
        else:
            if rest:
                store(place, columns - rest, splat(0.0))
            for j in range(columns):
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
        for part in parts:
            for place, product in enumerate(part.group.products):
                lines += _pack_product(stage, cut, part, place, product, layout, slots)
    text = function("pack_all", ["block"], "every matrix, into panels", lines)
    return PACK.replace("SIZE", str(layout.size)) + "\n".join(text)


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
    name, wide, side = product.matrix, cut.vectors * layout.lanes, len(part.group.products)
    yield f"# {name}, columns {product.column} to {product.column + stage.width}"
    yield f"matrix = integer(block, {slots[name]})"
    yield f"down = integer(block, {slots[f'{name}.down']})"
    yield f"across = integer(block, {slots[f'{name}.across']})"
    yield f"for panel in range({cut.panels}):"
    yield from indent(
        [
            f"columns = min({wide}, {stage.width} - panel * {wide})",
            f"vectors = (columns + {layout.lanes - 1}) // {layout.lanes}",
            f"source = matrix + ({product.column} + panel * {wide}) * across * {layout.size}",
            f"target = packed + {part.offset} + panel * {part.panel}"
            f" + {place * layout.lanes * layout.size} * vectors",
            f"step = vectors * {side * layout.lanes * layout.size}",
            f"pack_panel(source, down, across, {product.count}, columns, target, step)",
        ]
    )
