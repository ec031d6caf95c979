"""The runs back of one window of a stream: those of the blocks that end in it."""

from typing import NamedTuple

import torch
from torch import Tensor

from bptt.methods import Full, Truncated
from bptt.methods.spans import Spans, Way


class Blocks(NamedTuple):
    """A method for a window, and for as many steps before it as its blocks reach.

    Attributes:
        method: as the stream has it.
        begin, end: of the window, in steps from the stream's start.
        last: whether the sequence ends at `end`.
    """

    method: Truncated
    begin: int
    end: int
    last: bool

    @property
    def first(self) -> int:
        """The first step that is reached."""
        ends = self.ends()
        return min(self.begin, max(0, ends[0] - self.method.k2)) if ends else self.begin

    @property
    def kept(self) -> int:
        """How many of the last steps a later block may reach: one may end with the next step."""
        return min(self.end, self.method.k2 - 1)

    def ends(self) -> list[int]:
        """Where blocks end in the window."""
        k1 = self.method.k1
        ends = list(range((self.begin // k1 + 1) * k1, self.end + 1, k1))
        return [*ends, self.end] if self.last and self.end % k1 else ends

    @property
    def way(self) -> Way:
        """Itself; or Full, where the window is one block whose losses all go back to its start."""
        block = (self.end - 1) // self.method.k1 * self.method.k1
        reached = max(self.end - self.method.k2, 0)
        one = block == reached == self.begin and self.ends() == [self.end]
        return Full() if one and self.method.losses == "new" else self

    @property
    def alike(self) -> "Blocks":
        """The first window with the same runs, seen from where each window begins."""
        k1, k2 = self.method.k1, self.method.k2
        period = k1 * -(-k2 // k1)  # phases come again
        less = max((self.begin - k2) // period, 0) * period
        return self._replace(begin=self.begin - less, end=self.end - less)

    def spans(self, counts: Tensor) -> Spans:
        """The runs, for sequences of `counts` steps, which are all the same."""
        k1, k2, losses = self.method.k1, self.method.k2, self.method.losses
        end = torch.tensor(self.ends(), dtype=torch.int64, device=counts.device)
        block = (end - 1) // k1
        new = end - block * k1 if losses == "new" else torch.ones_like(end)
        together = -(-k2 // k1)
        phase = torch.where(end % k1 == 0, block % together, together)
        parts = end - self.first, end.clamp(max=k2), new, torch.zeros_like(end).bool(), phase
        batch = len(counts)
        sequence = torch.arange(batch, device=counts.device).repeat_interleave(len(end))
        return Spans(sequence, *(part.repeat(batch) for part in parts))
