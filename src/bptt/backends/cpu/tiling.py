"""How a stage's products are cut into tiles that keep their sums in registers.

A tile is some rows times a panel: some vectors of columns. Its sums stay in registers while k runs,
and its weights, packed panel by panel, stay in the nearest cache while the rows pass.

One row must have about eight sums under way, or the processor waits for the last addition before
it starts the next. (Where the weights are too many for the nearest cache it waits for them anyway.)
Where there are few, a sum is made of several partial ones, taken in turn by k. (With sixteen
registers that would leave no room for a second row, which is worth more.) How many is decided by
the products' heights and the width alone, never by the number of rows: a row gives the same bits in
whichever tile it is computed.
"""

from typing import NamedTuple

from bptt.backends.cpu.arrange import products
from bptt.compiler.stages import Product, Stage

CHAINS = 8  # additions under way that keep two multiply-add units of four cycles busy
NEAR = 40 * 1024  # bytes of weights that the nearest cache holds beside the rows


class Group(NamedTuple):
    """Products that share their source, computed side by side.

    Attributes:
        members: indices among the stage's values.
        products: the products.
    """

    members: tuple[int, ...]
    products: tuple[Product, ...]


class Tiling(NamedTuple):
    """How one stage is cut.

    Attributes:
        groups: of products, each with tiles of its own.
        panels: number of panels.
        vectors: columns of a panel, in vectors of the machine.
        wide: how many panels have so many; the others have one vector less.
        partial: sums that one sum is made of.
        rows: of the tiles, tallest first, the last 1.
    """

    groups: tuple[Group, ...]
    panels: int
    vectors: int
    wide: int
    partial: int
    rows: tuple[int, ...]


def groups(stage: Stage) -> tuple[Group, ...]:
    """The products of a stage by what they read, at most `CHAINS` in a group."""
    found: dict[tuple, list[tuple[int, Product]]] = {}
    for i, product in products(stage):
        found.setdefault((product.memory, product.offset, product.count), []).append((i, product))
    cut = [part[i : i + CHAINS] for part in found.values() for i in range(0, len(part), CHAINS)]
    return tuple(Group(*zip(*part, strict=True)) for part in cut)


def tiling(stage: Stage, lanes: int, registers: int, size: int) -> Tiling:
    """The tiles of a stage's products on a machine of so many registers of so many lanes.

    Args:
        stage: has a product.
        lanes: numbers in a vector.
        registers: vectors that the processor holds.
        size: bytes of a number.
    """
    parts = groups(stage)
    side = max(len(part.products) for part in parts)
    weights = sum(len(p.products) * p.products[0].count for p in parts) * stage.width * size
    near = weights <= NEAR
    total = -(-stage.width // lanes)
    chains = CHAINS if near and registers >= 32 else CHAINS // 2
    panels = -(-total // max(1, chains // side))
    vectors = -(-total // panels)
    partial = _partial(side * vectors, chains) if near else 1
    held = registers * 3 // 4 // (side * vectors * partial)
    return Tiling(parts, panels, vectors, total - panels * (vectors - 1), partial, _heights(held))


def _partial(sums: int, chains: int) -> int:
    """Partial sums for each of so many sums of a row: about as many chains as wanted."""
    return next(
        partial for partial in (1, 2, 4) if partial == 4 or 4 * sums * partial >= 3 * chains
    )


def _heights(most: int) -> tuple[int, ...]:
    """Rows of tiles: powers of two, which add up to any number of rows."""
    return tuple(rows for rows in (8, 4, 2, 1) if rows <= max(1, most))
