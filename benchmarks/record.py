"""What a benchmark leaves behind: its machine, a table, a JSON file, a place in the docs."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import bptt

ROOT = Path(__file__).parents[1]


def machine() -> dict[str, str | int]:
    """What the figures depend on: processor, threads, versions."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "bptt": bptt.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; every row has the same keys.

    >>> print(table([{"cell": "GRU", "ratio": "1.2"}]))
    | cell | ratio |
    |------|-------|
    | GRU  | 1.2   |
    """
    lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    cells = [[text.ljust(n) for text, n in zip(line, widths, strict=True)] for line in lines]
    head, *body = [f"| {' | '.join(line)} |" for line in cells]
    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([head, rule, *body])


def save(name: str, results: Mapping[str, Any]) -> Path:
    """Write the results and the machine to benchmarks/results/<name>.json."""
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), **results}, indent=2) + "\n")
    return path


def write(name: str, text: str, document: Path) -> None:
    """Put the text into a document, between the marks `<!-- name -->` and `<!-- end name -->`.

    Raises:
        ValueError: the document has no such marks.
    """
    before, after = around(name, document)
    document.write_text(f"{before}\n{text}\n{after}")


def around(name: str, document: Path) -> tuple[str, str]:
    """A document up to and with its first mark, and from its end mark on.

    Raises:
        ValueError: the document has no such marks.
    """
    start, end = f"<!-- {name} -->", f"<!-- end {name} -->"
    before, opened, rest = document.read_text().partition(start)
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        raise ValueError(f"{document} needs the marks {start} and {end}")
    return before + start, end + after


def in_words(facts: Mapping[str, str | int]) -> str:
    """The machine in a sentence."""
    return (
        f"{facts['processor']}, {facts['cores']} cores, {facts['threads']} thread(s), "
        f"{facts['system']}, Python {facts['python']}, torch {facts['torch']}."
    )
