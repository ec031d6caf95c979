"""The source that packs weights, from matrices of any strides."""

from collections.abc import Iterator

from bptt.backends.cpu.lines import function, indent
from bptt.backends.cpu.stage import Work
from bptt.backends.cpu.weights import Packed, panels
from bptt.compiler.stages import Product

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


def pack(works: list[Work], slots: dict[str, int]) -> str:
    """The functions that pack the weights of all stages."""
    lines = [f"packed = integer(block, {slots['packed']})"]
    for work in works:
        for part in work.parts:
            for place, product in enumerate(part.group.products):
                lines += _matrix(product, work.stage.width, slots)
                lines += _panels(work, part, place)
    comment = "every matrix, into panels: a member's part of them"
    return PACK + "\n".join(function("pack_all", ["block", "member", "members"], comment, lines))


def _matrix(product: Product, width: int, slots: dict[str, int]) -> Iterator[str]:
    name = product.matrix
    yield f"# {name}, columns {product.column} to {product.column + width}"
    yield f"matrix = integer(block, {slots[name]})"
    yield f"down = integer(block, {slots[f'{name}.down']})"
    yield f"across = integer(block, {slots[f'{name}.across']})"


def _panels(work: Work, part: Packed, place: int) -> list[str]:
    """Packs the panels of the product at `place` of its group."""
    if work.cut is None:
        return []
    product, side = part.group.products[place], len(part.group.products)
    lanes, size = work.layout.lanes, work.layout.size
    target = f"packed + begin * {part.vector} + vectors * {place * lanes * size} + {part.offset}"
    lines = [
        *panels(work.cut),
        f"left = begin * {lanes}",
        f"columns = min(vectors * {lanes}, {work.stage.width} - left)",
        f"source = matrix + (left + {product.column}) * across * {size}",
        f"target = {target}",
        f"step = vectors * {side * lanes * size}",
        f"pack_panel(source, down, across, {product.count}, columns, target, step)",
    ]
    count = work.cut.panels
    low, high = f"member * {count} // members", f"(member + 1) * {count} // members"
    return [f"for panel in range({low}, {high}):", *indent(lines)]
