"""Numbers, vectors and matrices as text, the way a blackboard has them."""

from collections.abc import Sequence
from textwrap import wrap

from torch import Tensor

SUBSCRIPTS = str.maketrans("0123456789ktT+-", "₀₁₂₃₄₅₆₇₈₉ₖₜᵀ₊₋")
EIGHTHS = " ▏▎▍▌▋▊▉█"
SHOWN_ROWS = 8


def sub(index: int | str) -> str:
    """An index set low.

    >>> "s" + sub(12), "s" + sub("k-1")
    ('s₁₂', 'sₖ₋₁')
    """
    return str(index).translate(SUBSCRIPTS)


def entries(values: Sequence[float], digits: int) -> list[str]:
    """Numbers of one array, written alike: as many decimals, or all in powers of ten.

    Zeros that all of them end in are dropped where nothing is lost by it; 0 is an exact zero.

    >>> entries([0.5, -1.0], 4), entries([0.123456, 2.0], 4), entries([1e-9, 0.0], 4)
    ([' 0.5', '-1.0'], ['0.1235', '2.0000'], ['1.00e-09', '       0'])
    """
    if needs_powers(values, digits):
        form = f".{max(1, digits - 2)}e"
    else:
        form = f".{_decimals(values, digits)}f"
    texts = [_signed(format(value, form)) if value else "0" for value in values]
    width = max(map(len, texts), default=0)
    return [text.rjust(width) for text in texts]


def needs_powers(values: Sequence[float], digits: int) -> bool:
    """Whether so many decimals would hide what the numbers are.

    >>> needs_powers([1e-9, 0.0], 4), needs_powers([0.5, 1e-9], 4)
    (True, False)
    """
    biggest = max(map(abs, values), default=0.0)
    return biggest > 0 and not 10.0 ** -max(1, digits - 1) <= biggest < 1e6


def _decimals(values: Sequence[float], digits: int) -> int:
    """As few decimals as write all the values exactly, and no more than `digits`."""
    exact = (n for n in range(digits) if all(abs(round(v, n) - v) < 1e-12 for v in values))
    return next(exact, digits)


def _signed(text: str) -> str:
    """The number as it is read: what rounds to 0 has no sign."""
    return text.removeprefix("-") if float(text) == 0 else text


def number(value: float, digits: int) -> str:
    """One number to so many significant digits.

    >>> number(0.0478123, 4), number(1.23456e-7, 2)
    ('0.04781', '1.2e-07')
    """
    return f"{value:.{digits}g}"


def vector(values: Tensor, digits: int, room: int = 30) -> str:
    """A row, its middle left out where it needs more columns than there is room for.

    >>> import torch
    >>> vector(torch.tensor([0.5, -1.0]), 4)
    '[ 0.5 -1.0]'
    """
    return f"[{_joined(entries(values.tolist(), digits), room)}]"


def matrix(values: Tensor, digits: int, room: int = 44) -> list[str]:
    """A matrix as lines of text, its middle left out where it is large.

    >>> import torch
    >>> print(*matrix(torch.tensor([[0.5, -1.0], [2.0, 0.25]]), 4), sep="\\n")
    ⎡ 0.50 -1.00⎤
    ⎣ 2.00  0.25⎦
    """
    flat = entries(values.flatten().tolist(), digits)
    columns = values.shape[1]
    rows = [flat[start : start + columns] for start in range(0, len(flat), columns)]
    lines = [_joined(row, room) for row in rows]
    lines = cut(lines, SHOWN_ROWS, "⋮".center(len(lines[0])))
    return [
        left + line + right
        for (left, right), line in zip(_brackets(len(lines)), lines, strict=True)
    ]


def _joined(row: list[str], room: int) -> str:
    return " ".join(cut(row, max(3, room // (len(row[0]) + 1)), "…"))


def _brackets(rows: int) -> list[tuple[str, str]]:
    if rows == 1:
        return [("[", "]")]
    return [("⎡", "⎤"), *[("⎢", "⎥")] * (rows - 2), ("⎣", "⎦")]


def cut(items: list[str], most: int, mark: str) -> list[str]:
    """At most `most` items, the last one among them, `mark` for those left out.

    >>> cut(list("abcdef"), 4, "…")
    ['a', 'b', '…', 'f']
    """
    return items if len(items) <= most else [*items[: most - 2], mark, items[-1]]


def bar(fraction: float, width: int) -> str:
    """A bar of so much of the width, to an eighth of a character.

    >>> bar(0.5, 4), bar(0.01, 4)
    ('██', '▏')
    """
    eighths = round(fraction * width * 8)
    eighths = max(eighths, 1) if fraction > 0 else eighths
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8]).rstrip()


def beside(*blocks: list[str], gap: int = 3) -> list[str]:
    """Blocks of lines side by side, their tops level.

    >>> print(*beside(["ab", "cd"], ["x"]), sep="\\n")
    ab   x
    cd
    """
    height = max(map(len, blocks))
    padded = [_fill(block, height) for block in blocks]
    return [(" " * gap).join(line).rstrip() for line in zip(*padded, strict=True)]


def _fill(block: list[str], height: int) -> list[str]:
    width = max(map(len, block), default=0)
    return [line.ljust(width) for line in block + [""] * (height - len(block))]


def flow(blocks: list[list[str]], width: int) -> list[str]:
    """Blocks side by side as far as they fit, the others beneath."""
    lines: list[str] = []
    row: list[list[str]] = []
    for block in blocks:
        if row and max(map(len, beside(*row, block))) > width:
            lines += [*beside(*row), ""]
            row = []
        row.append(block)
    return lines + beside(*row) if row else lines


def prose(text: str) -> list[str]:
    """Words as lines of text."""
    return wrap(text, 78)
