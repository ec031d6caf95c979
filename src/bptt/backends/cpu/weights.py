"""Where packed weights lie.

A group's weights are packed panel by panel, each k by k: for one k the vectors of the panel's
columns, product by product, zeros beyond the last column.
"""

from typing import NamedTuple

from bptt.backends.cpu.layout import Layout
from bptt.backends.cpu.tiling import Group, Tiling


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
