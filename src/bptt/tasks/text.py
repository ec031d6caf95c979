"""Text: the next character, from all that came before it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bptt.errors import DataError
from bptt.tasks.baselines import CharacterCounts
from bptt.tasks.chance import in_blocks, sign_flip_test
from bptt.tasks.encoding import Floats
from bptt.tasks.files import read_utf8, spoken
from bptt.tasks.options import DataOptions
from bptt.tasks.scores import text_metrics
from bptt.tasks.task import PARTS, Batch, Batches, Evaluation, Forward, NetworkShape, Part, Task
from bptt.tasks.vocabulary import TextLearnt, Vocabulary
from bptt.tasks.writing import NO_TARGET, check_writing, write

SHARES = (0.80, 0.90)  # of the characters: the end of training, the end of validation
USUAL_WINDOW, LEAST_CHARACTERS = 64, 100
BLOCK = 64  # neighbouring characters are no independent trials; such blocks nearly are
SAMPLES, PROMPT, WRITTEN = 3, 40, 240  # what the report shows: samples, and characters in each
FIRST = 400  # characters to look for a first word in


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


@dataclass(frozen=True)
class TextData:
    """The codes of each part, and the file's name."""

    parts: dict[Part, NDArray[np.int64]]
    source: str


class Text(Task[TextLearnt, TextData]):
    """Predict each next character; the state goes on from window to window."""

    name = "text"
    carries_state = True

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
        learnt = TextLearnt(vocabulary, counts, options.window or USUAL_WINDOW)
        parts = dict(zip(PARTS, np.split(codes, [first, second]), strict=True))
        return cls(learnt, TextData(parts, Path(path).name))

    def load(self, path: str | Path) -> Self:
        """This task over a new text, all of it the "test" part.

        Warns:
            DataWarning: the text has characters that training never saw.
        """
        text = read_utf8(Path(path))
        if len(text) < 2:
            raise DataError(f"{path} has {len(text)} characters; two are needed at least.")
        codes = self.learnt.vocabulary.encode_new(text, spoken(Path(path)))
        return type(self)(self.learnt, TextData({"test": codes}, Path(path).name))

    @property
    def shape(self) -> NetworkShape:
        """Input: a character's code. Outputs: one for each code."""
        size = self.learnt.vocabulary.size
        return NetworkShape(numeric=0, categories=(size,), outputs=size, read="every step")

    def batches(self, part: Part, batch_size: int) -> Batches:
        """Windows in the order of the text, `batch_size` rows side by side."""
        return RowBatches(self.data.parts[part], batch_size, self.learnt.window)

    def loss(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, int]:
        """Summed cross-entropy (nats) and the number of characters."""
        targets = batch.targets.flatten()
        summed = functional.cross_entropy(
            outputs.flatten(0, 1), targets, ignore_index=NO_TARGET, reduction="sum"
        )
        return summed, int((targets != NO_TARGET).sum())

    def evaluate(self, forward: Forward, part: Part, batch_size: int) -> Evaluation:
        """Bits per character and perplexity, beside unigram's and bigram's."""
        nats, rules = self._nats(forward, part, batch_size), self._rules(self.data.parts[part])
        baselines = {name: text_metrics(naive) for name, naive in rules.items()}
        best = min(rules.values(), key=np.sum)
        return Evaluation(
            part=part,
            headline="bits_per_character",
            lower_is_better=True,
            metrics=text_metrics(nats),
            baselines=baselines,
            details={"samples": self._samples(forward)} if part == "test" else {},
            chance=sign_flip_test(in_blocks(best - nats, BLOCK)),
        )

    def _nats(self, forward: Forward, part: Part, batch_size: int) -> Floats:
        """(N - 1,) negative log likelihood of each character but the first, in the text's order."""
        batches, found, state = self.batches(part, batch_size), [], None
        for step in range(len(batches)):
            batch = batches.batch(0, 0, step)
            with torch.no_grad():
                outputs, state = forward(batch, state)
            scores = outputs.detach().cpu().double().movedim(-1, 1)
            found.append(
                functional.cross_entropy(
                    scores, batch.targets, ignore_index=NO_TARGET, reduction="none"
                )
            )
        return torch.cat(found).T.flatten()[: len(self.data.parts[part]) - 1].numpy()

    def _samples(self, forward: Forward) -> list[dict[str, str]]:
        """What the network writes where the test part goes on otherwise."""
        codes, vocabulary, samples = self.data.parts["test"], self.learnt.vocabulary, []
        for seed, start in enumerate(np.linspace(0, len(codes), SAMPLES, endpoint=False)):
            text = vocabulary.decode(codes[int(start) :][: 2 * PROMPT])
            prompt = (text[text.find(" ") + 1 :] or text)[:PROMPT]  # from the start of a word
            codes_before = vocabulary.encode(prompt)
            written = write(forward, vocabulary, codes_before, WRITTEN, 0.8, seed)
            samples.append({"prompt": prompt, "text": written})
        return samples

    def _rules(self, codes: NDArray[np.int64]) -> dict[str, Floats]:
        """What the naive rules give in place of `_nats`."""
        before, after, counts = codes[:-1], codes[1:], self.learnt.counts
        return {
            "unigram": -np.log(counts.unigram(after)),
            "bigram": -np.log(counts.bigram(before, after)),
        }

    def prompt(self) -> str:
        """What to let a network go on from at first: the training part's first word."""
        start = self.learnt.vocabulary.decode(self.data.parts["train"][:FIRST])
        words = start.split() or [start]
        return next(filter(str.isalpha, words), words[0])[:PROMPT]

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

        Warns:
            DataWarning: the prompt has characters that training never saw.
        """
        check_writing(prompt, length, temperature)
        codes = self.learnt.vocabulary.encode_new(prompt, "The prompt")
        return write(forward, self.learnt.vocabulary, codes, length, temperature, seed)

    def summary(self) -> dict[str, Any]:
        """What the text is and how it was cut."""
        sizes = {part: len(codes) for part, codes in self.data.parts.items()}
        return {
            "task": self.name,
            "data": self.data.source,
            "characters": sum(sizes.values()),
            "vocabulary": self.learnt.vocabulary.characters,
            "window": f"{self.learnt.window:,} characters",
            "split": sizes,
        }

    @classmethod
    def restore(cls, description: dict[str, Any]) -> Self:
        """The task of a trained model, without data."""
        return cls(TextLearnt.restore(description))
