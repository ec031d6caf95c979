"""Ways back through time: what each costs in time and memory, beside what is used in its place.

    python benchmarks/methods.py                  # all of it: a quarter of an hour
    python benchmarks/methods.py --quick          # small sizes: two minutes
    python benchmarks/methods.py --parts truncated long
    python benchmarks/methods.py --write          # ... and into docs/which_way_back.md, with a plot

masks: `reset=` and `lengths=` beside their absence. packed: unequal lengths beside torch.nn.LSTM on
packed sequences. truncated: `Truncated(20, 40)` beside chunk-and-detach and a step-wise recipe.
stream: `Stream` by windows of 1,000 steps beside one `unroll`, both by `Truncated(50, 50)`.
long: a million steps by `Full` and by `Checkpointed` with budgets from 256 kB, the most that each
holds, in new processes; longer: ten million. jax: the same by `jax.lax.scan` and by equinox's scan
with checkpoints (`pip install -r benchmarks/requirements.txt`).

Ways are taken in turn in one process, A B A B, after their gradients have been compared; times are
medians of all calls, or of the best turn with `--by best`. Nothing else should run on the machine.
"""

import argparse
import datetime
import importlib.metadata
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import record
from back import long, masks, page, stream, truncated
from race import fresh, peers
from race.page import plain

PAGE = record.ROOT / "docs" / "which_way_back.md"
PLOT = record.ROOT / "docs" / "memory_and_time.svg"
PEERS = ("jax", "equinox")
BUDGETS = ("64MB", "8MB", "256kB")
QUICK = 20  # so many times fewer steps

Result = dict[str, Any]
Words = argparse.Namespace


def _masks(words: Words) -> list[Result]:
    shapes = masks.SHAPES[:1] if words.quick else masks.SHAPES + masks.WIDE
    return [masks.cost(*each, words.seconds) for each in product(masks.CELLS, shapes)]


def _packed(words: Words) -> list[Result]:
    shapes = masks.PACKED[:1] if words.quick else masks.PACKED
    return [masks.packed(shape, words.seconds) for shape in shapes]


def _truncated(words: Words) -> list[Result]:
    steps = truncated.T // (QUICK if words.quick else 1)
    each = product(truncated.CELLS, truncated.BATCHES)
    return [truncated.measure(*one, steps, words.seconds) for one in each]


def _stream(words: Words) -> list[Result]:
    part = QUICK if words.quick else 1
    shapes = [shape._replace(T=shape.T // part) for shape in stream.SHAPES]
    sizes = stream.WINDOW // part, stream.K
    return [stream.measure(*each, *sizes, words.seconds) for each in product(stream.CELLS, shapes)]


def _steps(words: Words) -> int:
    return long.LONG // (QUICK if words.quick else 1)


def _long(words: Words) -> Result:
    return long.measure(_steps(words), long.BUDGETS, 8 * words.seconds, words.threads)


def _longer(words: Words) -> Result:
    return long.once(10 * _steps(words), "64MB", words.threads)


def _jax(words: Words) -> Result:
    from back import jax_long  # only here: it may not be installed

    return jax_long.measure(_steps(words), BUDGETS, 4 * words.seconds)


PARTS: dict[str, Callable[[Words], Any]] = {
    "masks": _masks,
    "packed": _packed,
    "truncated": _truncated,
    "stream": _stream,
    "long": _long,
    "longer": _longer,
    "jax": _jax,
}


def versions() -> dict[str, str]:
    """Of torch, and of the peers as far as installed."""
    found = {}
    for name in ("torch", *PEERS):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def run(words: Words, keep: Callable[[Result], Any] = lambda found: None) -> Result:
    """Everything that was asked for and can be had; `keep` is given what there is so far."""
    found: Result = {
        "machine": record.machine(),
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "settings": {name: getattr(words, name) for name in ("seconds", "by", "threads", "quick")},
    }
    for name in words.parts:
        if reason := _missing(name, found["versions"]):
            print(f"left out: {name}, {reason}")
            continue
        found[name] = PARTS[name](words)
        keep(found)
        print(page.part(found, name, plain), end="\n\n", flush=True)
    return found


def _missing(part: str, installed: dict[str, str]) -> str:
    """Why a part cannot be had here; "" if it can."""
    if part in ("long", "longer") and not fresh.can_weigh():
        return "for this system does not tell a process's most (/proc)"
    absent = [name for name in PEERS if installed[name] == "not installed"]
    if part == "jax" and absent:
        return f"not installed: {', '.join(absent)}. pip install -r benchmarks/requirements.txt"
    return ""


def parsed(given: list[str] | None = None) -> Words:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a twentieth of the steps, few shapes")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, help="for a row of a table; 3, or 0.3 if quick")
    parser.add_argument("--by", choices=("median", "best"), default="median")
    parser.add_argument("--threads", type=int, default=min(2, len(peers.cores())))
    parser.add_argument("--show", type=Path, metavar="FILE", help="saved results; measure nothing")
    parser.add_argument("--write", action="store_true", help="write docs/which_way_back.md")
    words = parser.parse_args(given)
    words.seconds = words.seconds or (0.3 if words.quick else 3.0)
    if not 1 <= words.threads <= len(peers.cores()):
        parser.error(f"--threads: 1 to {len(peers.cores())}, the cores here; got {words.threads}")
    if words.show and not words.show.is_file():
        parser.error(f"--show should be a file of saved results; there is no {words.show}")
    return words


def is_whole(words: Words) -> bool:
    """Whether nothing was left out, so that the results may stand for this machine."""
    return not words.quick and words.parts == list(PARTS)


def measured(words: Words) -> Result:
    """`run` on the cores that were asked for, saved."""
    peers.use_cores(words.threads)
    found = run(words, lambda found: record.save("methods-partial", found))
    path = record.save("methods" if is_whole(words) else "methods-partial", found)
    print(f"\nsaved in {path}")
    return found


def main() -> None:
    words = parsed()
    found = json.loads(words.show.read_text()) if words.show else measured(words)
    print(page.full(found, plain))
    if words.write:
        from back import plot  # altair comes with the extra `train`

        record.write("methods", page.full(found, record.table), PAGE)
        plot.draw(found, PLOT)


if __name__ == "__main__":
    main()
