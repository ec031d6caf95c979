"""gradient.csv: how an error shrinks with each step back, as a watched run wrote it down."""

import csv
from pathlib import Path

from bptt.folder.damage import damaged, read_text

Looks = dict[int, dict[str, float]]  # by training step, by cell


def read_rates(path: Path) -> Looks:
    """By training step and cell, the factor by which an error shrank with each step back.

    Empty where the run was not watched. Raises `RunError` where the file is damaged.
    """
    if not path.exists():
        return {}
    # A last line without its end is one that the run was writing: it is left out.
    lines = read_text(path).rpartition("\n")[0].splitlines()
    looks: Looks = {}
    for place, cells in enumerate(csv.reader(lines[1:]), start=2):
        try:
            step, quantity, cell, value = cells
            if quantity == "decay rate":
                looks.setdefault(int(step), {})[cell] = float(value)
        except ValueError as error:
            what = f"line {place}: expected step, quantity, of, value, found {','.join(cells)!r}"
            raise damaged(path, what) from error
    return looks
