"""The whole source of a loop's kernel, and what its caller must know to run it."""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from bptt.backends.cpu import piles
from bptt.backends.cpu.arrange import arrange, products
from bptt.backends.cpu.bounds import check
from bptt.backends.cpu.buffers import Buffer, buffers
from bptt.backends.cpu.edges import edges, names, sums, swap
from bptt.backends.cpu.fetching import fetch_function, wanted
from bptt.backends.cpu.layout import Layout, layout
from bptt.backends.cpu.lines import function, indent
from bptt.backends.cpu.meeting import meeting, part
from bptt.backends.cpu.packing import pack
from bptt.backends.cpu.slots import slots
from bptt.backends.cpu.stage import Work, calls, functions, places, tiles
from bptt.backends.cpu.tiles import tile
from bptt.backends.cpu.tiling import tiling
from bptt.backends.cpu.weights import packed
from bptt.compiler.stages import Loop, Memory, Outer

ENTRIES = ("pack", "run")
ROWS = ("step", "begun", "trail", "sequence")  # memories of the caller that have rows
TOGETHER = 768 << 10  # bytes of weights from which on threads may share the columns of a few rows


class Program(NamedTuple):
    """A loop's kernel before it is compiled.

    Attributes:
        source: of the functions `pack(block)` and `run(block)`.
        slots: the place of each argument in the block.
        buffers: what each share needs.
        weights: bytes of all packed weights.
        effort: about how many vector operations a row costs at one step.
        together: whether threads may share the columns of a step.
        outers: the slot and the K, N of each total of products over rows.
    """

    source: str
    slots: dict[str, int]
    buffers: list[Buffer]
    weights: int
    effort: int
    together: bool
    outers: list[tuple[int, int, int]]


class _Parts(NamedTuple):
    works: list[Work]
    layout: Layout
    slots: dict[str, int]
    buffers: list[Buffer]
    together: bool
    outers: tuple[Outer, ...]
    registers: int


