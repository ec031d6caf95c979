"""The whole source of a loop's kernel, and what its caller must know to run it."""

from collections.abc import Iterator
from typing import NamedTuple

from bptt.backends.cpu.arrange import arrange, products
from bptt.backends.cpu.buffers import Buffer, buffers
from bptt.backends.cpu.edges import edges, names, swap
from bptt.backends.cpu.fetching import fetch_function, fetched
from bptt.backends.cpu.layout import Layout, layout
from bptt.backends.cpu.lines import function, indent
from bptt.backends.cpu.slots import slots
from bptt.backends.cpu.stage import (
    PLACES,
    columns_function,
    products_call,
    products_function,
    row_calls,
    tiles,
)
from bptt.backends.cpu.tiles import tile
from bptt.backends.cpu.tiling import Tiling, tiling
from bptt.backends.cpu.weights import Packed, pack, packed
from bptt.compiler.stages import Loop, Stage

ENTRIES = ("pack", "run")


class Program(NamedTuple):
    """A loop's kernel before it is compiled.

    Attributes:
        source: of the functions `pack(block)` and `run(block)`.
        slots: the place of each argument in the block.
        buffers: what each share needs.
        weights: bytes of all packed weights.
        work: about how many vector operations a row costs at one step.
    """

    source: str
    slots: dict[str, int]
    buffers: list[Buffer]
    weights: int
    work: int


class _Parts(NamedTuple):
    stages: tuple[Stage, ...]
    tilings: list[Tiling | None]
    weights: list[list[Packed]]
    layout: Layout
    slots: dict[str, int]
    buffers: list[Buffer]


def program(loop: Loop, lanes: int, registers: int, size: int) -> Program:
    """The kernel of a loop for vectors of so many numbers of `size` bytes each."""
    parts = _parts(arrange(loop), lanes, registers, size)
    total = sum(part.size for found in parts.weights for part in found)
    return Program(_source(parts), parts.slots, parts.buffers, total, _work(parts))


def _parts(loop: Loop, lanes: int, registers: int, size: int) -> _Parts:
    place = layout(loop, lanes, size)
    cuts = [
        tiling(stage, lanes, registers, size) if products(stage) else None for stage in loop.stages
    ]
    weights, own = packed(cuts, place), buffers(cuts, place)
    return _Parts(loop.stages, cuts, weights, place, slots(loop), own)


