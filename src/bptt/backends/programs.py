"""Steps' ways back as programs: those that are known, and what one leaves to be summed later."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bptt.compiler.program import Program

# Rows whose shares of the weights' gradients are summed at once, and at most so many steps of them:
# enough to make one large product of many small ones, few enough to weigh nothing in memory.
ROWS, STEPS = 128, 16
# Where they take up more than the weights do: the rows of one step in so many.
SHARE = 8


class Programs:
    """Of the ways back through a step, by what is asked of it.

    Attributes:
        found: those that gave what autograd gave, when they were last compared with it.
        proved: what is asked of those among them that did so in a call that had not written them.
    """

    def __init__(self) -> None:
        self.found: dict[Any, Program] = {}
        self.proved: set[Any] = set()

    def sure(self, asked: Any) -> Program | None:
        """One that has been proved; another thread may be comparing it once more."""
        return self.found.get(asked) if asked in self.proved else None

    def take(self, asked: Any) -> Program | None:
        """One that is to be compared; it is out until it is put back."""
        self.proved.discard(asked)
        return self.found.pop(asked, None)


class Rows:
    """Of steps that were replayed: rows that are yet to be summed for the weights' gradients.

    Args:
        program: that replays them.
        values: what it makes of the weights.
        steps: how many there are in all.
        room: numbers that rows may take up however few steps there are.
    """

    def __init__(self, program: Program, values: tuple, steps: int, room: int) -> None:
        self._program, self._values = program, values
        self._few, self._room = steps // SHARE, room
        self._steps: list[tuple[Tensor, ...]] = []
        self._most: int | None = None  # steps that are enough, once one is there to tell
        self.places = program.late

    def add(self, rows: tuple[Tensor, ...]) -> None:
        """Those of one step."""
        if rows:
            self._steps.append(rows)

    def __len__(self) -> int:
        return len(self._steps)

    def enough(self) -> bool:
        """Whether they make a large product, or weigh something in memory."""
        steps = self._steps
        if not steps:
            return False
        if self._most is None:
            self._most = self._enough(steps[0])
        return len(steps) >= self._most

    def _enough(self, rows: tuple[Tensor, ...]) -> int:
        """How many steps are enough, all alike."""
        large = min(STEPS, -(-ROWS // max(1, len(rows[0]))))
        numbers = sum(row.numel() for row in rows)
        heavy = max(self._few, self._room // numbers + 1) if numbers else large
        return min(large, heavy)

    def sums(self, shares: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The weights' shares with those of all rows put in their places; none are left."""
        rows = self._steps[0]
        if len(self._steps) > 1:
            rows = [torch.cat(steps) for steps in zip(*self._steps, strict=True)]
        self._steps.clear()
        found = list(shares)
        for place, share in zip(
            self.places, self._program.after(*rows, *self._values), strict=True
        ):
            found[place] = share
        return found