def program(loop: Loop, lanes: int, registers: int, size: int) -> Program:
    """The kernel of a loop for vectors of so many numbers of `size` bytes each.

    Raises:
        ValueError: if a stage goes beyond its memories.
    """
    check(loop)
    loop = arrange(loop)
    place = layout(loop, lanes, size)
    works = _works(loop, place, registers)
    weights = sum(part.size for work in works for part in work.parts)
    own = buffers([work.cut for work in works], place)
    together = weights >= TOGETHER and not loop.outers
    parts = _Parts(works, place, slots(loop), own, together, loop.outers, registers)
    totals = [place.memories[outer.total] for outer in loop.outers]
    effort = weights // (lanes * size) + 8 * sum(_operations(work) for work in works)
    effort += sum(total.height * -(-total.width // lanes) for total in totals)
    shapes = [(parts.slots[total.name], total.height, total.width) for total in totals]
    return Program(_source(parts), parts.slots, own, weights, effort, together, shapes)


def _works(loop: Loop, place: Layout, registers: int) -> list[Work]:
    """The stages, of which the one with most weights asks for the next step's rows."""
    cuts = [
        tiling(stage, place.lanes, registers, place.size) if products(stage) else None
        for stage in loop.stages
    ]
    weights = packed(cuts, place)
    sizes = [sum(part.size for part in found) for found in weights]
    busiest = sizes.index(max(sizes)) if sizes else 0
    fetch = wanted(loop.stages, loop.stages[busiest], place) if sizes else {}
    return [
        Work(f"stage_{i}", *work, fetch if i == busiest else {}, place)
        for i, work in enumerate(zip(loop.stages, cuts, weights, strict=True))
    ]


def _operations(work: Work) -> int:
    """Vector operations on values, each once."""
    return -(-work.stage.width // work.layout.lanes) * len(work.stage.values)


def _source(parts: _Parts) -> str:
    """Every function, in the order in which they call each other."""
    lines: list[str] = []
    for shape in dict.fromkeys(t for work in parts.works if work.cut for t in tiles(work.cut)):
        lines += [*tile(shape, parts.layout.lanes), "", ""]
    for work in parts.works:
        if work.fetch:
            pieces = work.cut.panels if work.cut else 1
            lines += fetch_function(work.fetch, pieces, parts.layout)
    for work in parts.works:
        lines += functions(work)
    if parts.outers:
        lines += piles.functions(parts.outers, parts.layout, parts.registers)
    packing = pack(parts.works, parts.slots)
    waiting = meeting(parts.slots) if parts.together else ""
    steps = [*_step(parts), *_entries(parts)]
    return "\n".join([packing, edges(parts.layout), waiting, *lines, *steps])


def _step_arguments(parts: _Parts) -> list[str]:
    """What a step is told: rows, places, own buffers and all memories."""
    given = [m.name for m in parts.layout.memories.values() if m.kind in ROWS]
    given += [m.name for m in parts.layout.memories.values() if m.kind == "weight"]
    unused = piles.totals(parts.outers)
    own = [buffer.name for buffer in parts.buffers if buffer.name not in unused]
    found = ["block", "member", "members", "met"] if parts.together else []
    found += [
        "rows",
        "turn",
        *_ranges(parts),
        "stride",
        *places(parts.layout),
        "packed",
        *own,
        *(f"all_{name}" for name in given),
        *(f"fresh_{name}" for name in parts.layout.begun),
    ]
    return list(dict.fromkeys(found))


def _ranges(parts: _Parts) -> list[str]:
    """The names of a member's part of each stage's panels."""
    cut = [work.name for work in parts.works if work.cut]
    return [f"{name}_{end}" for name in cut for end in ("low", "high")]


def _step(parts: _Parts) -> list[str]:
    """The function that does all stages for the rows of one step."""
    lines: list[str] = []
    groups = _groups(parts.works)
    for number, group in enumerate(groups):
        if group[0].cut:
            lines += calls(group[0])
        else:
            by_row = [line for work in group for line in calls(work)]
            lines += _first(parts, ["for r in range(rows):", *indent(by_row)])
        lines += _meet(parts, f"met + {number + 1} * members")
    return function("step", _step_arguments(parts), "all stages of one step", lines or ["pass"])


def _groups(works: list[Work]) -> list[list[Work]]:
    """Stages with products one by one, others together with their neighbours."""
    groups: list[list[Work]] = []
    for work in works:
        if groups and not work.cut and not groups[-1][0].cut:
            groups[-1].append(work)
        else:
            groups.append([work])
    return groups


def _entries(parts: _Parts) -> list[str]:
    share = "one share of the rows, from the first step to the last"
    return [
        *function("pack", ["block"], "the weights alone", ["pack_all(block, 0, 1)"]),
        *function("run", ["block"], share, _run(parts)),
    ]


def _run(parts: _Parts) -> list[str]:
    place = parts.layout
    totals = [f"{part}_{memory.name}" for memory in sums(place) for part in ("end", "all")]
    ends = ", ".join(["sequence", *names(place, "end"), *names(place, "old"), *totals])
    begun = [*names(place, "begin"), *names(place, "head"), *names(place, "old"), *totals[1::2]]
    begins = ", ".join(["rows", "sequence", *begun])
    masked = ["rows", "mask", "order", "shift", "sequence", *names(place, "fresh")]
    entered = [*masked, *names(place, "old"), *names(place, "before")]
    step = [
        "while rows > 0 and steps != 0 and integer(steps, rows - 1) <= p:",
        "    rows -= 1",
        *indent(_first(parts, [f"end(rows, rows + 1, {ends})"])),
        "if mask != 0 and late == 0:",
        *indent(_first_and_meet(parts, f"enter({', '.join(entered)})")),
        f"step({', '.join(_step_arguments(parts))})",
        *_part(parts),
        "if mask != 0 and late != 0:",
        *indent(_first_and_meet(parts, f"leave({', '.join([*masked, *names(place, 'new')])})")),
        *swap(place),
        *piles.pile_up(parts.outers, place),
        "shift += stride",
        *(["trailed += pace"] if place.trails else []),
        "turn = 1 - turn",
    ]
    return [
        *_fetch(parts),
        "flush(control, 0)",
        *piles.begin(parts.outers),
        *_first_and_meet(parts, f"begin({begins})"),
        "for p in range(longest):",
        *indent(step),
        *_first(parts, [f"end(0, rows, {ends})"]),
        *piles.end(parts.outers),
        "restore(control, 0)",
    ]


def _first(parts: _Parts, lines: list[str]) -> list[str]:
    """What one member does for all."""
    return ["if member == 0:", *indent(lines)] if parts.together else lines


def _meet(parts: _Parts, goal: str) -> list[str]:
    """Waits for the other members of a team, where there may be any."""
    lines = ["if members > 1:", f"    meet(block, {goal}, member, members)"]
    return lines if parts.together else []


def _part(parts: _Parts) -> list[str]:
    """When all have met: from here on one may go on alone."""
    if not parts.together:
        return []
    panels = {work.name: work.cut.panels for work in parts.works if work.cut}
    return [f"met += {len(_groups(parts.works))} * members", *part(parts.slots, panels)]


def _first_and_meet(parts: _Parts, call: str) -> list[str]:
    """What one member does for all, before they go on."""
    if not parts.together:
        return [call]
    return [*_first(parts, [call]), "met += members", *_meet(parts, "met")]


def _fetch(parts: _Parts) -> Iterator[str]:
    """Reads the block."""
    take = functools.partial(_take, parts)
    yield from _fetch_share(parts, take)
    yield f"begins = integer({take('shares')}, share)"
    yield f"rows = integer({take('shares')}, share + 1) - begins"
    yield f"order = {take('order')} + 8 * begins"
    yield f"sequence = {take('sequence')} + 8 * begins"
    yield f"steps = {take('steps')}"
    yield f"longest = {take('longest')}"
    yield "if steps != 0:"
    yield "    steps += 8 * begins"
    yield "    longest = integer(steps, 0) if rows > 0 else 0"
    yield f"shift, stride = {take('first')}, {take('stride')}"
    if parts.layout.trails:
        yield f"trail = {take('trail')} + 8 * begins"
        yield f"trailed, pace = shift, {take('pace')}"
    yield f"mask, late = {take('mask')}, {take('leave')}"
    yield f"packed, height = {take('packed')}, {take('height')}"
    yield f"place = {take('scratch')} + share * {take('reach')}"
    yield f"apart = member * {take('reach')}"
    for name, fixed, row in parts.buffers:
        yield f"{name} = place" if row else f"{name} = place + apart"
        yield f"place += {fixed} + height * {row}"
    for memory in parts.layout.memories.values():
        yield from _fetch_memory(memory, take)
    yield "store(ones, 0, splat(1.0))"
    yield "turn = 0"


def _take(parts: _Parts, name: str) -> str:
    return f"integer(block, {parts.slots[name]})"


def _fetch_share(parts: _Parts, take: Callable[[str], str]) -> Iterator[str]:
    """Whose rows these are, and which panels of a team's."""
    yield f"share = claim(block, {parts.slots['claimed']})"
    yield "member, members = 0, 1"
    if parts.together:
        yield "met = 0"
        yield f"if {take('team')} != 0:"
        yield f"    member, members, share = share, ask({take('team')}), 0"
    for work in parts.works:
        if work.cut:
            yield f"{work.name}_low = member * {work.cut.panels} // members"
            yield f"{work.name}_high = (member + 1) * {work.cut.panels} // members"
    yield f"if {take('pack')} != 0:"
    yield "    pack_all(block, member, members)"


def _fetch_memory(memory: Memory, take: Callable[[str], str]) -> Iterator[str]:
    """Where a memory lies, by its kind."""
    if memory.kind in (*ROWS, "weight"):
        yield f"all_{memory.name} = {take(memory.name)}"
        if memory.kind == "begun":
            yield f"fresh_{memory.name} = {take(f'{memory.name}.fresh')}"
    elif memory.kind == "carry":
        for part in ("begin", "end", "fresh", "head", "before"):
            yield f"{part}_{memory.name} = {take(f'{memory.name}.{part}')}"
    elif memory.kind == "sum":
        yield f"end_{memory.name} = {take(f'{memory.name}.end')}"
    elif memory.kind == "outer":
        yield f"end_{memory.name} = {take(memory.name)}"
