"""How fast: `bptt.unroll` against torch.nn, jax, ONNX Runtime and the loop written by hand.

    python benchmarks/speed.py                    # all of it: a quarter of an hour
    python benchmarks/speed.py --quick            # three small shapes: two minutes
    python benchmarks/speed.py --cells LSTM GRU --shapes 100,32,16,64 --peers jax --parts table
    python benchmarks/speed.py --write            # ... and into README.md and docs/performance.md
    python benchmarks/speed.py --show benchmarks/results/speed.json --markdown    # once more

Forward + backward with every gradient (inputs, initial state, all weights), float32, the product
with the inputs included; and forward alone under `no_grad`. All take part in one process with the
same numbers, on the same cores, in turn: A B A B. Before a cell is timed at a shape, the outputs
and gradients of all who take part are compared with the reference backend in float64; who differs
stops the command.

Peers: torch.nn where it has the cell; the Python loop under autograd; `jax.lax.scan`, jitted, with
the product with the inputs before the scan; ONNX Runtime, forward alone. jax and ONNX Runtime come
with `pip install -r benchmarks/requirements.txt`; without one of them its column is left out, by
name.

How it is timed. Threads of one peer go on looking for work for milliseconds after its last call,
and another's calls took up to a hundred times longer then. So each peer's turn is a pause of 20 ms,
one call that does not count, and calls for 50 ms at least; three turns at least. Times are medians
of all calls; "noise" is that median beside the best turn's, the worst of the row's. Above 1.2
something else is running: close it, or take `--by best`. Slow peers sit later turns out, so that
each gets about the same seconds. Ratios hold from day to day, milliseconds do not.
"""

import argparse
import datetime
import importlib.metadata
import json
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

import record
from race import fresh, measures, page, peak, peers
from race.jobs import GRID, KINDS, QUICK, Shape
from race.measures import Result, Settings

PARTS = ("table", "overhead", "growth", "first", "memory")
PAGES = {record.ROOT / "README.md": page.brief, record.ROOT / "docs" / "performance.md": page.full}


def versions() -> dict[str, str]:
    """Of everyone who may take part, as far as installed."""
    found = {}
    for name in ("torch", "llvmlite", "jax", "jaxlib", "onnxruntime"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def run(words: argparse.Namespace, how: Settings) -> Result:
    """Everything that was asked for."""
    entrants, missing = peers.entrants(words.peers, words.backend)
    for name in missing:
        print(f"left out, not installed: {name}. pip install -r benchmarks/requirements.txt")
    present = [name for name in words.peers if name in entrants]
    found: Result = {
        "machine": record.machine(),
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "settings": {**how._asdict(), "cells": words.cells, "peers": present, "missing": missing},
        "peak": {"FMA": peak.fma_gflops(how.threads), "torch.mm": peak.product_gflops()},
    }
    if "table" in words.parts:
        found["rows"] = []
        for cell, shape in product(words.cells, words.shapes):
            found["rows"].append(measures.race(cell, shape, entrants, how))
            _say(found["rows"][-1])
    return found | _rest(words, how, entrants, present)


def _say(row: Result) -> None:
    for task, title in (
        ("train", f"{row['cell']} at {row['shape']}, ms"),
        ("forward", "  forward"),
    ):
        times = ", ".join(f"{name} {t['ms']:.3g}" for name, t in row[task].items())
        print(f"{title}: {times}", flush=True)


def _rest(words: argparse.Namespace, how: Settings, entrants: Any, present: list[str]) -> Result:
    few = words.cells[:1] if words.quick else words.cells
    heavy = measures.HEAVY[:1] if words.quick else measures.HEAVY
    parts: dict[str, Callable[[], Iterable[Result]]] = {
        "overhead": lambda: (measures.overhead(c, entrants, how) for c in words.cells),
        "growth": lambda: (measures.growth(c, entrants[peers.OURS], how) for c in few),
        "first": lambda: (measures.first_calls(c, present, how) for c in few),
        "memory": lambda: (
            measures.memory(c, shape, present, how)
            for c, shape in product(few, heavy)
            if KINDS[c].in_torch
        ),
    }
    if not fresh.can_weigh():
        print("left out: memory, for this system does not tell a process's most (/proc)")
        del parts["memory"]
    return {name: list(part()) for name, part in parts.items() if name in words.parts}


def parsed(given: list[str] | None = None) -> argparse.Namespace:
    """The command line; `quick` has become shapes and seconds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="three small shapes, one cell of the slow parts"
    )
    parser.add_argument("--cells", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--shapes", nargs="+", type=_shape, metavar="T,B,I,H")
    parser.add_argument("--peers", nargs="*", choices=peers.PEERS, default=list(peers.PEERS))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, help="for a cell at a shape; 3, or 0.6 if quick")
    parser.add_argument("--by", choices=("median", "best"), default="median")
    parser.add_argument("--threads", type=int, default=min(2, len(peers.cores())))
    parser.add_argument("--backend", default="auto", help="of bptt.unroll")
    parser.add_argument("--show", type=Path, metavar="FILE", help="saved results; measure nothing")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--write", action="store_true", help="write README, docs/performance.md")
    words = parser.parse_args(given)
    if problem := _problem(words):
        parser.error(problem)
    words.shapes = words.shapes or (QUICK if words.quick else GRID)
    words.seconds = words.seconds or (0.6 if words.quick else 3.0)
    return words


def _problem(words: argparse.Namespace) -> str | None:
    """What would stop the command only after all was measured, or before."""
    if not 1 <= words.threads <= len(peers.cores()):
        return f"--threads should be 1 to {len(peers.cores())}, the cores here; got {words.threads}"
    if words.show and not words.show.is_file():
        return f"--show should be a file of saved results; there is no {words.show}"
    try:
        for document in PAGES if words.write else ():
            record.around("speed", document)
    except ValueError as error:
        return str(error)
    return None


def _shape(text: str) -> Shape:
    try:
        return Shape.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def is_whole(words: argparse.Namespace) -> bool:
    """Whether nothing was left out, so that the results, which tell their seconds, may stand."""
    whole = vars(parsed([]))
    what = ("cells", "shapes", "peers", "parts")
    return all(getattr(words, name) == whole[name] for name in what)


def measured(words: argparse.Namespace) -> Result:
    """`run` on the cores that were asked for, saved."""
    peers.use_cores(words.threads)
    found = run(words, Settings(words.seconds, words.by, words.threads, words.backend))
    path = record.save("speed" if is_whole(words) else "speed-partial", found)
    print(f"\nsaved in {path}\n")
    return found


def main() -> None:
    words = parsed()
    found = json.loads(words.show.read_text()) if words.show else measured(words)
    print(page.full(found, record.table if words.markdown else page.plain))
    for document, text in PAGES.items() if words.write else ():
        record.write("speed", text(found, record.table), document)


if __name__ == "__main__":
    main()
