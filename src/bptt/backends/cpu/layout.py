"""Where a kernel's memories lie, and how its source names them.

A name in the source is a prefix and the memory's name:

    all_x    address of a memory given by the caller, or of a scratch memory's first row
    fresh_x  of a begun memory, where rows are read that start afresh
    old_s    a carry's rows as the step found them      new_s    as it leaves them
    row_x    the row of `all_x` at hand
    was_s    the row at hand of `old_s`             will_s   the row at hand of `new_s`

Addresses count bytes; what is counted from an address counts numbers.
"""

from typing import NamedTuple

from bptt.backends.cpu.arrange import stored
from bptt.compiler.stages import Loop, Memory

OWN = ("carry", "scratch", "sum", "pile", "outer")


class Layout(NamedTuple):
    """A machine's vectors and the memories of a loop.

    Attributes:
        lanes: numbers in a vector.
        size: bytes of a number.
        memories: by name.
        stored: the names of those that stages store to.
    """

    lanes: int
    size: int
    memories: dict[str, Memory]
    stored: frozenset[str]

    def pitch(self, name: str) -> int:
        """Bytes from a row to the next: what the caller has, or whole vectors in own memories."""
        memory = self.memories[name]
        if memory.kind not in OWN:
            return memory.width * self.size
        return -(-memory.width // self.lanes) * self.lanes * self.size

    def read(self, name: str) -> tuple[str, str]:
        """What a stage reads: the name of the memory's address and of the row's."""
        if self.memories[name].kind == "carry":
            return f"old_{name}", f"was_{name}"
        return f"all_{name}", f"row_{name}"

    def write(self, name: str) -> tuple[str, str]:
        """What a stage stores to: the name of the memory's address and of the row's."""
        if self.memories[name].kind == "carry":
            return f"new_{name}", f"will_{name}"
        return f"all_{name}", f"row_{name}"

    @property
    def trails(self) -> bool:
        """Whether rows have places of their own at each step."""
        return any(memory.kind == "trail" for memory in self.memories.values())

    @property
    def begun(self) -> list[str]:
        """The names of memories of which rows that start afresh may be read elsewhere."""
        return [memory.name for memory in self.memories.values() if memory.kind == "begun"]

    def row(self, name: str) -> str:
        """Where row `r` begins, from the memory's address: the rest of a sum."""
        kind, pitch = self.memories[name].kind, self.pitch(name)
        places = {"step": "at", "begun": "at", "trail": "behind"}
        places["sequence"] = "integer(sequence, r)"
        index = places.get(kind, "r")
        return "" if kind == "weight" else f" + {index} * {pitch}"


def layout(loop: Loop, lanes: int, size: int) -> Layout:
    """The layout of a loop's memories."""
    memories = {memory.name: memory for memory in loop.memories}
    return Layout(lanes, size, memories, frozenset(stored(loop)))
