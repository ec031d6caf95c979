"""What the forward pass has left, once for each of some loss times that go back together.

Rows are steps, sequences and loss times, (L, B, M), in this order.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bptt.backends.cpu import kernel
from bptt.fused.loop import Rows, loop

if TYPE_CHECKING:
    from bptt.fused.each import Back


class Copies:
    """What the forward pass has left, once for each of M loss times, and room for what they leave.

    Args:
        back: the way back.
        count: M.
    """

    def __init__(self, back: "Back", count: int) -> None:
        self.back, self.count, self.course = back, count, back.course
        direction, found = back.terms.direction, back.terms
        names = direction.names
        reads = {node: back.reads[name] for name, node in names.step.items()}
        more = (*found.rows.given, *(found.sums.given if found.mixed else ()))
        given = {
            n: back.values[n] for n in more if n in back.values and n not in names.kept.values()
        }
        whole = {**given, **reads}
        self.late = {node for node in whole if node in direction.linear}
        self.whole = {n: whole[n].unflatten(0, (self.course.steps, -1)) for n in self.late}
        self.rows = {
            node: torch.zeros_like(self._copied(value))
            if node in self.late
            else self._copied(value)
            for node, value in whole.items()
        }
        same = {name: back.reads[name] for name in names.fixed}
        rows = {name: back.reads[name].repeat_interleave(count, 0) for name in names.sequence}
        self.reads = {**same, **rows}
        self.kept = back.kept(self.course.steps * self.course.batch * count)
        self.begin = back.carries(self.course.batch * count)
        self.end = back.carries(self.course.batch * count)
        self.ends = self._ends()

    def run(self, times: Tensor, window: slice) -> Rows:
        """Take the loss times back through the steps of a window; what the loop has kept."""
        back, own = self.back, torch.arange(self.count)
        for node in self.late:
            value = self.rows[node].unflatten(0, (self.course.steps, self.course.batch, self.count))
            value[times, :, own] = self.whole[node][times]
        names = back.terms.direction.names.step
        steps = {name: self._window(self.rows[node], window) for name, node in names.items()}
        kept = {name: self._window(leaf, window) for name, leaf in self.kept.items()}
        reset = None
        if self.ends is not None:
            reset = self.ends[window], self.end, "leave"
        shape = window.stop - window.start, self.course.batch * self.count
        start = (times - window.start).expand(self.course.batch, -1).flatten()
        steps_of = shape[0] - start if self.course.reverse else start + 1
        way = 1 if self.course.reverse else -1
        rows = kernel.Rows(None, start, steps_of, way)
        given = {**self.reads, **steps, **kept}
        ends = {name: torch.empty_like(leaf) for name, leaf in self.end.items()}
        loop(back.ran.job, back.terms.direction, given, shape, rows, self.begin, ends, reset)
        return kept

    def clear_past(self, leaf: Tensor, times: Tensor, window: slice) -> None:
        """Zero where a loss has not entered yet: nothing was stored there."""
        low, high = int(times[0]), int(times[-1])
        part = slice(low, high) if self.course.reverse else slice(low + 1, high + 1)
        steps = torch.arange(part.start, part.stop)[:, None]
        past = steps < times if self.course.reverse else steps > times
        rows = leaf.unflatten(0, (-1, self.course.batch, self.count))
        rows = rows[part.start - window.start : part.stop - window.start]
        rows.masked_fill_(past.reshape(len(past), 1, len(times), *[1] * (rows.dim() - 3)), 0.0)

    def take(self, nodes: Sequence[int], window: slice, kept: Rows) -> list[Tensor]:
        """Values of the window's rows."""
        known = self.back.by_node(kept)
        return [known[n] if n in known else self._window(self.rows[n], window) for n in nodes]

    def clear(self, times: Tensor) -> None:
        """Take the losses of these times out again."""
        own = torch.arange(self.count)
        for node in self.late:
            value = self.rows[node].unflatten(0, (self.course.steps, self.course.batch, self.count))
            value[times, :, own] = 0.0

    def _copied(self, value: Tensor) -> Tensor:
        if self.count == 1:
            return value
        return value.unsqueeze(1).expand(-1, self.count, *value.shape[1:]).flatten(0, 1)

    def _window(self, rows: Tensor, window: slice) -> Tensor:
        width = self.course.batch * self.count
        return rows[window.start * width : window.stop * width]

    def _ends(self) -> Tensor | None:
        """(T, B * M) where adjoints end before the first step of all."""
        course = self.course
        if course.reset is None and not (course.reverse and course.lengths is not None):
            return None
        ends = self.back.starts.ends(torch.arange(course.steps))
        return ends.repeat_interleave(self.count, 1)
