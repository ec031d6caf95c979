"""The results as text: a summary for README, everything for the page on performance."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import record
from race import summary
from race.jobs import Shape

Table = Callable[[Sequence[Mapping[str, Any]]], str]
Result = Mapping[str, Any]


def plain(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows in columns, for a screen.

    >>> print(plain([{"cell": "GRU", "ms": "1.2"}]))
    cell  ms
    GRU   1.2
    """
    lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(t.ljust(n) for t, n in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def brief(found: Result, table: Table) -> str:
    """The ratios alone, and the machine."""
    return "\n\n".join([*_ratios(found, table), _measured(found)])


def full(found: Result, table: Table) -> str:
    """Ratios, remarks, all times, and what else was measured."""
    parts = _ratios(found, table)
    if "rows" in found:
        parts += [_listed(summary.remarks(found["rows"], found["peak"]["FMA"]))]
        parts += ["Milliseconds:", table(_even([summary.line(row) for row in found["rows"]]))]
    for name, (title, line) in OTHERS.items():
        if found.get(name):
            parts += [title, table(_even([line(each) for each in found[name]]))]
    return "\n\n".join([*filter(None, parts), _measured(found)])


def _ratios(found: Result, table: Table) -> list[str]:
    """How many times faster than each peer, per cell."""
    if "rows" not in found:
        return []
    train, forward = (summary.shown(found["rows"], task) for task in ("train", "forward"))
    return [
        "Forward + backward, how many times a peer's speed (geometric mean over the shapes):",
        table(_even(train)),
        "Forward alone:",
        table(_even(forward)),
    ]


def _measured(found: Result) -> str:
    machine, peak = found["machine"], found["peak"]
    others = (f"{k} {v}" for k, v in found["versions"].items() if k != "torch")
    return (
        f"Measured on {found['date']} on {record.in_words(machine)} {', '.join(others)}. "
        f"FMA peak {peak['FMA']:.0f} GFLOP/s (a loop of FMAs in registers), "
        f"torch.mm {peak['torch.mm']:.0f}."
    )


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _even(lines: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """All lines with the same keys, those that any line fills."""
    keys = dict.fromkeys(key for line in lines for key, text in line.items() if text)
    return [{key: line.get(key, "") for key in keys} for line in lines]


def _overhead(each: Result) -> dict[str, str]:
    return {name: v if name == "cell" else f"{v:.0f}" for name, v in each.items()}


def _growth(each: Result) -> dict[str, str]:
    times = {k: f"{each[k]['times']:.2f}" for k in ("T x 8", "B x 8")}
    return {"cell": each["cell"], **times}


def _first(each: Result) -> dict[str, str]:
    ways = {name: times for name, times in each.items() if name != "cell"}
    seconds = {name: f"{times['first']:.0f}" for name, times in ways.items()}
    new = {f"{name}: new T and B": f"{t['new T and B']:.1f}" for name, t in ways.items()}
    return {"cell": each["cell"], **seconds, **new}


def _memory(each: Result) -> dict[str, str]:
    found = {"cell": each["cell"], "T, B, I, H": str(Shape(*each["shape"]))}
    ways = {name: v for name, v in each.items() if name not in ("cell", "shape")}
    return found | {name: f"{most['above']:.0f}" for name, most in ways.items()}


OTHERS: dict[str, tuple[str, Callable[[Result], dict[str, str]]]] = {
    "overhead": ("One step of one sequence, forward alone, microseconds (aim 100):", _overhead),
    "growth": (
        "Eight times the steps or sequences take how many times longer (aim 8):",
        _growth,
    ),
    "first": (
        "First forward + backward of a process, ms (aim 3000, from disk 200), and the first at a "
        "new T and B:",
        _first,
    ),
    "memory": ("Peak of a new process, MB above what it held (aim: torch.nn's):", _memory),
}
