"""A share's own buffers: carries twice, scratch memories, the sums of products."""

from typing import NamedTuple

from bptt.backends.cpu.layout import Layout
from bptt.backends.cpu.piles import PILE
from bptt.backends.cpu.scratch import LINE
from bptt.backends.cpu.stage import across
from bptt.backends.cpu.tiling import Tiling


class Buffer(NamedTuple):
    """A buffer of `fixed + height * row` bytes, where height is the rows of the largest share.

    Those of rows are shared where several threads share a row's columns.
    """

    name: str
    fixed: int
    row: int


def buffers(tilings: list[Tiling | None], layout: Layout) -> list[Buffer]:
    """Everything that a share needs, in the order in which it lies."""
    line = layout.lanes * layout.size
    found = [Buffer("ones", line, 0), Buffer("control", LINE, 0)]
    cuts = [cut for cut in tilings if cut]
    if cuts:
        found.append(Buffer("sums", max(across(cut, layout) * cut.rows[0] for cut in cuts), 0))
    for memory in layout.memories.values():
        if memory.kind in ("scratch", "sum"):
            found.append(Buffer(f"all_{memory.name}", 0, layout.pitch(memory.name)))
        elif memory.kind == "pile":
            pitch = layout.pitch(memory.name)
            found.append(Buffer(f"all_{memory.name}", (PILE - 1) * pitch, pitch))
        elif memory.kind == "outer":
            pitch = layout.pitch(memory.name)
            found.append(Buffer(f"all_{memory.name}", memory.height * pitch, 0))
        elif memory.kind == "carry":
            found.append(Buffer(f"old_{memory.name}", 0, layout.pitch(memory.name)))
            if memory.name in layout.stored:
                found.append(Buffer(f"new_{memory.name}", 0, layout.pitch(memory.name)))
    return found
