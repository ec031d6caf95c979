"""The source of a kernel that weighs combinations of rows: norms of R d, which it never stores.

At each of L steps, d has C rows for each of M copies, and R, which all copies share, has parts
whose norms are taken apart. A tile of R d stays in registers until it is squared and added up.

Names in it: `a1_2` is the sum of row 1 of a tile, vector 2; `w2` a vector of d, `x` one number of R
in all lanes.
"""

from collections.abc import Iterator

from bptt.backends.cpu.lines import function, indent

HEIGHTS = (4, 1)  # rows of a tile, tallest first
RANGE = {"float32": 1e37, "float64": 1e290}  # d is brought near 1 by what lies within it
SMALL = {"float32": 1e-18, "float64": 1e-145}  # below, before products that might vanish are taken
# What the kernel is told, as 64-bit integers in this order:
#   claimed, shares: steps and shares of the work that have been taken so far
#   steps, batch, copies, count, width: L, sequences, M, rows of d for each sequence, its columns
#   d, factors, height: where d (L, batch, M, count, width) lies, and R (L, height, C)
#   parts, ends: how many there are; a list of where each ends and whether it is triangular
#   first, last: lists of the copy at each step from which on, and up to which, d is there
#   squares, units: where the squares (L, M, parts) go, and what d was divided by (L, M)
#   totals: where sums of d over copies (L, C, width) are added; null if nowhere
#   scratch, reach: where the shares' own memory lies, and bytes of each
SLOTS = (
    "claimed", "shares", "steps", "batch", "copies", "count", "width", "d", "factors", "height",
    "parts", "ends", "first", "last", "squares", "units", "totals", "scratch", "reach",
)  # fmt: skip
HEAD = 64  # bytes of a share's memory before its rows


def source(registers: int, dtype: str) -> str:
    """The function `weigh(block)` for a machine of so many registers."""
    wide = 4 if registers >= 32 else 2
    lines: list[str] = []
    for vectors in (wide, 1):
        for rows in HEIGHTS:
            lines += _tile(rows, vectors)
        lines += _panel(vectors)
    edges = _EDGES.format(least=1 / RANGE[dtype], most=RANGE[dtype])
    return "\n".join([*lines, edges, *_copy(wide, SMALL[dtype]), *_entry()])


def _tile(rows: int, vectors: int) -> list[str]:
    """The function that gives the squares of some rows of R d, lane by lane."""
    sums = [(r, v) for r in range(rows) for v in range(vectors)]
    lines = [f"f{r} = factors + {r} * columns * SIZE" for r in range(rows)]
    lines += [f"a{r}_{v} = splat(0.0)" for r, v in sums]
    lines += ["for c in range(begin, columns):", *indent(_multiply(rows, vectors))]
    lines += ["s0, s1 = splat(0.0), splat(0.0)"]
    for i, (r, v) in enumerate(sums):
        lines += [f"x = mul(a{r}_{v}, inverse)", f"s{i % 2} = fma(x, x, s{i % 2})"]
    arguments = ["rows", "pitch", "factors", "columns", "begin", "inverse"]
    comment = f"squares of {rows} rows of R d, {vectors} vectors of columns"
    return function(f"tile_{rows}x{vectors}", arguments, comment, [*lines, "return add(s0, s1)"])


def _multiply(rows: int, vectors: int) -> Iterator[str]:
    """Adds the products with row `c` of d."""
    for v in range(vectors):
        yield f"w{v} = load(rows + c * pitch, {v} * LANES)"
    for r in range(rows):
        yield f"x = spread(f{r}, c)"
        for v in range(vectors):
            yield f"a{r}_{v} = fma(x, w{v}, a{r}_{v})"


def _panel(vectors: int) -> list[str]:
    """The function that adds the squares of a panel of columns to those of every part."""
    lines = ["start, stop, skips = i, integer(ends, 2 * p), integer(ends, 2 * p + 1)"]
    lines += ["sum = load(sums, p * LANES)"]
    for rows in HEIGHTS:
        begin = "skips * (i - start)"
        given = f"rows, pitch, factors + i * columns * SIZE, columns, {begin}, inverse"
        lines += [
            f"while i + {rows} <= stop:",
            f"    sum = add(sum, tile_{rows}x{vectors}({given}))",
            f"    i += {rows}",
        ]
    lines += ["store(sums, p * LANES, sum)"]
    arguments = ["rows", "pitch", "factors", "columns", "parts", "ends", "inverse", "sums"]
    lines = ["i = 0", "for p in range(parts):", *indent(lines)]
    return function(f"panel_{vectors}", arguments, "some columns, for all parts", lines)


