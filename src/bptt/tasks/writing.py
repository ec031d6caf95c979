"""A network writes: each character is drawn from what it expects, and read in its turn."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bptt.errors import ArgumentError
from bptt.tasks.task import Batch, Forward
from bptt.tasks.vocabulary import UNKNOWN, Vocabulary

NO_TARGET = -1


def check_writing(prompt: str, length: int, temperature: float) -> None:
    """Raise ArgumentError where there is nothing to go on from, or a number below 0."""
    if not prompt:
        raise ArgumentError(
            "prompt must hold at least one character for the network to go on from."
        )
    if length < 0 or temperature < 0:
        raise ArgumentError(
            f"length and temperature must not be negative; got {length} and {temperature}."
        )


def write(
    forward: Forward,
    vocabulary: Vocabulary,
    codes: NDArray[np.int64],
    length: int,
    temperature: float,
    seed: int,
) -> str:
    """`length` characters that the network writes after (N,) codes, as `Text.generate` says."""
    generator = torch.Generator().manual_seed(seed)
    state, written = None, []
    for _ in range(length):
        with torch.no_grad():
            outputs, state = forward(_one_row(codes), state)
        code = _draw(outputs[-1, 0].detach().cpu().double(), temperature, generator)
        written.append(vocabulary.characters[code - 1])
        codes = np.array([code])
    return "".join(written)


def _one_row(codes: NDArray[np.int64]) -> Batch:
    inputs = torch.from_numpy(codes)[:, None]
    return Batch(
        torch.zeros(len(codes), 1, 0), inputs[..., None], torch.full_like(inputs, NO_TARGET)
    )


def _draw(scores: Tensor, temperature: float, generator: torch.Generator) -> int:
    """A code drawn from (V,) scores; never that of unknown characters, which cannot be written."""
    scores = scores.clone()
    scores[UNKNOWN] = -torch.inf
    if temperature == 0:
        return int(scores.argmax())
    return int((scores / temperature).softmax(0).multinomial(1, generator=generator))
