"""The source that brings near, one step ahead, what stages read and store at each step.

The processor foresees a long walk along a row, not the next of many short ones far apart. So while
the panels of a step's largest products are computed, which needs little from far away, a piece of
each row of the next step is asked for with each panel, from left to right.
"""

from bptt.backends.cpu.layout import Layout
from bptt.backends.cpu.lines import function, indent
from bptt.backends.cpu.scratch import LINE
from bptt.compiler.stages import Read, Stage

Ranges = dict[str, tuple[int, int]]
LONG = 2048  # bytes of a row's memories from which on the processor foresees enough


def fetched(stages: tuple[Stage, ...], layout: Layout) -> Ranges:
    """The step memories that stages use: from which column to which."""
    found: Ranges = {}
    for stage in stages:
        reads = [value for value in stage.values if isinstance(value, Read)]
        for name, begin, *_ in (*reads, *stage.stores):
            if layout.memories[name].kind in ("step", "begun"):
                low, high = found.get(name, (begin, begin))
                end = min(begin + stage.width, layout.memories[name].width)
                found[name] = min(low, begin), max(high, end)
    return found


def wanted(stages: tuple[Stage, ...], busiest: Stage, layout: Layout) -> Ranges:
    """What the stage with most weights asks for: what it takes panel by panel, and short rows."""
    ranges = fetched(stages, layout)
    if sum(high - low for low, high in ranges.values()) * layout.size <= LONG:
        return ranges
    return fetched((busiest,), layout)


def fetch_call(ranges: Ranges, first: str, last: str, piece: str) -> str:
    """The call for rows `first` to `last`."""
    addresses = [f"all_{name}" for name in ranges]
    return f"fetch_piece({', '.join([first, last, piece, 'order', 'shift', 'stride', *addresses])})"


def fetch_function(ranges: Ranges, pieces: int, layout: Layout) -> list[str]:
    """The function that asks for one of so many pieces of rows `first` to `last`."""
    line, lines = LINE // layout.size, []
    for name, (low, high) in ranges.items():
        wide = -(-(high - low) // (line * pieces)) * line
        lines.append(f"row_{name} = all_{name}{layout.row(name)}")
        lines.append(f"left = {low} + piece * {wide}")
        lines.append(f"for j in range(left, min(left + {wide}, {high}), {line}):")
        lines.append(f"    fetch(row_{name}, j)")
    lines = ["at = integer(order, r) + shift + stride", *lines]
    lines = ["for r in range(first, last):", *indent(lines)]
    given = ["first", "last", "piece", "order", "shift", "stride"]
    given += [f"all_{name}" for name in ranges]
    return function("fetch_piece", given, "asks for a piece of the next step's rows", lines)
