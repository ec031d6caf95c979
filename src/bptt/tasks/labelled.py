"""What classify reads from a file and learns from its training sequences."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from bptt.errors import DataError
from bptt.tasks.archive import LABEL, SEQUENCE, pair_of, read_archive
from bptt.tasks.baselines import majority
from bptt.tasks.columns import check_apart, find_time, inputs_of, named
from bptt.tasks.encoding import Codes, Scale, encode, numbers
from bptt.tasks.options import DataOptions, Missing
from bptt.tasks.sequences import SequenceColumns, Sequences, classes_of
from bptt.tasks.table import Table, read_table

SPLIT = "split"  # the column that says TRAIN or TEST where an archive's two files are one table


@dataclass(frozen=True)
class ClassLearnt:
    """All that classify learns from its training sequences."""

    columns: SequenceColumns
    classes: tuple[str, ...]
    common: int
    missing: Missing
    scale: Scale
    codes: tuple[Codes, ...]

    def describe(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "columns": asdict(self.columns),
            "classes": list(self.classes),
            "common": self.common,
            "missing": self.missing,
            "scale": self.scale.describe(),
            "codes": [list(code.words) for code in self.codes],
        }

    def normalisation(self) -> dict[str, dict[str, float]]:
        """Mean and deviation learnt of each number, for people to read."""
        names, scale = self.columns.numeric, self.scale
        pairs = zip(names, scale.mean.tolist(), scale.deviation.tolist(), strict=True)
        return {name: {"mean": m, "deviation": d} for name, m, d in pairs}

    @classmethod
    def restore(cls, description: dict[str, Any]) -> Self:
        """What `describe` gave."""
        columns = description["columns"]
        lists = {name: tuple(columns[name]) for name in ("numeric", "words")}
        return cls(
            columns=SequenceColumns(**columns | lists),
            classes=tuple(description["classes"]),
            common=description["common"],
            missing=description["missing"],
            scale=Scale.restore(description["scale"]),
            codes=tuple(Codes(tuple(words)) for words in description["codes"]),
        )


def choose_columns(table: Table, options: DataOptions) -> SequenceColumns:
    """Which columns of a long table classify reads.

    Raises:
        DataError: a column that is not there, or options that leave out --group or --label.
    """
    for name, what in (("group", "tells the sequences apart"), ("label", "holds the class")):
        if getattr(options, name) is None:
            have = ", ".join(map(repr, table.columns[:20]))
            raise DataError(
                f"{table.source}: name the column that {what} with --{name}; a row is one step of "
                f"one sequence. It has {have}."
            )
    group = table.need(str(options.group), "--group")
    label = table.need(str(options.label), "--label")
    split = table.need(options.split, "--split") if options.split else None
    time = find_time(table, options.time)
    check_apart({"group": group, "label": label, "split": split, "time": time})
    others = [name for name in table.columns if name not in (group, label, split, time)]
    if options.covariates is not None:
        others = named(table, options.covariates, "--covariates")
    numeric, words = inputs_of(table, others)
    if not others:
        raise DataError(f"{table.source} has no column left to read besides {group} and {label}.")
    return SequenceColumns(group, label, time, tuple(numeric), tuple(words), split)


def read_any(path: Path) -> Table:
    """A long table from a table or from one archive file."""
    return read_archive(path) if path.suffix.lower() == ".ts" else read_table(path)


def read_to_train(path: Path, options: DataOptions) -> tuple[Table, SequenceColumns]:
    """The table and its columns; an archive's TRAIN and TEST files are one table with a split."""
    if path.suffix.lower() != ".ts":
        table = read_table(path)
        return table, choose_columns(table, options)
    idle = [name for name in options.given() if name != "missing"]
    if idle:
        raise DataError(f"{path}: a .ts file has no columns to name; leave out --{idle[0]}.")
    pair = pair_of(path)
    if pair is None:
        table, split = read_archive(path), None
    else:
        table, split = _joined(*pair), SPLIT
    dimensions = tuple(n for n in table.columns if n.startswith("dimension_"))
    return table, SequenceColumns(SEQUENCE, LABEL, None, dimensions, (), split)


def _joined(train: Path, test: Path) -> Table:
    """Both files of an archive as one table, with a column that says which."""
    one, two = read_archive(train), read_archive(test)
    if one.columns != two.columns:
        raise DataError(
            f"{train} has {len(one.columns) - 2} dimensions and {test} has "
            f"{len(two.columns) - 2}; they must have the same."
        )
    frames = [
        t.frame.with_columns(pl.lit(part).alias(SPLIT))
        for t, part in ((one, "train"), (two, "test"))
    ]
    return one.with_frame(pl.concat(frames))


def learn_classes(
    sequences: Sequences,
    parts: NDArray[np.str_],
    columns: SequenceColumns,
    missing: Missing,
    source: str,
) -> ClassLearnt:
    """Learn classes, scales and codes from the training sequences, and from no others."""
    training = parts == "train"
    labels = sequences.labels.filter(training)
    classes = classes_of(labels, source)
    past = sequences.frame.filter(np.repeat(training, np.diff(sequences.bounds)))
    return ClassLearnt(
        columns=columns,
        classes=classes,
        common=majority(_codes(labels, classes, source), len(classes)),
        missing=missing,
        scale=Scale.learn(numbers(past, columns.numeric)),
        codes=tuple(Codes.learn(past[name]) for name in columns.words),
    )


def _codes(labels: pl.Series, classes: tuple[str, ...], source: str) -> NDArray[np.int64]:
    """(M,) the place of each label among the classes."""
    strange = set(labels) - set(classes)
    if strange:
        raise DataError(
            f"{source}: label {min(strange)!r} does not occur among the sequences to train on, "
            f"which have {', '.join(classes)}."
        )
    return Codes(classes).apply(labels) - 1


@dataclass(frozen=True)
class LabelledData:
    """Sequences as a network reads them, and the part of each.

    Attributes:
        sequences: M of them, N steps in all.
        parts: (M,).
        numeric: (N, F) float32.
        categorical: (N, C) codes.
        labels: (M,) class codes; -1 where there is no label.
        source: the file's name.
    """

    sequences: Sequences
    parts: NDArray[np.str_]
    numeric: Tensor
    categorical: Tensor
    labels: Tensor
    source: str

    @classmethod
    def read(
        cls, sequences: Sequences, parts: NDArray[np.str_], learnt: ClassLearnt, source: str
    ) -> Self:
        """What a network reads of sequences, by what was learnt."""
        frame, columns = sequences.frame, learnt.columns
        labelled = not sequences.labels.has_nulls()
        labels = (
            _codes(sequences.labels, learnt.classes, source)
            if labelled
            else np.full(len(sequences), -1)
        )
        return cls(
            sequences,
            parts,
            torch.from_numpy(learnt.scale.apply(numbers(frame, columns.numeric))).float(),
            torch.from_numpy(encode(frame, columns.words, learnt.codes)),
            torch.from_numpy(labels),
            source,
        )
