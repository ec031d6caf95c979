"""Quantities laid out over time: a column for each step, as in the unfolded network."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from bptt.picture.notation import SHOWN_ROWS, entries, needs_powers


class Row(NamedTuple):
    """A quantity: its name, its values (n, width) and the step of the first of them."""

    label: str
    values: Tensor
    first: int = 1


def over_time(index: str, rows: Sequence[Row], digits: int, width: int) -> list[str]:
    """The quantities as lines of text, in as many tables as the width needs.

    Args:
        index: what counts the steps, in the head of the table.
        rows: the quantities; all end at the same step.
        digits: decimals.
        width: columns there are.
    """
    lines = [line for row in rows for line in _lines(row, digits)]
    label_width = max(len(label) for label, _ in lines) + 1
    steps = range(min(row.first for row in rows), rows[0].first + len(rows[0].values))
    column = max(max(map(len, cells.values())) for _, cells in lines) + 2
    room = max(1, (width - label_width) // column)
    tables = [steps[start : start + room] for start in range(0, len(steps), room)]
    head = (index, {step: str(step) for step in steps})
    text = [_table([head, *lines], table, label_width, column) for table in tables]
    return "\n\n".join("\n".join(table) for table in text).split("\n")


def _lines(row: Row, digits: int) -> list[tuple[str, dict[int, str]]]:
    """One line for each component: its label and its text at each step."""
    columns = dict(enumerate(_columns(row.values, digits), row.first))
    height = row.values.shape[1]
    lines = [("", {k: column[c] for k, column in columns.items()}) for c in range(height)]
    if height > SHOWN_ROWS:
        middle = ("", dict.fromkeys(columns, "⋮"))
        lines = [*lines[: SHOWN_ROWS - 2], middle, lines[-1]]
    return [(row.label, lines[0][1]), *lines[1:]]


def _columns(values: Tensor, digits: int) -> list[list[str]]:
    """The text of each step: alike for all steps but those too small for it."""
    steps = values.tolist()
    alike = [v for step in steps if not needs_powers(step, digits) for v in step]
    texts = iter(entries(alike, digits))
    return [
        entries(step, digits) if needs_powers(step, digits) else [next(texts) for _ in step]
        for step in steps
    ]


def _table(
    lines: list[tuple[str, dict[int, str]]], steps: Sequence[int], label_width: int, column: int
) -> list[str]:
    return [
        (label.ljust(label_width) + "".join(cells.get(k, "").rjust(column) for k in steps)).rstrip()
        for label, cells in lines
    ]