_EDGES = """\
def gather(target, total, pitch, source, width):
    # brings a row together, adds it to the total, and gives its largest numbers, lane by lane
    top, rest = splat(0.0), width % LANES
    for j in range(0, width - rest, LANES):
        v = load(source, j)
        top = maximum(top, abs(v))
        store(target, j, v)
        store(total, j, add(load(total, j), v))
    if rest:
        j = width - rest
        v = load_part(source, j, rest)
        top = maximum(top, abs(v))
        store(target, j, v)
        store(total, j, add(load(total, j), v))
    return top


def multiply(target, count, by):
    # so many vectors, in place
    for j in range(count):
        store(target, j * LANES, mul(load(target, j * LANES), by))


def clear(target, count):
    # zeros in place of so many vectors
    for j in range(count):
        store(target, j * LANES, splat(0.0))


def hand(target, source, pitch, columns, width):
    # adds rows that begin `pitch` bytes apart to rows that lie side by side
    rest = width % LANES
    for c in range(columns):
        for j in range(0, width - rest, LANES):
            store(target, j, add(load(target, j), load(source, j)))
        if rest:
            j = width - rest
            store_part(target, j, add(load_part(target, j, rest), load_part(source, j, rest)), rest)
        target += width * SIZE
        source += pitch


def near_one(top):
    # the largest number in all lanes, or what is nearest to it that can be divided by
    return minimum(maximum(splat(largest(top)), splat({least})), splat({most}))


"""


def _copy(wide: int, small: float) -> list[str]:
    """The function that weighs one copy."""
    panel = "rows + left, pitch, factors, batch * count, parts, ends, inverse, sums"
    lines = [
        "top, at = splat(0.0), 0",
        "for b in range(batch):",
        "    for c in range(count):",
        "        row = d + (b * copies * count + c) * width * SIZE",
        "        top = maximum(top, gather(rows + at, total + at, pitch, row, width))",
        "        at += pitch",
        "unit = near_one(top)",
        "put(units, 0, largest(unit))",
        "inverse, left = reciprocal(unit), 0",
        f"if largest(unit) < {small}:",
        "    multiply(rows, at // SIZE // LANES, inverse)",
        "    inverse = splat(1.0)",
        "clear(sums, parts)",
        f"while left + {wide} * LANES * SIZE <= pitch:",
        f"    panel_{wide}({panel})",
        f"    left += {wide} * LANES * SIZE",
        "while left < pitch:",
        f"    panel_1({panel})",
        "    left += LANES * SIZE",
        "for p in range(parts):",
        "    put(squares, p, total(load(sums, p * LANES)))",
    ]
    arguments = ["d", "batch", "copies", "count", "width", "pitch", "rows", "total", "factors"]
    arguments += ["parts", "ends", "squares", "units", "sums"]
    return function("copy", arguments, "one copy at one step", lines)


def _entry() -> list[str]:
    """The function that does one step after the other, as many as are left."""
    claimed, shares, *_ = range(len(SLOTS))
    lines = [
        *(f"{name} = integer(block, {place})" for place, name in enumerate(SLOTS) if place > 1),
        "columns, across = batch * count, count * width",
        "pitch = (width + LANES - 1) // LANES * LANES * SIZE",
        f"scratch += claim(block, {shares}) * reach",
        f"rows = scratch + {HEAD}",
        "total = rows + columns * pitch",
        "sums = total + columns * pitch",
        "flush(scratch, 0)",
        f"l = claim(block, {claimed})",
        "while l < steps:",
        *indent(_STEP.splitlines()),
        f"    l = claim(block, {claimed})",
        "restore(scratch, 0)",
    ]
    return function("weigh", ["block"], "one share of the steps", lines)


_STEP = """\
clear(total, columns * pitch // SIZE // LANES)
own = factors + l * height * columns * SIZE
for m in range(integer(first, l), integer(last, l)):
    at = l * copies + m
    here = d + (l * batch * copies + m) * across * SIZE
    found, unit = squares + at * parts * SIZE, units + at * SIZE
    copy(here, batch, copies, count, width, pitch, rows, total, own, parts, ends, found, unit, sums)
if totals != 0:
    hand(totals + l * columns * width * SIZE, total, pitch, columns, width)"""
