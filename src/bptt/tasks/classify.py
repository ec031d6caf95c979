"""Classify: a label for each sequence, read after its last step."""

from pathlib import Path

import polars as pl

from bptt.tasks.task import Forward, Task


class Classify(Task):
    """Predict the class of a sequence."""

    name = "classify"

    def predict(self, forward: Forward, path: str | Path, batch_size: int = 256) -> pl.DataFrame:
        """The label of each sequence in a file, with the probability of each label.

        Returns one row per sequence: the group column, `label`, and `p[<label>]` for each label.
        """
        raise NotImplementedError
