"""The exact gradient within a memory budget."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from bptt.draws import BLOCK
from bptt.errors import ArgumentError, StructureError
from bptt.methods import binomial

UNITS = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30,
}  # fmt: skip
SLOWER = 1.05  # beside the least effort: smaller segments stay in the processor's caches
CALL = 512  # steps that take about as long as what one call costs whatever its length


@dataclass(frozen=True)
class Checkpointed:
    """Exact back-propagation through time that keeps few states and runs steps again.

    States are kept at borders of segments; on the way back each segment is run once more, and with
    little memory several times, in the order that costs the fewest runs. States have the bits of
    `Full`, gradients are equal within rounding, and noise and dropout are drawn again as they were.

    Args:
        memory: what may be used besides the caller's tensors (inputs, outputs, their gradients and
            the weights'): bytes, or a number and a unit, "64MB", "256 kB", "1.5 GiB".
        segments: in place of a budget, how many segments; every border is kept.

    Raises:
        ArgumentError: (a ValueError) not one of the two, or not a positive amount.
        StructureError: (a TypeError) of another type.

    Source: Griewank & Walther 2000, "Algorithm 799: revolve". Segments end at multiples
    of 64 steps.

    >>> import torch, bptt
    >>> x = torch.randn(1000, 2, 3)
    >>> outputs, _ = bptt.unroll(bptt.cells.GRU(3, 8), x, method=Checkpointed("300kB"))
    >>> outputs.square().mean().backward()
    """

    memory: str | int | None = None
    segments: int | None = None

    def __post_init__(self) -> None:
        if (self.memory is None) == (self.segments is None):
            raise ArgumentError(
                "Checkpointed: expected either memory, as in Checkpointed(memory='64MB'), or "
                f"segments, as in Checkpointed(segments=8), got {self._given()}."
            )
        if self.segments is not None:
            _check_integer("segments", self.segments)
        self.budget  # noqa: B018  unreadable memory is refused here

    def _given(self) -> str:
        return "neither" if self.memory is None else "both"

    @property
    def budget(self) -> int | None:
        """In bytes; None where the number of segments is given."""
        if self.memory is None:
            return None
        if isinstance(self.memory, str):
            return _bytes(self.memory)
        _check_integer("memory", self.memory)
        return self.memory

    @property
    def alike(self) -> "Checkpointed":
        """A hashable way with the same runs: itself."""
        return self

    def spans(self, counts: Tensor) -> None:
        """No runs of their own: every loss goes back to the first step."""

    def layout(self, steps: int, costs: "Costs") -> "Layout":
        """Where a sequence is cut, and how many states are held.

        Raises:
            ArgumentError: (a ValueError) the budget does not hold the least that is needed.
        """
        if self.segments is not None:
            blocks = max(steps // BLOCK, 1)
            length = -(-blocks // self.segments) * BLOCK
            count = _count(steps, length)
            return Layout(steps, length, count, count - 1, costs)
        return _fitting(steps, costs, self.budget or 0)


class Costs(NamedTuple):
    """Bytes.

    Attributes:
        fixed: whatever the length.
        state: of one state that is held.
        step: of one step of the segment that is gone through.
    """

    fixed: int
    state: int
    step: int


class Layout(NamedTuple):
    """A sequence cut in segments.

    Attributes:
        steps: of the whole.
        length: steps of a segment; the last may have fewer, or less than a block more.
        count: segments.
        slots: states that may be held besides the first and the one that is on the run.
        costs: what it was laid out by.
    """

    steps: int
    length: int
    count: int
    slots: int
    costs: Costs

    @property
    def longest(self) -> int:
        """Steps of the longest segment."""
        rest = self.steps - (self.count - 1) * self.length
        return rest if self.count == 1 else max(self.length, rest)

    @property
    def bytes(self) -> int:
        """The most that is used at once."""
        held = min(self.slots, self.count - 1) + 2
        return self.costs.fixed + held * self.costs.state + self.longest * self.costs.step

    @property
    def again(self) -> int:
        """Steps that are run again on the way back."""
        first = self.count - 1
        return (binomial.advances(self.count, self.slots) - first + self.count) * self.length

    @property
    def effort(self) -> int:
        """Its time, in steps: one for a run, three for going through, and what calls cost."""
        runs = binomial.advances(self.count, self.slots)
        return runs * (self.length + CALL) + self.count * (3 * self.length + 2 * CALL)


def _fitting(steps: int, costs: Costs, budget: int) -> Layout:
    """The smallest that fits, of those that are about as quick as can be."""
    found = []
    for length in _lengths(steps):
        count = _count(steps, length)
        least = Layout(steps, length, count, 0, costs)
        slots = (budget - least.bytes) // max(costs.state, 1)
        if slots >= 0:
            found.append(least._replace(slots=min(slots, count - 1)))
    if not found:
        least = Layout(steps, BLOCK, _count(steps, BLOCK), 0, costs).bytes
        raise ArgumentError(
            f"memory: {spoken(budget)} is not enough for this cell and batch: the least is "
            f"{least} bytes ({spoken(least)}). Give more, or run fewer sequences at once."
        )
    enough = SLOWER * min(layout.effort for layout in found)
    return min((f for f in found if f.effort <= enough), key=lambda layout: layout.bytes)


def _count(steps: int, length: int) -> int:
    """How many segments; the last takes in a rest of less than a block.

    Products of a few rows go another way than those of many, and would give it other bits.
    """
    return max(-(-(steps - BLOCK + 1) // length), 1)


def _lengths(steps: int) -> list[int]:
    """64, 128, 192, 256, 384, 512, ...: two in each octave."""
    found, length = [], BLOCK
    while not found or found[-1] < steps:
        found.append(length)
        length = length * 3 // 2 if length & (length - 1) == 0 else length * 4 // 3
        length = -(-length // BLOCK) * BLOCK
    return found


def _bytes(text: str) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", text)
    if match is None or match[2].upper() not in UNITS:
        raise ArgumentError(
            f"memory: expected a number and one of B, kB, MB, GB, KiB, MiB, GiB, as in '64MB', got "
            f"{text!r}."
        )
    amount = int(float(match[1]) * UNITS[match[2].upper()])
    if amount < 1:
        raise ArgumentError(f"memory: expected more than nothing, got {text!r}.")
    return amount


def _check_integer(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise StructureError(f"{name}: expected an integer, got {value!r}.")
    if value < 1:
        raise ArgumentError(f"{name}: expected at least 1, got {value}.")


def spoken(amount: int) -> str:
    """Bytes as people say them.

    >>> spoken(256_000), spoken(1_500_000)
    ('256 kB', '1.5 MB')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if amount >= size:
            return f"{amount / size:.3g} {unit}"
    return f"{amount} bytes"
