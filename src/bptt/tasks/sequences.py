"""Labelled sequences of unequal length: laid end to end, split, padded into batches."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from bptt.errors import DataError
from bptt.tasks.batches import ItemBatches
from bptt.tasks.columns import check_order, to_numbers, to_words
from bptt.tasks.missing import check_present, settle_missing
from bptt.tasks.options import Missing
from bptt.tasks.table import ROW, Table
from bptt.tasks.task import PARTS, Batch

SHARES = {"validation": 0.15, "test": 0.15}  # of each class


@dataclass(frozen=True)
class SequenceColumns:
    """Which columns of a long table are for what."""

    group: str
    label: str
    time: str | None
    numeric: tuple[str, ...]
    words: tuple[str, ...]
    split: str | None


@dataclass(frozen=True)
class Sequences:
    """M sequences laid end to end, N steps in all.

    Attributes:
        names: (M,) what the group column calls them.
        bounds: (M + 1,) the first step of each, and N.
        labels: (M,) in words; null where the table has no label column.
        parts: (M,) "train", "validation" or "test"; null where the split is not given.
        frame: all columns, N rows.
    """

    names: pl.Series
    bounds: NDArray[np.int64]
    labels: pl.Series
    parts: pl.Series
    frame: pl.DataFrame

    def __len__(self) -> int:
        return len(self.names)


def read_sequences(
    table: Table, columns: SequenceColumns, missing: Missing, *, labelled: bool = True
) -> Sequences:
    """Read the sequences of a long table.

    Raises:
        DataError: cells that are no numbers, missing values, times out of order, or a label or a
            part that changes within a sequence.
    """
    group = columns.group
    whole = [columns.label] if labelled else []
    whole += [columns.split] if columns.split else []
    check_present(table, [group, *whole, *([columns.time] if columns.time else [])])
    table = to_numbers(table, columns.numeric, "column")
    table = to_words(table, [group, *whole, *columns.words])
    for name in whole:
        _check_constant(table, group, name)
    check_order(table, group, columns.time)
    table = settle_missing(table, columns.numeric, columns.words, group, missing)
    frames = table.frame.partition_by(group, maintain_order=True)
    heads = pl.concat(frame.head(1) for frame in frames)
    nothing = pl.Series([None] * len(frames), dtype=pl.String)
    return Sequences(
        names=heads[group],
        bounds=np.cumsum([0, *map(len, frames)]),
        labels=heads[columns.label] if labelled else nothing,
        parts=heads[columns.split] if columns.split else nothing,
        frame=pl.concat(frames),
    )


def _check_constant(table: Table, group: str, name: str) -> None:
    first = table.frame.with_columns(pl.col(name).first().over(group).alias("\x00first"))
    changed = first.filter(pl.col(name) != pl.col("\x00first"))
    if changed.is_empty():
        return
    row = changed.row(0, named=True)
    begins, which = row["\x00first"], row[group]
    raise DataError(
        f"{table.source}: {name} must be the same in all rows of a sequence; {group} {which!r} "
        f"begins with {begins!r} and has {row[name]!r} in {table.unit} {row[ROW]}. Mend the rows, "
        f"or name the column that tells the sequences apart with --group."
    )


def classes_of(labels: pl.Series, source: str) -> tuple[str, ...]:
    """The class labels in training, in the order of their numbers where they all are numbers.

    Raises:
        DataError: there is one only.
    """
    classes = labels.unique().to_list()
    if len(classes) < 2:
        raise DataError(
            f"{source}: two classes at least are needed to tell them apart; all {len(labels)} "
            f"sequences to train on are labelled {classes[0]!r}. Check --label."
        )
    return tuple(sorted(classes, key=_by_number))


def _by_number(label: str) -> tuple[float, str]:
    try:
        return float(label), label
    except ValueError:
        return float("inf"), label


def assign_parts(sequences: Sequences, seed: int, source: str) -> NDArray[np.str_]:
    """(M,) the part of each sequence: as given, and what is not given cut from train by class.

    Raises:
        DataError: a part that is no part, none to train on, or a class too small to be cut.
    """
    parts = sequences.parts.fill_null("train").to_numpy().astype("U10")
    _check_parts(sequences, parts, source)
    wanting = {part: share for part, share in SHARES.items() if part not in parts}
    if not wanting:
        return parts
    training = np.flatnonzero(parts == "train")
    labels = sequences.labels.gather(training)
    counts = dict(labels.value_counts().iter_rows())
    need = 1 + len(wanting)
    small = [label for label in sorted(counts) if counts[label] < need]
    if small:
        count = "a single sequence" if counts[small[0]] == 1 else f"{counts[small[0]]} sequences"
        raise DataError(
            f"{source}: class {small[0]!r} has {count} to train on; {need} are needed, for train "
            f"and {' and '.join(wanting)} each take one at least. Add some, or leave the class out."
        )
    parts[training] = _split_by_class(labels.to_numpy(), seed, wanting)
    return parts


def _check_parts(sequences: Sequences, parts: NDArray[np.str_], source: str) -> None:
    strange = np.flatnonzero(~np.isin(parts, PARTS))
    if strange.size:
        raise DataError(
            f"{source}: --split must hold {', '.join(PARTS)}; sequence "
            f"{sequences.names[int(strange[0])]!r} has {str(parts[strange[0]])!r}."
        )
    if "train" not in parts:
        raise DataError(f"{source}: --split marks no sequence as train; some must be.")


def _split_by_class(
    labels: NDArray[np.object_], seed: int, wanting: dict[str, float]
) -> NDArray[np.str_]:
    """(M,) parts such that each class gives each part its share and one sequence at least."""
    parts = np.full(len(labels), "train", "U10")
    rng = np.random.default_rng(seed)
    for label in sorted(set(labels)):
        members = rng.permutation(np.flatnonzero(labels == label))
        start = 0
        for part, share in wanting.items():
            count = max(1, round(share * len(members)))
            parts[members[start : start + count]] = part
            start += count
    return parts


class Padded(Protocol):
    """What SequenceBatches reads: N steps of M sequences, end to end."""

    @property
    def sequences(self) -> Sequences:
        """The sequences."""

    @property
    def numeric(self) -> Tensor:
        """(N, F)."""

    @property
    def categorical(self) -> Tensor:
        """(N, C)."""

    @property
    def labels(self) -> Tensor:
        """(M,)."""


class SequenceBatches(ItemBatches):
    """Batches of whole sequences, padded with zeros to the longest of the batch."""

    def __init__(
        self, data: Padded, members: NDArray[np.int64], batch_size: int, *, shuffle: bool
    ) -> None:
        super().__init__(len(members), batch_size, shuffle=shuffle)
        self.data = data
        self.members = members

    def take(self, chosen: NDArray[np.int64]) -> Batch:
        """Targets (B,) class codes."""
        data, bounds, members = self.data, self.data.sequences.bounds, self.members[chosen]
        first, lengths = bounds[members], np.diff(bounds)[members]
        index = np.arange(lengths.max())[:, None]  # (T, 1)
        live = torch.from_numpy(index < lengths)[..., None]
        rows = torch.from_numpy(first + np.minimum(index, lengths - 1))
        return Batch(
            numeric=torch.where(live, data.numeric[rows], 0.0),
            categorical=torch.where(live, data.categorical[rows], 0),
            targets=data.labels[members],
            lengths=torch.from_numpy(lengths),
        )
