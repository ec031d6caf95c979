"""How the user tells what is what in their data: one flat set of options, each None until given."""

from dataclasses import dataclass, fields, replace
from typing import Literal, Self

Missing = Literal["error", "drop", "fill"]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which columns play which part, and how the data are cut. None: the task's or data set's own.

    Attributes:
        target: columns to forecast; None: the only numeric column.
        group: column that tells the series (forecast) or the sequences (classify) apart.
        time: column of dates, datetimes or numbers that orders the rows; None: the only date
            column, else the order of the file.
        label: column with the class of a sequence; it makes a table a classify task.
        covariates: further input columns; None: all others; (): none.
        split: column that holds train, validation or test for each sequence (classify); None: a
            stratified split by the seed, or the archive's own TRAIN and TEST files.
        horizon: steps to forecast ahead; None: 1.
        window: rows of history that a forecast sees, or characters in a window of text;
            None: 64, and less where a forecast's series are short.
        season: period, in rows, of the seasonal naive baseline; None: found from the data.
        missing: what to do with empty, NaN or infinite values: "error" names the first (the
            default), "drop" leaves out their rows, "fill" carries the last value forward.
    """

    target: tuple[str, ...] | None = None
    group: str | None = None
    time: str | None = None
    label: str | None = None
    covariates: tuple[str, ...] | None = None
    split: str | None = None
    horizon: int | None = None
    window: int | None = None
    season: int | None = None
    missing: Missing | None = None

    def over(self, defaults: Self) -> Self:
        """These options where given, `defaults` elsewhere."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(defaults, **{name: v for name, v in given.items() if v is not None})
