"""The source that brings near, one step ahead, what a stage reads and stores at each step.

The processor foresees a walk along a row, not the next of many rows far apart. So while a panel of
columns is computed, a piece of each of its rows at the next step is asked for, from left to right.
"""

from bptt.backends.cpu.layout import Layout
from bptt.backends.cpu.lines import function, indent
from bptt.backends.cpu.scratch import LINE
from bptt.compiler.stages import Read, Stage

ARGUMENTS = ["first", "last", "piece", "stride", "order", "shift"]


def fetched(stage: Stage, layout: Layout) -> dict[str, tuple[int, int]]:
    """The step memories that a stage uses: from which column to which."""
    places = [(v.memory, v.offset, 1 if v.spread else stage.width)
              for v in stage.values if isinstance(v, Read)]  # fmt: skip
    places += [(store.memory, store.offset, stage.width) for store in stage.stores]
    found: dict[str, tuple[int, int]] = {}
    for name, begin, width in places:
        if layout.memories[name].kind == "step":
            low, high = found.get(name, (begin, begin + width))
            found[name] = min(low, begin), max(high, begin + width)
    return found


def fetch_call(name: str, stage: Stage, layout: Layout, first: str, last: str, piece: str) -> str:
    """The call for rows `first` to `last`."""
    given = [first, last, piece, *ARGUMENTS[3:], *_addresses(stage, layout)]
    return f"{name}_fetch({', '.join(given)})"


def fetch_function(name: str, stage: Stage, layout: Layout, pieces: int) -> list[str]:
    """The function that asks for one of so many pieces of rows `first` to `last`."""
    lines = []
    for memory, (low, high) in fetched(stage, layout).items():
        line = LINE // layout.size
        wide = -(-(high - low) // (line * pieces)) * line
        row = f"all_{memory} + at * {layout.pitch(memory)}"
        lines.append(f"row_{memory} = {row}")
        lines.append(f"left = {low} + piece * {wide}")
        lines.append(f"for j in range(left, min(left + {wide}, {high}), {line}):")
        lines.append(f"    fetch(row_{memory}, j)")
    lines = ["at = integer(order, r) + shift + stride", *lines]
    lines = ["for r in range(first, last):", *indent(lines)]
    given = [*ARGUMENTS, *_addresses(stage, layout)]
    return function(f"{name}_fetch", given, "asks for a piece of the next step's rows", lines)


def _addresses(stage: Stage, layout: Layout) -> list[str]:
    return [f"all_{name}" for name in fetched(stage, layout)]
