"""How a stage's products are cut into tiles that keep their sums in registers.

A tile is some rows times some vectors of columns; its sums stay in registers while k runs. One row
must have about eight sums under way, or the processor waits for the last addition before it starts
the next; with few columns a sum is therefore made of several partial ones, taken in turn by k. How
many is decided by the product's height and width alone, never by the number of rows: a row gives
the same bits in whichever tile it is computed.

    panel       the columns of a tile. Weights are packed panel by panel, k by k
    block       so many k that their piece of a panel stays in the first cache while the rows pass
"""

from typing import NamedTuple

from bptt.backends.cpu.arrange import products
from bptt.compiler.stages import Product, Stage

CHAINS = 8  # additions under way that keep two multiply-add units of four cycles busy
NEAR = 40 * 1024  # bytes of weights that the first cache holds beside the rows
PIECE = 24 * 1024  # bytes of a panel's block of k


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
        groups: of products, each a tile of its own.
        vectors: columns of a panel, in vectors of the machine.
        panels: number of panels; the last may be narrower.
        last: vectors of the last panel.
        partial: sums that one sum is made of.
        rows: of a full tile; what remains is done row by row.
        block: k at a time, or 0 for all at once.
    """

    groups: tuple[Group, ...]
    vectors: int
    panels: int
    last: int
    partial: int
    rows: int
    block: int


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
    total = -(-stage.width // lanes)
    chains = CHAINS if weights <= NEAR else CHAINS // 2
    vectors = min(total, max(1, chains // side))
    panels = -(-total // vectors)
    vectors = -(-total // panels)
    partial = _partial(side * vectors) if weights <= NEAR else 1
    held = 24 if registers >= 32 else 12
    rows = max(1, min(8, held // (side * vectors * partial)))
    block = max(8, PIECE // (side * vectors * lanes * size))
    longest = max(part.products[0].count for part in parts)
    return Tiling(
        parts,
        vectors,
        panels,
        total - vectors * (panels - 1),
        partial,
        rows,
        block if partial == 1 and longest > block * 3 // 2 else 0,
    )


def _partial(sums: int) -> int:
    """Partial sums for each of so many sums of a row."""
    return 1 if sums >= 6 else 2 if sums >= 3 else 4
