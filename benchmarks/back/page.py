"""What was found, as tables of ratios beside their aims."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import record
from back import long
from race.jobs import Shape

Table = Callable[[Sequence[Mapping[str, Any]]], str]
Result = Mapping[str, Any]
Line = dict[str, str]
ASIDE, PACKED, CHUNKS, RECIPE, STREAM = 1.05, 3.0, 0.8, 50.0, 1.1


def full(found: Result, table: Table) -> str:
    """All that was measured, and on what."""
    parts = [part(found, name, table) for name in PARTS if name in found]
    return "\n\n".join([*parts, _measured(found)])


def part(found: Result, name: str, table: Table) -> str:
    """A title and a table."""
    title, lines = PARTS[name]
    return f"{title}\n\n{table(list(lines(found, found['settings']['by'])))}"


def _measured(found: Result) -> str:
    others = ", ".join(f"{name} {v}" for name, v in found["versions"].items() if name != "torch")
    facts = record.in_words(found["machine"])
    return f"Measured on {found['date']} on {facts} {others}. Noise, a median beside the best " + (
        f"turn's: at worst {max(_noise(found)):.2f}; above 1.2 something else was running."
    )


def _noise(found: Result) -> Iterable[float]:
    """Per way that was timed."""
    results = [r for name in PARTS if found.get(name) for r in _listed(found[name])]
    return [t["ms"] / t["best ms"] for r in results for t in r.get("times", {}).values()] or [1.0]


def _listed(part: Any) -> Sequence[Result]:
    return part if isinstance(part, list) else [part]


def _shape(result: Result) -> str:
    return str(Shape(*result["shape"]))


def _ms(result: Result, way: str, by: str, what: str = "") -> float:
    return result["times"][way][f"{what}best ms" if by == "best" else f"{what}ms"]


def _masks(found: Result, by: str) -> Iterable[Line]:
    for r in found["masks"]:
        plain, reset, lengths = (_ms(r, way, by) for way in ("neither", "reset", "lengths"))
        yield {
            "cell": r["cell"],
            "T, B, I, H": _shape(r),
            "neither, ms": f"{plain:.3g}",
            "reset=": f"{reset / plain:.2f}",
            "lengths=": f"{lengths / plain:.2f}",
        }


def _packed(found: Result, by: str) -> Iterable[Line]:
    for r in found["packed"]:
        ours, theirs = (_ms(r, way, by) for way in ("bptt", "packed"))
        yield {
            "T, B, I, H": _shape(r),
            "steps that count": f"{r['live']:.0%}",
            "lengths=, ms": f"{ours:.3g}",
            "torch.nn.LSTM, packed, ms": f"{theirs:.3g}",
            "times as fast": f"{theirs / ours:.1f}",
        }


def _truncated(found: Result, by: str) -> Iterable[Line]:
    for r in found["truncated"]:
        ours, back, full_back = (
            _ms(r, way, by, what)
            for way, what in (("truncated", ""), ("truncated", "backward "), ("full", "backward "))
        )
        yield {
            "cell": r["cell"],
            "T, B, I, H": _shape(r),
            "forward + backward, ms": f"{ours:.3g}",
            "beside chunks": f"{ours / _ms(r, 'chunks', by):.2f}",
            "backward, ms": f"{back:.3g}",
            "backward beside chunks'": f"{back / _ms(r, 'chunks', by, 'backward '):.2f}",
            "beside Full's": f"{back / full_back:.2f}",
            "times the recipe's speed": f"{_ms(r, 'recipe', by) / ours:.0f}",
        }


def _stream(found: Result, by: str) -> Iterable[Line]:
    for r in found["stream"]:
        ours, whole = (_ms(r, way, by) for way in ("stream", "unroll"))
        yield {
            "cell": r["cell"],
            "T, B, I, H": _shape(r),
            "stream, ms": f"{ours:.3g}",
            "unroll, ms": f"{whole:.3g}",
            "beside unroll": f"{ours / whole:.2f}",
        }


def _long(found: Result, by: str) -> Iterable[Line]:
    r = found["long"]
    whole = _ms(r, "full", by)
    for words, held in r["held"].items():
        seconds = _ms(r, words, by) / 1e3
        aim = f" (aim {long.AIMS[words]})" if words in long.AIMS else ""
        yield {
            "method": spelled(words),
            "steps": f"{r['steps']:,}",
            "held, MB": f"{held:.1f}",
            "seconds": f"{seconds:.3g}",
            "beside Full": f"{1e3 * seconds / whole:.2f}{aim}",
        }


def spelled(words: str) -> str:
    """A method as one writes it.

    >>> spelled("64MB")
    'Checkpointed("64MB")'
    """
    return "Full()" if words == "full" else f'Checkpointed("{words}")'


def _longer(found: Result, by: str) -> Iterable[Line]:
    r = found["longer"]
    yield {
        "method": spelled(r["method"]),
        "steps": f"{r['steps']:,}",
        "held, MB": f"{r['held']:.1f}",
        "seconds": f"{r['seconds']:.3g}",
    }


def _jax(found: Result, by: str) -> Iterable[Line]:
    r = found["jax"]
    whole = _ms(r, "full", by)
    for words, held in r["held"].items():
        yield {
            "scan": "jax.lax.scan" if words == "full" else f"equinox's, states for {words}",
            "XLA plans, MB": f"{held:.1f}",
            "seconds": f"{_ms(r, words, by) / 1e3:.3g}",
            "beside lax.scan": f"{_ms(r, words, by) / whole:.2f}",
        }


Lines = Callable[[Result, str], Iterable[Line]]
PARTS: dict[str, tuple[str, Lines]] = {
    "masks": (
        f"What a mask costs, beside the time without (aim: at most {ASIDE}); an episode has 20 "
        "steps, one sequence has one step fewer than the others:",
        _masks,
    ),
    "packed": (
        f"Lengths from T / 4 to T, LSTM, forward + backward (aim: at least {PACKED:g} times as "
        "fast):",
        _packed,
    ),
    "truncated": (
        f"Truncated(20, 40) beside chunk-and-detach with 20 (aim, backward: at most {CHUNKS}) and "
        f"the step-wise recipe (aim: {RECIPE:g} times its speed):",
        _truncated,
    ),
    "stream": (
        "Stream, windows of a tenth of T, beside one unroll of all, both by Truncated(50, 50) "
        f"(aim: at most {STREAM}):",
        _stream,
    ),
    "long": (
        "An Elman network with its read-out inside, B = 1, I = 8, H = 64; held is the most beyond "
        "the caller's tensors:",
        _long,
    ),
    "longer": ("The same, ten times as long:", _longer),
    "jax": ("The same by jax:", _jax),
}
