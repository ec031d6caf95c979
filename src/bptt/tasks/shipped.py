"""The small real data sets that come with the package."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bptt.tasks.files import SHIPPED
from bptt.tasks.options import DataOptions


@dataclass(frozen=True)
class Dataset:
    """A data set that ships with the package.

    Attributes:
        name: what the user types.
        task: "forecast", "classify" or "text".
        about: one line: what it is.
        size: how many rows, sequences or characters, in words.
        provenance: whose it is and under what terms, in one line.
        file: where it lies; PROVENANCE.toml beside it tells its source and making in full.
        options: which columns play which part.
    """

    name: str
    task: str
    about: str
    size: str
    provenance: str
    file: Path
    options: DataOptions


@cache
def _all() -> tuple[Dataset, ...]:
    facts = tomllib.loads((SHIPPED / "PROVENANCE.toml").read_text("utf-8"))
    return tuple(_dataset(name, fact) for name, fact in facts.items())


def _dataset(name: str, fact: dict[str, Any]) -> Dataset:
    options: dict[str, Any] = fact["options"]
    if "target" in options:
        options = {**options, "target": tuple(options["target"])}
    return Dataset(
        name=name,
        task=fact["task"],
        about=fact["about"],
        size=fact["size"],
        provenance=f"{fact['origin']}; {fact['licence']}",
        file=SHIPPED / fact["file"],
        options=DataOptions(**options),
    )


def datasets() -> list[Dataset]:
    """All shipped data sets, the default of each task before its others.

    >>> [d.name for d in datasets() if d.task == "forecast"]
    ['elnino', 'sunspots', 'co2']
    """
    return list(_all())
