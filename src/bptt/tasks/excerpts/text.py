"""Stretches of a text's test part."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from bptt.errors import ArgumentError
from bptt.tasks.excerpts.excerpt import (
    Answer,
    Excerpt,
    Rows,
    Wanted,
    cross_entropy,
    likeliest,
    spread,
)
from bptt.tasks.excerpts.named import find_row
from bptt.tasks.text import Text
from bptt.tasks.vocabulary import Vocabulary

SHARE = 4  # a stretch is at most this part of the text, so that several differ


def take(task: Text, wanted: Wanted) -> Excerpt:
    """Stretches of the test part, each character with the next as its target.

    As many characters again are read before each, as far as there are some.
    """
    if wanted.series is not None:
        raise ArgumentError(
            f"a text has no series, so there is no {wanted.series!r}; leave it out, or name a "
            "position in the text"
        )
    codes = task.data.parts["test"]
    vocabulary = task.learnt.vocabulary
    last = len(codes) - 1  # the last character has none to follow it
    steps = min(wanted.steps, last)
    if wanted.at is None:
        steps = min(steps, max(1, last // SHARE))
        stop = spread(np.arange(min(2 * steps, last), last + 1), wanted.rows)
    else:
        stop = np.array([find_row(wanted.at, np.arange(last), _label, "the test part") + 1])
    start = np.maximum(stop - steps, 0)
    return Excerpt(
        numeric=torch.zeros(len(codes), 0),
        categorical=torch.from_numpy(codes)[:, None],
        lead=np.maximum(start - steps, 0),
        start=start,
        stop=stop,
        targets=_targets(codes, start, stop),
        loss=cross_entropy,
        inputs=("character",),
        outputs=tuple(_spoken(vocabulary, code) for code in range(vocabulary.size)),
        series=tuple(f"from {row}" for row in start.tolist()),
        label=_label,
        readings={"character": lambda row: _spoken(vocabulary, int(codes[row]))},
        answers=partial(_answers, vocabulary, codes),
        unit="nats",
    )


def _targets(codes: Rows, start: Rows, stop: Rows) -> Tensor:
    """(T, B) codes of the next characters."""
    columns = [torch.from_numpy(codes[a + 1 : b + 1]) for a, b in zip(start, stop, strict=True)]
    return torch.stack(columns, 1)


def _label(row: int) -> str:
    return str(row)


def _spoken(vocabulary: Vocabulary, code: int) -> str:
    """A character as it is read beside others: white space made visible."""
    shown = {" ": "␣", "\n": "⏎", "\t": "⇥"}
    character = vocabulary.decode(np.array([code]))
    return shown.get(character, character)


def _answers(vocabulary: Vocabulary, codes: Rows, row: int, outputs: Tensor) -> list[Answer]:
    names = [_spoken(vocabulary, code) for code in range(vocabulary.size)]
    return likeliest(outputs, names, names[codes[row + 1]])
