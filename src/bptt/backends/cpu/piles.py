"""The source of sums of products over rows: weights' gradients, added up while the rows are near.

Rows of some steps pile up until they are enough. Then each tile of a total passes over all of them
with its sums in registers, and adds these to what earlier piles have left.

Names in it: `a0_1` is the sum of row 0 of a tile, vector 1; `w1` a vector of the right pile's row,
`x` one number of the left one's in all lanes.
"""

from collections.abc import Iterator
from typing import NamedTuple

from bptt.backends.cpu.layout import Layout
from bptt.backends.cpu.lines import function, indent
from bptt.compiler.stages import Memory, Outer

PILE = 64  # rows from which on a pile is summed: adding to the totals costs little beside that


class Cut(NamedTuple):
    """How a total is cut into tiles.

    Attributes:
        panels: of columns.
        vectors: of a panel.
        wide: how many panels have so many; the others have one vector less.
        heights: by vectors, rows of the tiles, tallest first.
    """

    panels: int
    vectors: int
    wide: int
    heights: dict[int, list[int]]


def cut(total: Memory, lanes: int, registers: int) -> Cut:
    """The tiles of a total on a machine of so many registers of so many lanes."""
    across = -(-total.width // lanes)
    panels = -(-across // (4 if registers >= 32 else 3))
    vectors = -(-across // panels)
    wide = across - panels * (vectors - 1)
    widths = [vectors] if wide == panels else [vectors, vectors - 1]
    return Cut(panels, vectors, wide, {v: _heights(total.height, v, registers) for v in widths})


def _heights(count: int, vectors: int, registers: int) -> list[int]:
    """Of these heights, those that so many rows are cut into."""
    most, found = registers * 3 // 4 // vectors, []
    for height in (8, 6, 4, 2, 1):
        if height <= max(most, 1) and count >= height:
            found.append(height)
            count %= height
    return found


def functions(outers: tuple[Outer, ...], layout: Layout, registers: int) -> list[str]:
    """The functions `gather`, which adds a pile to every total, and `hand_totals`."""
    cuts = [cut(layout.memories[outer.total], layout.lanes, registers) for outer in outers]
    shapes = {
        (rows, v) for found in cuts for v, heights in found.heights.items() for rows in heights
    }
    lines = [line for shape in sorted(shapes) for line in _tile(*shape, layout.lanes)]
    body = [
        line
        for outer, found in zip(outers, cuts, strict=True)
        for line in _outer(outer, found, layout)
    ]
    return [
        *lines,
        *function("gather", gathered(outers), "adds what has piled up to the totals", body),
        *_edges(outers, layout),
    ]


def gathered(outers: tuple[Outer, ...]) -> list[str]:
    """What `gather` takes: how many rows there are, where piles begin, and totals."""
    names = [f"pile_{name}" for outer in outers for name in outer[:2]]
    return list(dict.fromkeys(["count", *names, *totals(outers)]))


def totals(outers: tuple[Outer, ...]) -> list[str]:
    """The names of the totals' addresses."""
    return [f"all_{outer.total}" for outer in outers]


def _tile(rows: int, vectors: int, lanes: int) -> list[str]:
    """The function that adds to so many rows and vectors of a total."""
    sums = [(r, v) for r in range(rows) for v in range(vectors)]
    body = [f"w{v} = load(right, {v * lanes})" for v in range(vectors)]
    for r in range(rows):
        body.append(f"x = spread(left, {r})")
        body += [f"a{r}_{v} = fma(x, w{v}, a{r}_{v})" for v in range(vectors)]
    lines = [f"a{r}_{v} = splat(0.0)" for r, v in sums]
    lines += ["for i in range(count):", *indent([*body, "left += down", "right += across"])]
    for r in range(rows):
        lines.append(f"row = total + {r} * pitch")
        places = (f"row, {v * lanes}" for v in range(vectors))
        lines += [f"store({p}, add(load({p}), a{r}_{v}))" for v, p in enumerate(places)]
    given = ["count", "left", "down", "right", "across", "total", "pitch"]
    return function(f"outer_{rows}x{vectors}", given, f"{rows} rows of a panel", lines)


def _outer(outer: Outer, found: Cut, layout: Layout) -> Iterator[str]:
    """Lines that add the pile to one total."""
    total, vector = layout.memories[outer.total], layout.lanes * layout.size
    yield f"for panel in range({found.panels}):"
    yield f"    begin = (panel * {found.vectors} - max(0, panel - {found.wide})) * {vector}"
    for vectors, heights in found.heights.items():
        test = f"panel < {found.wide}" if vectors == found.vectors else f"panel >= {found.wide}"
        yield f"    if {test}:"
        row = 0
        for rows in heights:
            end = row + (total.height - row) // rows * rows
            yield f"        for k in range({row}, {end}, {rows}):"
            yield f"            outer_{rows}x{vectors}({_given(outer, layout)})"
            row = end


def _given(outer: Outer, layout: Layout) -> str:
    left, right, total = outer
    down, across, pitch = (layout.pitch(name) for name in outer)
    return (
        f"count, pile_{left} + k * {layout.size}, {down}, pile_{right} + begin, {across}, "
        f"all_{total} + k * {pitch} + begin, {pitch}"
    )


def _edges(outers: tuple[Outer, ...], layout: Layout) -> list[str]:
    """The functions that make totals zero, and that hand them over."""
    clear, hand = list[str](), list[str]()
    for outer in outers:
        total, pitch = layout.memories[outer.total], layout.pitch(outer.total)
        own = f"all_{outer.total}"
        clear += [f"for j in range(0, {total.height * pitch // layout.size}, LANES):"]
        clear += [f"    store({own}, j, splat(0.0))"]
        wide = total.width * layout.size
        target = f"end_{outer.total} + share * {total.height * wide}"
        hand += [f"if end_{outer.total} != 0:", f"    for k in range({total.height}):"]
        hand += [f"        copy({target} + k * {wide}, {own} + k * {pitch}, {total.width})"]
    ends = [f"end_{outer.total}" for outer in outers]
    return [
        *function("clear_totals", totals(outers), "zeros to begin with", clear),
        *function("hand_totals", ["share", *ends, *totals(outers)], "to the caller", hand),
    ]


def begin(outers: tuple[Outer, ...]) -> list[str]:
    """Lines before the first step."""
    if not outers:
        return []
    own = [f"pile_{name} = all_{name}" for name in _piles(outers)]
    return [*own, "count = 0", f"clear_totals({', '.join(totals(outers))})"]


def pile_up(outers: tuple[Outer, ...], layout: Layout) -> list[str]:
    """Lines after each step: the next one's rows go behind this one's."""
    if not outers:
        return []
    piles = _piles(outers)
    return [
        "count += rows",
        *(f"all_{name} += rows * {layout.pitch(name)}" for name in piles),
        f"if count >= {PILE}:",
        f"    gather({', '.join(gathered(outers))})",
        "    count = 0",
        *(f"    all_{name} = pile_{name}" for name in piles),
    ]


def end(outers: tuple[Outer, ...]) -> list[str]:
    """Lines after the last step."""
    if not outers:
        return []
    ends = [f"end_{outer.total}" for outer in outers]
    return [
        f"gather({', '.join(gathered(outers))})",
        f"hand_totals({', '.join(['share', *ends, *totals(outers)])})",
    ]


def _piles(outers: tuple[Outer, ...]) -> list[str]:
    return list(dict.fromkeys(name for outer in outers for name in outer[:2]))
