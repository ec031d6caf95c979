"""Classify: a label for each sequence, read after its last step."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.nn import functional

from bptt.tasks.chance import sign_flip_test
from bptt.tasks.columns import find_time
from bptt.tasks.encoding import warn_of_unseen
from bptt.tasks.labelled import (
    ClassLearnt,
    LabelledData,
    learn_classes,
    read_any,
    read_to_train,
)
from bptt.tasks.missing import IN_WORDS
from bptt.tasks.options import DataOptions
from bptt.tasks.scores import class_metrics, confusion
from bptt.tasks.sequences import SequenceBatches, assign_parts, read_sequences
from bptt.tasks.task import PARTS, Batch, Evaluation, Forward, NetworkShape, Part, Task


class Classify(Task[ClassLearnt, LabelledData]):
    """Predict the class of a sequence."""

    name = "classify"

    @classmethod
    def open(cls, path: str | Path, options: DataOptions, seed: int = 0) -> Self:
        """Read a long table or an archive, split its sequences and learn from those to train on.

        Raises:
            DataError: the file cannot be trained on as it is.
        """
        table, columns = read_to_train(Path(path), options)
        missing = options.missing or "error"
        sequences = read_sequences(table, columns, missing)
        parts = assign_parts(sequences, seed, table.source)
        learnt = learn_classes(sequences, parts, columns, missing, table.source)
        return cls(learnt, LabelledData.read(sequences, parts, learnt, table.source))

    def load(self, path: str | Path) -> Self:
        """This task over new labelled sequences, all of them its "test" part.

        Raises:
            DataError: columns are missing, or a label that did not occur in training.
        """
        return self._bind(path, labelled=True)

    def _bind(self, path: str | Path, *, labelled: bool) -> Self:
        table = read_any(Path(path))
        columns = replace(self.learnt.columns, split=None)
        wanted = [columns.group, *columns.numeric, *columns.words]
        wanted += [columns.label] if labelled else []
        wanted += [columns.time] if columns.time else []
        for name in wanted:
            table.need(name, "which the model was trained with")
        find_time(table, columns.time)
        sequences = read_sequences(table, columns, self.learnt.missing, labelled=labelled)
        warn_of_unseen(sequences.frame, columns.words, self.learnt.codes, table.source)
        parts = np.full(len(sequences), "test")
        return type(self)(
            self.learnt, LabelledData.read(sequences, parts, self.learnt, table.source)
        )

    @property
    def shape(self) -> NetworkShape:
        """Inputs: all columns but group, label, time and split. Outputs: one for each class."""
        return NetworkShape(
            numeric=len(self.learnt.columns.numeric),
            categories=tuple(code.size for code in self.learnt.codes),
            outputs=len(self.learnt.classes),
            read="last step",
        )

    def batches(self, part: Part, batch_size: int) -> SequenceBatches:
        """Whole sequences, padded; in a new order each epoch (train) or in the file's."""
        members = np.flatnonzero(self.data.parts == part)
        return SequenceBatches(self.data, members, batch_size, shuffle=part == "train")

    def loss(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, int]:
        """Summed cross-entropy (nats) and the number of sequences."""
        return functional.cross_entropy(outputs, batch.targets, reduction="sum"), len(batch.targets)

    def evaluate(self, forward: Forward, part: Part, batch_size: int) -> Evaluation:
        """Accuracy and macro-F1, beside those of always the commonest class in training."""
        classes = len(self.learnt.classes)
        scores, truth = self._scores(forward, part, batch_size)
        answers, common = scores.argmax(1), torch.full_like(truth, self.learnt.common)
        table, naive = (confusion(truth, said, classes) for said in (answers, common))
        gains = (answers == truth).double() - (common == truth).double()
        return Evaluation(
            part=part,
            headline="accuracy",
            lower_is_better=False,
            metrics=class_metrics(table),
            baselines={"majority class": class_metrics(naive)},
            details={"labels": list(self.learnt.classes), "confusion": table.tolist()},
            chance=sign_flip_test(gains.numpy()),
        )

    def _scores(self, forward: Forward, part: Part, batch_size: int) -> tuple[Tensor, Tensor]:
        """(M, K) outputs for the sequences of a part, in the file's order, and (M,) their codes."""
        batches, found = self.batches(part, batch_size), []
        for chosen in batches.in_order():
            batch = batches.take(chosen)
            with torch.no_grad():
                outputs, _ = forward(batch, None)
            found.append((outputs.detach().cpu().double(), batch.targets))
        scores, truth = (torch.cat(column) for column in zip(*found, strict=True))
        return scores, truth

    def predict(self, forward: Forward, path: str | Path, batch_size: int = 256) -> pl.DataFrame:
        """The label of each sequence in a file, with the probability of each label.

        Returns:
            One row per sequence: the group column, `label`, and `p[<label>]` for each label.

        Raises:
            DataError: columns are missing; a label column is not needed.
        """
        bound = self._bind(path, labelled=False)
        scores, _ = bound._scores(forward, "test", batch_size)
        shares = scores.softmax(1).numpy()
        classes = self.learnt.classes
        return pl.DataFrame(
            {
                self.learnt.columns.group: bound.data.sequences.names,
                "label": [classes[i] for i in shares.argmax(1)],
                **{f"p[{name}]": shares[:, i] for i, name in enumerate(classes)},
            }
        )

    def summary(self) -> dict[str, Any]:
        """What the data are, how they were split, and what was learnt from the training part."""
        data, learnt = self.data, self.learnt
        lengths = np.diff(data.sequences.bounds)
        labels = data.sequences.labels.value_counts(sort=True)
        return {
            "task": self.name,
            "data": data.source,
            "sequences": len(data.sequences),
            "rows": int(lengths.sum()),
            "lengths": {"shortest": int(lengths.min()), "longest": int(lengths.max())},
            "columns": {what: names for what, names in asdict(learnt.columns).items() if names},
            "classes": dict(labels.iter_rows()),
            "split": {part: int((data.parts == part).sum()) for part in PARTS},
            "missing_values": IN_WORDS[learnt.missing],
            "normalisation": learnt.normalisation(),
        }

    @classmethod
    def restore(cls, description: dict[str, Any]) -> Self:
        """The task of a trained model, without data."""
        return cls(ClassLearnt.restore(description))
