"""The argument block: what a kernel is told, as 64-bit integers at fixed places.

    claimed   shares taken so far                  order     of each row: its place at step 0 in a
    shares    first row of each share, and the end           step memory, b for rows as they come
    height    rows of the largest share            first     added to every place
    sequence  b of each row                        stride    places from one step to the next
    steps     of each row, or null: all the same   longest   steps of rows when `steps` is null
    pack      whether to pack the weights first    mask      (T, B) bytes, or null
    packed    where packed weights lie             leave     whether resets come after the stages
    scratch   where the shares' buffers begin      reach     bytes of a share's buffers
    team      what says how many threads share     met       how often one of them has arrived
              the columns; null: rows are shared             where all wait for each other
    rest      sleeps for so many microseconds      naps      how often one of them has slept
    trail     of each row: its place at step 0     pace      trail's places from one step to the
              in a trail memory, less `first`                next
    alone     who goes on alone, and from which
              meeting on; 0 while all do

Beside them, per memory: its address; of a matrix also its strides in numbers, `down` from k to
k + 1 and `across` from column to column; of a carry, in place of its address, `begin`, `end`,
`fresh`, `head`, where what it begins with is stored too, and `before`, a step memory where, with a
mask, it is stored before each step; of a begun memory also `fresh`, read in its place at resets; of
a sum `end` alone, of an outer memory where the totals of the shares lie, one (K, N) after the
other. All but `begin` and addresses are null where nothing is wanted.
"""

from bptt.compiler.stages import Loop

HEAD = (
    "claimed", "shares", "height", "order", "sequence", "steps", "first", "stride", "longest",
    "pack", "mask", "leave", "packed", "scratch", "reach", "team", "met", "rest", "naps",
    "trail", "pace", "alone",
)  # fmt: skip
PARTS = {
    "matrix": ("", ".down", ".across"),
    "begun": ("", ".fresh"),
    "carry": (".begin", ".end", ".fresh", ".head", ".before"),
    "scratch": (),
    "sum": (".end",),
    "pile": (),
}


def slots(loop: Loop) -> dict[str, int]:
    """The place of each argument by name."""
    names = list(HEAD)
    for memory in loop.memories:
        names += [memory.name + part for part in PARTS.get(memory.kind, ("",))]
    return {name: place for place, name in enumerate(names)}