def _work(parts: _Parts) -> int:
    """Multiply-adds of products, and a few operations for every other value."""
    vectors = [-(-stage.width // parts.layout.lanes) for stage in parts.stages]
    values = sum(n * len(stage.values) for n, stage in zip(vectors, parts.stages, strict=True))
    line = parts.layout.lanes * parts.layout.size
    return 8 * values + sum(part.size // line for found in parts.weights for part in found)


def _source(parts: _Parts) -> str:
    """Every function, in the order in which they call each other."""
    place = parts.layout
    shapes = {t: None for cut in parts.tilings if cut for t in tiles(cut)}
    lines = [line for shape in shapes for line in (*tile(shape, place.lanes), "", "")]
    for i, (stage, cut) in enumerate(zip(parts.stages, parts.tilings, strict=True)):
        lines += columns_function(f"stage_{i}", stage, cut, place)
        if fetched(stage, place):
            lines += fetch_function(f"stage_{i}", stage, place, cut.panels if cut else 1)
        if cut:
            lines += products_function(f"stage_{i}", stage, cut, parts.weights[i], place)
    packing = pack(parts.stages, parts.tilings, parts.weights, place, parts.slots)
    return "\n".join([packing, edges(place), *lines, *_step(parts), *_entries(parts)])


def _step_arguments(parts: _Parts) -> list[str]:
    """What a step is told: rows, places, own buffers and all memories."""
    found = ["rows", "turn", *PLACES, "packed"]
    found += [buffer.name for buffer in parts.buffers if buffer.name not in found]
    given = [m.name for m in parts.layout.memories.values() if m.kind in ("step", "sequence")]
    given += [m.name for m in parts.layout.memories.values() if m.kind == "weight"]
    return found + [f"all_{name}" for name in given]


def _step(parts: _Parts) -> list[str]:
    """The function that does all stages for the rows of one step."""
    lines: list[str] = []
    for i, (stage, cut) in enumerate(zip(parts.stages, parts.tilings, strict=True)):
        if cut:
            lines.append(products_call(f"stage_{i}", stage, cut, parts.layout))
            continue
        if i == 0 or parts.tilings[i - 1]:
            lines.append("for r in range(rows):")
        lines += indent(row_calls(f"stage_{i}", stage, parts.layout))
    return function("step", _step_arguments(parts), "all stages of one step", lines or ["pass"])


def _entries(parts: _Parts) -> list[str]:
    share = function("run", ["block"], "one share of the rows, from the first step to the last",
                     _run(parts))  # fmt: skip
    return [*function("pack", ["block"], "the weights alone", ["pack_all(block)"]), *share]


def _run(parts: _Parts) -> list[str]:
    place = parts.layout
    given = _fetch(parts)
    ends = ", ".join(["sequence", *names(place, "end"), *names(place, "old")])
    begins = ", ".join(["rows", "sequence", *names(place, "begin"), *names(place, "old")])
    masked = ["rows", "mask", "order", "shift", "sequence", *names(place, "fresh")]
    enter = ", ".join([*masked, *names(place, "old")])
    leave = ", ".join([*masked, *names(place, "new")])
    step = [
        "while rows > 0 and steps != 0 and integer(steps, rows - 1) <= p:",
        "    rows -= 1",
        f"    end(rows, rows + 1, {ends})",
        "if mask != 0 and late == 0:",
        f"    enter({enter})",
        f"step({', '.join(_step_arguments(parts))})",
        "if mask != 0 and late != 0:",
        f"    leave({leave})",
        *swap(place),
        "shift += stride",
        "turn = 1 - turn",
    ]
    return [
        *given,
        f"begin({begins})",
        "for p in range(longest):",
        *indent(step),
        f"end(0, rows, {ends})",
    ]


def _fetch(parts: _Parts) -> Iterator[str]:
    """Reads the block."""
    slot = parts.slots
    take = lambda name: f"integer(block, {slot[name]})"  # noqa: E731
    yield f"share = claim(block, {slot['claimed']})"
    yield f"if {take('pack')} != 0:"
    yield "    pack_all(block)"
    yield f"first = integer({take('shares')}, share)"
    yield f"rows = integer({take('shares')}, share + 1) - first"
    for name in ("order", "sequence"):
        yield f"{name} = {take(name)} + 8 * first"
    yield f"steps = {take('steps')}"
    yield f"longest = {take('longest')}"
    yield "if steps != 0:"
    yield "    steps += 8 * first"
    yield "    longest = integer(steps, 0) if rows > 0 else 0"
    for name, key in (("shift", "first"), ("stride", "stride"), ("mask", "mask"),
                      ("late", "leave"), ("packed", "packed"), ("height", "height")):  # fmt: skip
        yield f"{name} = {take(key)}"
    yield from _own(parts, take)
    yield from _memories(parts, take)


def _own(parts: _Parts, take) -> Iterator[str]:
    yield f"place = {take('scratch')} + share * {take('reach')}"
    for name, fixed, row in parts.buffers:
        yield f"{name} = place"
        yield f"place += {fixed} + height * {row}"
    yield "store(ones, 0, splat(1.0))"
    yield "turn = 0"


def _memories(parts: _Parts, take) -> Iterator[str]:
    for memory in parts.layout.memories.values():
        if memory.kind in ("step", "sequence", "weight"):
            yield f"all_{memory.name} = {take(memory.name)}"
        elif memory.kind == "carry":
            for part in ("begin", "end", "fresh"):
                yield f"{part}_{memory.name} = {take(f'{memory.name}.{part}')}"
