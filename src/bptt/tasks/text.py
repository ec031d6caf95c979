"""Text: the next character, from all that came before it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bptt.errors import ArgumentError, DataError
from bptt.tasks.baselines import CharacterCounts
from bptt.tasks.options import DataOptions
from bptt.tasks.scores import text_metrics
from bptt.tasks.table import read_utf8
from bptt.tasks.task import Batch, Batches, Evaluation, Forward, NetworkShape, Part, Task

SHARES = (0.80, 0.90)  # of the characters: the end of training, the end of validation
USUAL_WINDOW, LEAST_CHARACTERS = 64, 100
UNKNOWN, NO_TARGET = 0, -1
SAMPLES, PROMPT, WRITTEN = 3, 40, 240  # what the report shows: samples, and characters in each


@dataclass(frozen=True)
class Vocabulary:
    """The characters of the training part, coded from 1 in Unicode's order; 0 is any other.

    >>> Vocabulary("abc").encode("cab!").tolist()
    [3, 1, 2, 0]
    """

    characters: str

    @classmethod
    def learn(cls, text: str) -> Self:
        """From the training part alone."""
        return cls("".join(sorted(set(text))))

    @property
    def size(self) -> int:
        """Codes there are, with that of unknown characters."""
        return len(self.characters) + 1

    def encode(self, text: str) -> NDArray[np.int64]:
        """(N,) codes."""
        known, points = _code_points(self.characters), _code_points(text)
        place = np.searchsorted(known, points).clip(max=len(known) - 1)
        return np.where(known[place] == points, place + 1, UNKNOWN)

    def decode(self, codes: NDArray[np.int64]) -> str:
        """The characters of (N,) codes, a replacement character for what is unknown."""
        return "".join(self.characters[code - 1] if code else "\ufffd" for code in codes)


def _code_points(text: str) -> NDArray[np.int64]:
    # surrogatepass: a prompt typed in a terminal may hold what no text file can
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.int64)


class RowBatches(Batches):
    """A text laid into B rows that are read side by side, a window of each at a time.

    Window w + 1 goes on where window w ended, in every row, so the state can be carried from one to
    the next; `reset` says so at the first window, which starts afresh. The order is the text's own,
    whatever the seed and the epoch.
    """

    def __init__(self, codes: NDArray[np.int64], rows: int, window: int) -> None:
        steps = len(codes) - 1  # characters that have one before them
        self.window = window
        self.rows = max(1, min(rows, steps))
        self.steps = -(-steps // self.rows)
        self.rows = -(-steps // self.steps)  # else the last rows would be padding alone
        padding = np.full(self.steps * self.rows - steps, NO_TARGET)
        targets = np.concatenate([codes[1:], padding]).reshape(self.rows, self.steps)
        inputs = np.concatenate([codes[:-1], 0 * padding]).reshape(self.rows, self.steps)
        self._targets = torch.from_numpy(targets).T
        self._inputs = torch.from_numpy(inputs).T

    def __len__(self) -> int:
        return -(-self.steps // self.window)

    def batch(self, seed: int, epoch: int, step: int) -> Batch:
        """Targets (T, B) the next characters' codes, -1 beyond the text's end."""
        span = slice(step * self.window, (step + 1) * self.window)
        inputs = self._inputs[span]
        reset = torch.zeros(inputs.shape, dtype=torch.bool)
        reset[0] = True
        return Batch(
            numeric=torch.zeros(*inputs.shape, 0),
            categorical=inputs[..., None],
            targets=self._targets[span],
            reset=reset if step == 0 else None,
        )


class Text(Task):
    """Predict each next character; the state goes on from window to window."""

    name = "text"
    carries_state = True

    def __init__(
        self,
        vocabulary: Vocabulary,
        counts: CharacterCounts,
        window: int,
        parts: dict[Part, NDArray[np.int64]] | None = None,
        source: str = "",
    ) -> None:
        self.vocabulary = vocabulary
        self.counts = counts
        self.window = window
        self.source = source
        self._parts = parts

    @classmethod
    def open(cls, path: str | Path, options: DataOptions) -> Self:
        """Read a UTF-8 file, cut it into three and learn the vocabulary from the first.

        Raises:
            DataError: the file is missing, not UTF-8, or shorter than 100 characters.
        """
        text = read_utf8(Path(path))
        if len(text) < LEAST_CHARACTERS:
            raise DataError(
                f"{path} has {len(text)} characters; {LEAST_CHARACTERS} are needed at least, and "
                f"some 100,000 to learn much."
            )
        first, second = (int(share * len(text)) for share in SHARES)
        vocabulary = Vocabulary.learn(text[:first])
        codes = vocabulary.encode(text)
        counts = CharacterCounts.learn(codes[:first], vocabulary.size)
        parts: dict[Part, NDArray[np.int64]] = {
            "train": codes[:first],
            "validation": codes[first:second],
            "test": codes[second:],
        }
        window = options.window or USUAL_WINDOW
        return cls(vocabulary, counts, window, parts, Path(path).name)

    def load(self, path: str | Path) -> Self:
        """This task over a new text, all of it the "test" part."""
        text = read_utf8(Path(path))
        if len(text) < 2:
            raise DataError(f"{path} has {len(text)} characters; two are needed at least.")
        codes = self.vocabulary.encode(text)
        name = Path(path).name
        return type(self)(self.vocabulary, self.counts, self.window, {"test": codes}, name)

    @property
    def parts(self) -> dict[Part, NDArray[np.int64]]:
        """The codes of each part; DataError where the task was restored without data."""
        if self._parts is None:
            raise DataError("This model was restored without data. Give it some with load(path).")
        return self._parts

    @property
    def shape(self) -> NetworkShape:
        """Input: a character's code. Outputs: one for each code."""
        size = self.vocabulary.size
        return NetworkShape(numeric=0, categories=(size,), outputs=size, read="every step")

    def batches(self, part: Part, batch_size: int) -> Batches:
        """Windows in the order of the text, `batch_size` rows side by side."""
        return RowBatches(self.parts[part], batch_size, self.window)

    def loss(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, int]:
        """Summed cross-entropy (nats) and the number of characters."""
        targets = batch.targets.flatten()
        summed = functional.cross_entropy(
            outputs.flatten(0, 1), targets, ignore_index=NO_TARGET, reduction="sum"
        )
        return summed, int((targets != NO_TARGET).sum())

    def evaluate(self, forward: Forward, part: Part, batch_size: int) -> Evaluation:
        """Bits per character and perplexity, beside unigram's and bigram's."""
        batches = self.batches(part, batch_size)
        nats, characters, state = 0.0, 0, None
        for step in range(len(batches)):
            batch = batches.batch(0, 0, step)
            with torch.no_grad():
                outputs, state = forward(batch, state)
            summed, count = self.loss(outputs.detach().cpu().double(), batch)
            nats, characters = nats + float(summed), characters + count
        return Evaluation(
            part=part,
            headline="bits_per_character",
            lower_is_better=True,
            metrics=text_metrics(nats, characters),
            baselines=self._baselines(self.parts[part]),
            details={"samples": self._samples(forward)} if part == "test" else {},
        )

    def _samples(self, forward: Forward) -> list[dict[str, str]]:
        """What the network writes where the test part goes on otherwise."""
        codes, samples = self.parts["test"], []
        for seed, start in enumerate(np.linspace(0, len(codes), SAMPLES, endpoint=False)):
            text = self.vocabulary.decode(codes[int(start) :][: 2 * PROMPT])
            prompt = (text[text.find(" ") + 1 :] or text)[:PROMPT]  # from the start of a word
            written = self.generate(forward, prompt, WRITTEN, temperature=0.8, seed=seed)
            samples.append({"prompt": prompt, "text": written})
        return samples

    def _baselines(self, codes: NDArray[np.int64]) -> dict[str, dict[str, float]]:
        after = codes[1:]
        rules = {
            "unigram": self.counts.unigram(after),
            "bigram": self.counts.bigram(codes[:-1], after),
        }
        return {n: text_metrics(-float(np.log(p).sum()), len(p)) for n, p in rules.items()}

    def generate(
        self, forward: Forward, prompt: str, length: int, temperature: float = 1.0, seed: int = 0
    ) -> str:
        """`length` characters that the network writes after `prompt` (which is not repeated).

        Args:
            forward: the network.
            prompt: read first; characters that training never saw are read as "unknown".
            length: characters to write.
            temperature: 0 takes the likeliest character; 1 samples from the network's
                distribution; more is bolder.
            seed: of the sampling.

        Raises:
            ArgumentError: an empty prompt, or a negative length or temperature.
        """
        _check_generation(prompt, length, temperature)
        generator = torch.Generator().manual_seed(seed)
        codes, state, written = self.vocabulary.encode(prompt), None, []
        for _ in range(length):
            with torch.no_grad():
                outputs, state = forward(_one_row(codes), state)
            code = _draw(outputs[-1, 0].detach().cpu().double(), temperature, generator)
            written.append(self.vocabulary.characters[code - 1])
            codes = np.array([code])
        return "".join(written)

    def summary(self) -> dict[str, Any]:
        """What the text is and how it was cut."""
        sizes = {part: len(codes) for part, codes in self.parts.items()}
        return {
            "task": self.name,
            "data": self.source,
            "characters": sum(sizes.values()),
            "vocabulary": self.vocabulary.characters,
            "window": self.window,
            "split": sizes,
        }

    def describe(self) -> dict[str, Any]:
        """All that was learnt; goes into model.json."""
        return {
            "task": self.name,
            "window": self.window,
            "characters": self.vocabulary.characters,
            "counts": self.counts.describe(),
        }

    @classmethod
    def restore(cls, description: dict[str, Any]) -> Self:
        """The task of a trained model, without data."""
        counts = CharacterCounts.restore(description["counts"])
        return cls(Vocabulary(description["characters"]), counts, description["window"])


def _check_generation(prompt: str, length: int, temperature: float) -> None:
    if not prompt:
        raise ArgumentError(
            "prompt must hold at least one character for the network to go on from."
        )
    if length < 0 or temperature < 0:
        raise ArgumentError(
            f"length and temperature must not be negative; got {length} and {temperature}."
        )


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
