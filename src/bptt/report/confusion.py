"""Which labels a classifier takes for which."""

from dataclasses import dataclass

from bptt.report.plot import csv_uri

SHOWN = 30  # labels in a table that can be read
LISTED = 3000  # counts in the file, which travels in the page
WORST = 20  # mistakes listed where there are more labels


@dataclass(frozen=True)
class Label:
    """One label's row: how often it was taken for each other.

    Attributes:
        name: the label.
        counts: how often each label was answered, in the labels' order.
        shares: the same as shares of this label's sequences.
        recall: share of its sequences that were answered right; None where it has none.
        precision: share of its answers that were right; None where it was never answered.
    """

    name: str
    counts: list[int]
    shares: list[float]
    recall: float | None
    precision: float | None


@dataclass(frozen=True)
class Confusion:
    """All labels, the most frequent mistakes as (truth, answer, count), and a file, so called."""

    labels: list[Label]
    mistakes: list[tuple[str, str, int]]
    table: str
    counts: str = "All counts"

    @property
    def readable(self) -> bool:
        """Whether the labels are few enough for a square table."""
        return len(self.labels) <= SHOWN


def read_confusion(labels: list[str], counts: list[list[int]]) -> Confusion:
    """Confusion of a classifier, rows the truth, columns the answers."""
    answered = [sum(column) for column in zip(*counts, strict=True)]
    cells = [
        (truth, answer, counts[i][j])
        for i, truth in enumerate(labels)
        for j, answer in enumerate(labels)
        if counts[i][j]
    ]
    mistakes = sorted((c for c in cells if c[0] != c[1]), key=lambda cell: -cell[2])
    kept = cells if len(cells) <= LISTED else sorted(cells, key=lambda cell: -cell[2])[:LISTED]
    return Confusion(
        [_label(name, i, counts[i], answered[i]) for i, name in enumerate(labels)],
        mistakes[:WORST],
        csv_uri(("truth", "answer", "count"), kept),
        _more(len(cells)),
    )


def _more(counts: int) -> str:
    return "All counts" if counts <= LISTED else f"The {LISTED:,} largest of {counts:,} counts"


def _label(name: str, i: int, row: list[int], answered: int) -> Label:
    total = sum(row)
    return Label(
        name=name,
        counts=row,
        shares=[n / total if total else 0.0 for n in row],
        recall=row[i] / total if total else None,
        precision=row[i] / answered if answered else None,
    )
