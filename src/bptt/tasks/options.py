"""How the user tells what is what in their data: one flat set of options, each None until given."""

from dataclasses import dataclass, fields, replace
from typing import Literal, Self, get_args

from bptt.errors import DataError

Missing = Literal["error", "drop", "fill"]

USED_BY = {
    "forecast": [
        "target", "group", "time", "covariates", "known", "calendar", "horizon", "window", "season",
        "missing",
    ],
    "classify": ["group", "time", "label", "covariates", "split", "missing"],
    "text": ["window"],
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which columns play which part, and how the data are cut.

    None stands for what is not given: a shipped data set has its own, else the task decides. On the
    command line these words are the help.

    Attributes:
        target: columns to forecast, with commas between; without it, the only numeric column.
        group: column that tells the series (forecast) or the sequences (classify) apart.
        time: column of dates, datetimes or numbers that orders the rows; without it, the only
            date column, else the order of the file.
        label: column with the class of a sequence; it makes a table a classify task.
        covariates: further input columns, with commas between; "none" for none; without it, all
            others. The group column among them lets the network tell the series apart.
        known: columns of numbers, with commas between, whose values are known ahead, such as
            holidays, prices or planned promotions: a forecast reads them at the rows that it
            forecasts.
        calendar: read the time of day, the weekday and the time of year off the time column.
        split: column that holds train, validation or test for each sequence (classify); without it,
            the archive's own TRAIN and TEST files, else a stratified split by the seed.
        horizon: steps to forecast ahead; without it, a shipped data set's own, else 1.
        window: rows of history that a forecast sees, or characters in a window of text; without it,
            64, and less where a forecast's series are short.
        season: period, in rows, of the seasonal naive baseline; without it, found from the data.
        missing: what to do with empty, NaN or infinite values: "error" names the first (the
            default), "drop" leaves out their rows, "fill" carries the last value forward.

    Raises:
        DataError: a count that is not positive, or a word that is not one of those above.

    >>> DataOptions(horizon=12).over(DataOptions(target=("co2",), horizon=1)).horizon
    12
    """

    target: tuple[str, ...] | None = None
    group: str | None = None
    time: str | None = None
    label: str | None = None
    covariates: tuple[str, ...] | None = None
    known: tuple[str, ...] | None = None
    calendar: bool | None = None
    split: str | None = None
    horizon: int | None = None
    window: int | None = None
    season: int | None = None
    missing: Missing | None = None

    def __post_init__(self) -> None:
        for name in ("horizon", "window", "season"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise DataError(f"--{name} must be 1 or more; got {value}.")
        if self.missing is not None and self.missing not in get_args(Missing):
            words = ", ".join(get_args(Missing))
            raise DataError(f"--missing must be one of {words}; got {self.missing!r}.")

    def given(self) -> dict[str, object]:
        """The options that are not None, by name."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def over(self, defaults: Self) -> Self:
        """These options where given, `defaults` elsewhere."""
        return replace(defaults, **self.given())

    def check_used(self, task: str) -> None:
        """Refuse options that mean nothing to a task, which would otherwise be lost in silence."""
        idle = [name for name in self.given() if name not in USED_BY[task]]
        if idle:
            takes = ", ".join(f"--{name}" for name in USED_BY[task])
            why = " (--label makes it one)" if self.label is not None else ""
            raise DataError(
                f"--{idle[0]} means nothing to a {task} task{why}, which takes {takes}."
            )
