"""Characters as codes, and all that a text task learns from its training part."""

import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bptt.errors import DataWarning
from bptt.tasks.baselines import CharacterCounts
from bptt.tasks.encoding import listed

UNKNOWN = 0


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

    def encode_new(self, text: str, source: str) -> NDArray[np.int64]:
        """(N,) codes of a text from elsewhere; a DataWarning says which characters are unknown."""
        codes = self.encode(text)
        strange = [text[i] for i in np.flatnonzero(codes == UNKNOWN)]
        if strange:
            warnings.warn(
                f"{source} has {listed(sorted(set(strange)))}, which training never had: "
                f"{len(strange):,} of {len(text):,} characters are read as unknown.",
                DataWarning,
                stacklevel=3,
            )
        return codes

    def decode(self, codes: NDArray[np.int64]) -> str:
        """The characters of (N,) codes, a replacement character for what is unknown."""
        return "".join(self.characters[code - 1] if code else "\ufffd" for code in codes)


def _code_points(text: str) -> NDArray[np.int64]:
    # surrogatepass: a prompt typed in a terminal may hold what no text file can
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.int64)


@dataclass(frozen=True)
class TextLearnt:
    """The characters of the training part, how often each came, and how the text is read.

    Attributes:
        vocabulary: the characters.
        counts: of single characters and of pairs.
        window: characters between two cuts of the gradient.
    """

    vocabulary: Vocabulary
    counts: CharacterCounts
    window: int

    def describe(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "window": self.window,
            "characters": self.vocabulary.characters,
            "counts": self.counts.describe(),
        }

    @classmethod
    def restore(cls, description: dict[str, Any]) -> Self:
        """What `describe` gave."""
        counts = CharacterCounts.restore(description["counts"])
        return cls(Vocabulary(description["characters"]), counts, description["window"])
