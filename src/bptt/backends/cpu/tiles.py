"""The source of a tile: rows times vectors of `source @ weights`, its sums in registers.

Names in it: `a0_1_2` is the sum of row 0, vector 1, partial sum 2; `w1` a vector of weights, `x`
one number of a row's source in all lanes.
"""

from collections.abc import Iterator
from typing import NamedTuple

from bptt.backends.cpu.lines import indent


class Tile(NamedTuple):
    """The shape of a tile.

    Attributes:
        rows: of the source.
        vectors: of columns.
        partial: sums that one sum is made of.
    """

    rows: int
    vectors: int
    partial: int

    @property
    def name(self) -> str:
        """What its function is called."""
        return f"tile_{self.rows}x{self.vectors}x{self.partial}"

    def sums(self) -> list[tuple[int, int]]:
        """Row and vector of each sum."""
        return [(r, v) for r in range(self.rows) for v in range(self.vectors)]


def tile(shape: Tile, lanes: int) -> list[str]:
    """The function `tile(source, pitch, weights, count, sums, across)`.

    Rows of the source are `pitch` bytes apart; `weights` holds `count` times the tile's vectors;
    a row's sums are `across` bytes from the next row's.
    """
    rows, partial = shape.rows, shape.partial
    lines = [f"x{r} = source + {r} * pitch" for r in range(rows)]
    lines += [f"y{r} = sums + {r} * across" for r in range(rows)]
    lines += [f"a{r}_{v}_{s} = splat(0.0)" for r, v in shape.sums() for s in range(partial)]
    lines += ["k = 0", f"while k + {partial} <= count:"]
    for s in range(partial):
        lines += indent(_multiply(shape, lanes, s))
    lines += indent([f"k += {partial}"])
    for s in range(partial - 1):
        lines += [f"if k + {s} < count:", *indent(_multiply(shape, lanes, s))]
    lines += [f"store(y{r}, {v * lanes}, {_total(r, v, partial)})" for r, v in shape.sums()]
    return [f"def {shape.name}(source, pitch, weights, count, sums, across):", *indent(lines)]


def _multiply(shape: Tile, lanes: int, s: int) -> Iterator[str]:
    """Adds the products of `k + s` to the partial sums `s`."""
    for v in range(shape.vectors):
        yield f"w{v} = load(weights, (k + {s}) * {shape.vectors * lanes} + {v * lanes})"
    for r in range(shape.rows):
        yield f"x = spread(x{r}, k + {s})"
        for v in range(shape.vectors):
            yield f"a{r}_{v}_{s} = fma(x, w{v}, a{r}_{v}_{s})"


def _total(r: int, v: int, partial: int) -> str:
    """The sum of the partial sums, pair by pair."""
    terms = [f"a{r}_{v}_{s}" for s in range(partial)]
    while len(terms) > 1:
        terms = [f"add({a}, {b})" for a, b in zip(terms[::2], terms[1::2], strict=True)]
    return terms[0]
