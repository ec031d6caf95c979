"""The source of what happens to carries between steps: beginnings, ends and resets."""

from collections.abc import Iterator, Sequence

from bptt.backends.cpu.layout import Layout
from bptt.backends.cpu.lines import function, indent
from bptt.compiler.stages import Memory

COPY = """\
def copy(target, source, count):
    # count numbers of a row
    rest = count % LANES
    for j in range(0, count - rest, LANES):
        store(target, j, load(source, j))
    if rest:
        store_part(target, count - rest, load_part(source, count - rest, rest), rest)


def hand_over(target, source, count):
    # adds count numbers of a row to target and leaves zeros behind
    rest = count % LANES
    for j in range(0, count - rest, LANES):
        store(target, j, add(load(target, j), load(source, j)))
        store(source, j, splat(0.0))
    if rest:
        j = count - rest
        v = add(load_part(target, j, rest), load_part(source, j, rest))
        store_part(target, j, v, rest)
        store_part(source, j, splat(0.0), rest)


def is_set(mask, i):
    # whether byte i of mask is not 0: it is looked up in the eight bytes that hold it
    place = mask + i
    return (integer(place - (place & 7), 0) >> (8 * (place & 7))) & 255 != 0


"""


def edges(layout: Layout) -> str:
    """The functions `begin`, `end`, `enter` and `leave`."""
    carries = _carries(layout)
    return COPY + "\n".join(
        [
            *_begin(carries, layout),
            *_end(carries, layout),
            *_enter(carries, layout),
            *_leave(carries, layout),
        ]
    )


def names(layout: Layout, prefix: str) -> list[str]:
    """Names of the carries' addresses with a prefix: `old`, `new`, or what the slots call it."""
    if prefix == "new":
        return [final(memory, layout) for memory in _carries(layout)]
    return [f"{prefix}_{memory.name}" for memory in _carries(layout)]


def _carries(layout: Layout) -> list[Memory]:
    return [memory for memory in layout.memories.values() if memory.kind == "carry"]


def final(memory: Memory, layout: Layout) -> str:
    """Where a carry lies at the end of a step."""
    return f"{'new' if memory.name in layout.stored else 'old'}_{memory.name}"


def sums(layout: Layout) -> list[Memory]:
    """What adds up over a row's steps."""
    return [memory for memory in layout.memories.values() if memory.kind == "sum"]


def _given(memory: Memory, prefix: str, layout: Layout) -> str:
    """The sequence's row in the caller's memory."""
    return f"{prefix}_{memory.name} + integer(sequence, r) * {memory.width * layout.size}"


def _begin(carries: list[Memory], layout: Layout) -> list[str]:
    lines = []
    for memory in carries:
        begin, width = _given(memory, "begin", layout), memory.width
        lines.append(f"copy(old_{memory.name} + r * {layout.pitch(memory.name)}, {begin}, {width})")
        lines.append(f"if head_{memory.name} != 0:")
        lines.append(f"    copy({_given(memory, 'head', layout)}, {begin}, {width})")
    for memory in sums(layout):
        place = f"all_{memory.name} + r * {layout.pitch(memory.name)}"
        lines.append(f"for j in range(0, {memory.width}, LANES):")
        lines.append(f"    store({place}, j, splat(0.0))")
    arguments = ["rows", "sequence", *names(layout, "begin"), *names(layout, "head")]
    arguments += names(layout, "old")
    arguments += [f"all_{memory.name}" for memory in sums(layout)]
    loop = ["for r in range(rows):", *indent(lines or ["pass"])]
    return function("begin", arguments, "what rows start from", loop)


def _end(carries: list[Memory], layout: Layout) -> list[str]:
    lines = []
    own = [(memory, "old") for memory in carries] + [(memory, "all") for memory in sums(layout)]
    for memory, prefix in own:
        source = f"{prefix}_{memory.name} + r * {layout.pitch(memory.name)}"
        lines.append(f"if end_{memory.name} != 0:")
        lines.append(f"    copy({_given(memory, 'end', layout)}, {source}, {memory.width})")
    arguments = ["first", "last", "sequence", *names(layout, "end"), *names(layout, "old")]
    arguments += [f"{part}_{m.name}" for m in sums(layout) for part in ("end", "all")]
    loop = ["for r in range(first, last):", *indent(lines or ["pass"])]
    return function("end", arguments, "what rows end with", loop)


def _enter(carries: list[Memory], layout: Layout) -> list[str]:
    lines = []
    for memory in carries:
        target = f"old_{memory.name} + r * {layout.pitch(memory.name)}"
        lines.append(f"if fresh_{memory.name} != 0:")
        lines.append(f"    copy({target}, {_given(memory, 'fresh', layout)}, {memory.width})")
    comment = "rows that start afresh before this step, and what all rows find"
    own = [*names(layout, "old"), *names(layout, "before")]
    return _where_set("enter", comment, lines, own, layout, _found(carries, layout))


def _found(carries: list[Memory], layout: Layout) -> list[str]:
    """What a row finds is stored for the way back, where it is not what the step before left."""
    lines = []
    for memory in carries:
        source = f"old_{memory.name} + r * {layout.pitch(memory.name)}"
        target = f"before_{memory.name} + at * {memory.width * layout.size}"
        lines.append(f"if before_{memory.name} != 0:")
        lines.append(f"    copy({target}, {source}, {memory.width})")
    return lines


def _leave(carries: list[Memory], layout: Layout) -> list[str]:
    lines = []
    for memory in carries:
        source = f"{final(memory, layout)} + r * {layout.pitch(memory.name)}"
        lines.append(f"if fresh_{memory.name} != 0:")
        lines.append(f"    hand_over({_given(memory, 'fresh', layout)}, {source}, {memory.width})")
    comment = "what arrives at a fresh start belongs to it, not to the step before"
    return _where_set("leave", comment, lines, names(layout, "new"), layout)


def _where_set(
    name: str,
    comment: str,
    lines: list[str],
    carries: list[str],
    layout: Layout,
    always: Sequence[str] = (),
) -> list[str]:
    arguments = ["rows", "mask", "order", "shift", "sequence", *names(layout, "fresh"), *carries]
    test = ["at = integer(order, r) + shift", "if is_set(mask, at):", *indent(lines or ["pass"])]
    each = ["for r in range(rows):", *indent([*test, *always])]
    return function(name, arguments, comment, each)


def swap(layout: Layout) -> Iterator[str]:
    """Lines that make what the step stored what the next one finds."""
    for memory in layout.memories.values():
        if memory.kind == "carry" and memory.name in layout.stored:
            old, new = f"old_{memory.name}", f"new_{memory.name}"
            yield f"{old}, {new} = {new}, {old}"
