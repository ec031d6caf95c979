"""The small real data sets that come with the package."""

from dataclasses import dataclass, field
from pathlib import Path

from bptt.tasks.options import DataOptions


@dataclass(frozen=True)
class Dataset:
    """A data set that ships with the package.

    Attributes:
        name: what the user types.
        task: "forecast", "classify" or "text".
        about: one line: what it is.
        size: how many rows, sequences or characters, in words.
        provenance: source and licence, in one line; PROVENANCE.md beside the file says all.
        file: where it lies.
        options: which columns play which part.
    """

    name: str
    task: str
    about: str
    size: str
    provenance: str
    file: Path
    options: DataOptions = field(default_factory=DataOptions)


def datasets() -> list[Dataset]:
    """All shipped data sets, the default of each task first."""
    raise NotImplementedError
