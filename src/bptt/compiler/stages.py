"""The loop column as a kernel runs it: stages over the columns of a row.

A *row* is one sequence at one step; its values are numbers side by side, *columns*. Everything that
a step does in its loop column is a list of stages, run one after the other for all rows of a step.
A stage computes, for each column j of its width, a few expressions from what memory holds in that
row, and stores some of them. Only two things look at other columns: a `Product`, which is a sum
over a range of the row, and a `Reduction`, which makes one number of a row's columns. Slices,
chunks and concatenations are gone: they have become offsets.

    Elman, forward:  width H:  v0 = Product(s, Ws)    v1 = Read(p)    v2 = v0 + v1    v3 = tanh(v2)
                               store v3 in s (for the next step) and in states

Memory is of eleven kinds:

    step      (T, B, width)  one row per time and sequence
    begun     the same, only read; rows that start afresh may be read elsewhere, one per sequence:
              of states before each step, where resets are not stored among them
    trail     (T, R, width)  one row per time and running row, where rows share a sequence
    sequence  (B, width)     one row per sequence, only read
    weight    (width,)       the same for all rows, only read
    matrix    (K, N)         a product's weight, only read
    carry     one row per running sequence. Reads give what it held when the step began; what a
              stage stores counts from the next step on
    scratch   one row per running sequence, within a step: stages read what earlier ones stored
    sum       one row per running sequence, zeros when its run begins: what a stage adds to it at
              each step, read and stored in one place, is handed over at the end
    pile      like scratch, but rows of earlier steps stay until an `Outer` has taken them
    outer     (K, N)         what an `Outer` adds to, zeros at first, handed over at the end

Numbers have the loop's one floating dtype. The result of a comparison is a mask, which lives in
registers only; stored, it is 0 or 1.
"""

from typing import NamedTuple

KINDS = (
    "step", "begun", "trail", "sequence", "weight", "matrix", "carry", "scratch", "sum", "pile",
    "outer",
)  # fmt: skip


class Memory(NamedTuple):
    """A named place for rows of numbers.

    Attributes:
        name: an identifier.
        kind: one of `KINDS`.
        width: columns of a row; the N of a matrix or an outer memory.
        height: their K, else 1.
    """

    name: str
    kind: str
    width: int
    height: int = 1


class Read(NamedTuple):
    """`memory[row, offset + j]`; with `spread`, `memory[row, offset]` for all columns j."""

    memory: str
    offset: int = 0
    spread: bool = False


class Number(NamedTuple):
    """The same number everywhere."""

    value: float


class Call(NamedTuple):
    """An operation of `OPERATIONS` on values of the same stage, named by their index."""

    operation: str
    operands: tuple[int, ...]


class Product(NamedTuple):
    """`sum over k < count of memory[row, offset + k] * matrix[k, column + j]`.

    `memory` is a step, begun, trail, carry or scratch memory that this stage does not store to.
    """

    memory: str
    offset: int
    count: int
    matrix: str
    column: int = 0


Value = Read | Number | Call | Product


class Store(NamedTuple):
    """`memory[row, offset + j] = value`."""

    memory: str
    offset: int
    value: int


class Reduction(NamedTuple):
    """`memory[row, offset] = sum (or largest) over j of value`, in a scratch memory."""

    memory: str
    offset: int
    value: int
    operation: str = "sum"  # or "max"


class Stage(NamedTuple):
    """What is done for each of `width` columns."""

    width: int
    values: tuple[Value, ...]
    stores: tuple[Store, ...]
    reductions: tuple[Reduction, ...] = ()


class Outer(NamedTuple):
    """`total[k, n] += sum over all rows and steps of left[row, k] * right[row, n]`.

    `left` and `right` are piles whose widths are the outer memory's K and N.
    """

    left: str
    right: str
    total: str


class Loop(NamedTuple):
    """A loop column.

    Attributes:
        memories: everything that the stages read or write.
        stages: in the order in which they run, at each step.
        outers: sums of products over all rows and steps.
    """

    memories: tuple[Memory, ...]
    stages: tuple[Stage, ...]
    outers: tuple[Outer, ...] = ()


# What a Call may do, with the number of its operands; names and meaning are torch's, NaN included.
OPERATIONS = {
    **dict.fromkeys(
        ("neg", "abs", "sign", "reciprocal", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p",
         "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh",
         "acosh", "atanh", "tanh", "sigmoid", "erf", "erfc", "floor", "ceil", "round", "trunc",
         "isnan", "isinf", "logical_not"), 1),
    **dict.fromkeys(
        ("add", "sub", "mul", "div", "maximum", "minimum", "pow", "atan2", "fmod", "remainder",
         "lt", "le", "gt", "ge", "eq", "ne", "logical_and", "logical_or", "logical_xor"), 2),
    "where": 3,
}  # fmt: skip
MASKS = frozenset(
    ("lt", "le", "gt", "ge", "eq", "ne", "isnan", "isinf",
     "logical_and", "logical_or", "logical_xor", "logical_not")
)  # fmt: skip
