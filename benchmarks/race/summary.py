"""What the times say: ratios to the peers, their means, the worst. Rows are those of `speed.py`."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from race.jobs import GRID
from race.peers import OURS, OWN, PEERS

Row = Mapping[str, Any]
Found = dict[str, float]

# How many times faster than a peer we mean to be, as a geometric mean over the grid; "worst" is
# against the best peer at any one shape, where 0.95 is parity within noise.
FAST = {"torch.nn": 8.0, "jax": 3.0, "worst": 0.95}
OWN_CELL = {"loop": 30.0, "jax": 2.5, "worst": 0.95}
AIMS = {"tanh RNN": FAST, "GRU": FAST, "LSTM": FAST | {"torch.nn": 1.5}}
FORWARD_AIM = {"torch.nn": 1.0, "onnxruntime": 1.0}
LARGE = [shape for shape in GRID if shape.H >= 256 and shape.B == 64]


def ratios(row: Row, task: str) -> Found:
    """Per peer, its time beside ours."""
    times = row[task]
    return {peer: times[peer]["ms"] / times[OURS]["ms"] for peer in PEERS if peer in times}


def judge(rows: Iterable[Row], task: str) -> dict[str, Any]:
    """Per peer the geometric mean over shapes; the worst ratio to the best peer, and where."""
    found = [(row["shape"], ratios(row, task)) for row in rows]
    means = {
        peer: statistics.geometric_mean(each[peer] for _, each in found) for peer in found[0][1]
    }
    if not means:
        return {}
    worst, where = min((min(each.values()), shape) for shape, each in found)
    return {**means, "worst": worst, "at": where}


def by_cell(rows: Sequence[Row], task: str) -> dict[str, dict[str, Any]]:
    """`judge`, cell by cell."""
    cells = dict.fromkeys(row["cell"] for row in rows)
    return {cell: judge([row for row in rows if row["cell"] == cell], task) for cell in cells}


def shown(rows: Sequence[Row], task: str) -> list[dict[str, str]]:
    """Lines of the summary table, with the aims."""
    lines = []
    for cell, found in by_cell(rows, task).items():
        aims = AIMS.get(cell, OWN_CELL) if task == "train" else FORWARD_AIM
        line = {"cell": cell}
        line |= {f"against {peer}": _times(found, aims, peer) for peer in _present(rows, task)}
        line["worst, against its best peer"] = _times(found, aims, "worst")
        lines.append(line | {"at T, B, I, H": _shape(found["at"]) if found else ""})
    return lines


def _present(rows: Sequence[Row], task: str) -> list[str]:
    return [peer for peer in PEERS if any(peer in row[task] for row in rows)]


def _times(found: Mapping[str, Any], aims: Found, what: str) -> str:
    if what not in found:
        return ""
    aim = f" (aim {aims[what]:g})" if what in aims else ""
    return f"{found[what]:.2f}{aim}"


def _shape(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))


def line(row: Row) -> dict[str, str]:
    """A row as a line of the full table: milliseconds, forward and backward, then forward alone."""
    train, forward, best = row["train"], row["forward"], ratios(row, "train").values()
    return {
        "cell": row["cell"],
        "T, B, I, H": _shape(row["shape"]),
        **{f"{name}, ms": _ms(train, name) for name in (OURS, *PEERS) if name != "onnxruntime"},
        "against the best": f"{min(best):.2f}" if best else "",
        **{f"forward: {name}": _ms(forward, name) for name in (OURS, *PEERS) if name != "loop"},
        "noise": f"{noise(row):.2f}",
    }


def _ms(times: Mapping[str, Any], name: str) -> str:
    return f"{times[name]['ms']:.3g}" if name in times else ""


def noise(row: Row) -> float:
    """The median of all calls beside the best round's, at its largest: 1 on a quiet machine."""
    return max(t["median"] / t["best"] for task in ("train", "forward") for t in row[task].values())


def remarks(rows: Sequence[Row], peak: float) -> list[str]:
    """What else is asked of these rows: the share of the FMA peak, a user's LSTM, exactness."""
    large = [row for row in rows if tuple(row["shape"]) in LARGE]
    found = [
        f"{row['cell']} at {_shape(row['shape'])}: {row['gflops'] / peak:.0%} of the FMA peak "
        "(aim 60%)"
        for row in large
    ]
    return [*found, *_own(rows), *_exactness(rows), _backends(rows), _quiet(rows)]


def _quiet(rows: Sequence[Row]) -> str:
    found = [noise(row) for row in rows]
    return (
        f"noise, a median beside the best turn's: {statistics.median(found):.2f}, at worst "
        f"{max(found):.2f}; above 1.2 something else was running"
    )


def _backends(rows: Sequence[Row]) -> str:
    cells: dict[str, dict[str, None]] = {}
    for row in rows:
        cells.setdefault(row["backend"], {})[row["cell"]] = None
    return "run by " + "; ".join(f"{name}: {', '.join(each)}" for name, each in cells.items())


def _own(rows: Sequence[Row]) -> list[str]:
    costs = [r["train"][OWN]["ms"] / r["train"][OURS]["ms"] for r in rows if OWN in r["train"]]
    if not costs:
        return []
    mean, worst = statistics.geometric_mean(costs), max(costs)
    return [
        f"an LSTM that a user wrote, beside the built-in one: {mean:.2f} times its time, "
        f"at worst {worst:.2f} (aim: at most 1.05)"
    ]


def _exactness(rows: Sequence[Row]) -> list[str]:
    pairs = [(r["errors"][OURS], r["errors"]["loop"]) for r in rows if "loop" in r["errors"]]
    if not pairs:
        return []
    mean = statistics.geometric_mean(ours / loop for ours, loop in pairs)
    worst = max(ours for ours, _ in pairs)
    return [
        f"error against float64: {mean:.2f} times the loop's (aim: at most 1.5), "
        f"at worst {worst:.1e} of a tensor's norm"
    ]
