"""Loss times that go back together, and what they leave at the steps that they go through.

M loss times go back as M rows of every sequence. They read what the forward pass has left where it
lies, the same for all of them; what each leaves is its own: its *trail*. Each begins one step
before its loss, with what its own step has left. They go through a window of steps at a time, so
that trails stay in the cache next to the core until they have been weighed.

Trails are by step, sequence and loss time, (L, B, M, ...), in this order.
"""

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.backends.cpu import kernel
from bptt.fused.job import Values
from bptt.fused.loop import Rows, compiled, loop
from bptt.fused.shared import Shared
from bptt.fused.terms import Leaves

MEMORY = 1 << 22  # bytes of the trails of a window


class Call(NamedTuple):
    """A loop's call that is made again and again, and where its carries begin and end."""

    prepared: kernel.Prepared
    begin: Rows
    end: Rows


class Work:
    """What loss times work in, those after others too.

    Attributes:
        rooms: by memory, where a window's trails lie.
        calls: by shape of a window.
    """

    def __init__(self) -> None:
        self.rooms: Rows = {}
        self.calls: dict[tuple[int, ...], Call] = {}


class Trails:
    """Loss times that go back together.

    Args:
        shared: what all loss times share.
        work: what those that went back before have used.
        times: (M,) the loss times, ascending.

    Attributes:
        count: M.
        span: the steps that they go through, their own included.
    """

    def __init__(self, shared: Shared, work: Work, times: Tensor) -> None:
        self.shared, self.course, self._work = shared, shared.course, work
        self.times, self.count = times, len(times)
        self._low, self._high = int(times[0]), int(times[-1]) + 1
        reverse = self.course.reverse
        self.span = slice(self._low, shared.longest) if reverse else slice(0, self._high)
        self._width = self.course.batch * self.count
        self._sequence = torch.arange(self.course.batch).repeat_interleave(self.count)
        self._begin = times.repeat(self.course.batch)
        self._carry = self._entered()
        found = shared.terms
        small = {node for _, node in (*found.state_norms, *found.input_norms)}
        kept = found.direction.kept
        self._small = {part.name: part.node for part in kept if part.node in small}
        self._whole = found.looks_everywhere
        self._large = {part.name: part for part in kept if part.node not in small}
        whole = (self.span.stop - self.span.start) * self._width
        self._norms = {name: torch.empty(whole, 1, dtype=self._dtype) for name in self._small}
        names = found.direction.names.sequence
        own = {name: shared.reads[name].repeat_interleave(self.count, 0) for name in names}
        self._reads = {**shared.reads, **shared.without_losses, **own}

    @property
    def _dtype(self) -> torch.dtype:
        return self.shared.compiled.dtype

    def shape(self, window: slice) -> torch.Size:
        """L, B and M."""
        return torch.Size((window.stop - window.start, self.course.batch, self.count))

    def _steps(self, window: slice) -> tuple[int, int]:
        """L and B."""
        return window.stop - window.start, self.course.batch

    def windows(self) -> Iterator[slice]:
        """The steps, as they are gone through: back in time, or ahead in reverse."""
        size = self._size()
        low, high = self.span.start, self.span.stop
        if self.course.reverse:
            for first in range(low, high, size):
                yield slice(first, min(first + size, high))
        else:
            for last in range(high, low, -size):
                yield slice(max(last - size, low), last)

    def _size(self) -> int:
        """How many steps a window has at most."""
        return min(self._most() // self._width, self.shared.longest)

    def _most(self) -> int:
        """How many rows of a window are held: as many as fit, but one step's at least."""
        row = sum(math.prod(part.shape) for part in self._large.values()) * self._dtype.itemsize
        return max(MEMORY // max(row, 1), self._width)

    def run(self, window: slice) -> Values:
        """Go through a window; what each loss time leaves there, (L, B, M, ...) by node."""
        kept, direction = self._room(window), self.shared.terms.direction
        if self.enters(window):
            self._go(window, self._rows(window), kept)
            for name in self._large if self._whole else ():
                self._complete(window, name, kept[name])
        elif self.shared.inside is None and direction.loop.stages:
            self._go_on(window, kept)
        else:
            self._go(window, self._rows(window), kept)
        vectors = self.shared.by_node({name: kept[name] for name in self._large})
        return {node: leaf.unflatten(0, self.shape(window)) for node, leaf in vectors.items()}

    def complete(self) -> None:
        """Once all windows are done: what is known of norms at every step of the span."""
        for name, leaf in self._norms.items():
            self._complete(self.span, name, leaf)

    def norm(self, leaves: Leaves, window: slice) -> Tensor | None:
        """(L, M, B) the norm over some leaves, which the loop has kept the norm of each of."""
        nodes = {node: name for name, node in self._small.items()}
        kept = [self._norms[nodes[node]][self._part(window)] for _, node in leaves if node in nodes]
        sizes = [leaf.view(self.shape(window)).transpose(1, 2).double() for leaf in kept]
        return functools.reduce(torch.hypot, sizes) if sizes else None

    def live(self) -> tuple[Tensor, Tensor]:
        """(L,) of each step the first loss time that comes there from another, and their end."""
        steps = torch.arange(self.span.start, self.span.stop)
        if self.course.reverse:
            return torch.zeros_like(steps), torch.searchsorted(self.times, steps)
        return torch.searchsorted(self.times, steps, right=True), torch.full_like(steps, self.count)

    def take(self, node: int, window: slice, vectors: Values) -> Tensor:
        """(L, B, M, ...) a value at a window's steps, as each of the loss times meets it."""
        if node in vectors:
            return vectors[node]
        value = self.shared.values[node].unflatten(0, (self.course.steps, self.course.batch))
        if node not in self.shared.terms.seeded:
            return value[window].unsqueeze(2).expand(self.shape(window) + value.shape[2:])
        found = value.new_zeros(self.shape(window) + value.shape[2:])
        times, own = self.within(window)
        found[times - window.start, :, own] = value[times]
        return found

    def within(self, window: slice) -> tuple[Tensor, Tensor]:
        """The loss times in a window, and their numbers."""
        own = ((window.start <= self.times) & (self.times < window.stop)).nonzero().flatten()
        return self.times[own], own

    def past(self, window: slice) -> Tensor:
        """(L, M) whether a step is one that a loss time does not go through."""
        steps = torch.arange(window.start, window.stop)[:, None]
        return steps < self.times if self.course.reverse else steps > self.times

    def _entered(self) -> Rows:
        """By carry, what goes on from the loss times' own steps, (B * M, width)."""
        goes = ~self.shared.starts.ends(self.times)[..., None]
        shape = self.course.steps, self.course.batch
        return {
            name: torch.where(goes, leaf.unflatten(0, shape)[self.times], 0.0)
            .transpose(0, 1)
            .flatten(0, 1)
            for name, leaf in self.shared.entered.items()
        }

    def _rows(self, window: slice) -> kernel.Rows:
        """Who goes through which steps of a window."""
        if self.course.reverse:
            start = (self._begin + 1).clamp(min=window.start)
            steps = (window.stop - start).clamp(min=0)
        else:
            start = (self._begin - 1).clamp(max=window.stop - 1)
            steps = (start - window.start + 1).clamp(min=0)
        start = torch.where(steps > 0, start - window.start, 0)
        way = 1 if self.course.reverse else -1
        return kernel.Rows(self._sequence, start, steps, way, apart=True)

    def enters(self, window: slice) -> bool:
        """Whether a loss time begins in a window, so that not all rows go through all of it."""
        return self._low < window.stop and window.start < self._high

    def _at(self, window: slice) -> Rows:
        """What the loop reads at each step of a window."""
        part = slice(window.start * self.course.batch, window.stop * self.course.batch)
        names = self.shared.terms.direction.names.step
        return {name: self._reads[name][part] for name in names}

    def _go(self, window: slice, rows: kernel.Rows, kept: Rows) -> None:
        shared = self.shared
        ends = {name: torch.empty_like(leaf) for name, leaf in self._carry.items()}
        reset = None
        if shared.inside is not None:
            dropped = {name: torch.zeros_like(leaf) for name, leaf in self._carry.items()}
            reset = shared.inside[window], dropped, "leave"
        given, shape = {**self._reads, **self._at(window), **kept}, self._steps(window)
        loop(shared.job, shared.terms.direction, given, shape, rows, self._carry, ends, reset)
        self._carry = ends

    def _go_on(self, window: slice, kept: Rows) -> None:
        """The same where all rows go through all steps: by a call that is made again and again."""
        shared, shape = self.shared, self.shape(window)
        known, reads = self._work.calls.get(shape), self._at(window)
        first = known is None
        if known is None:
            begin, end = ({n: torch.empty_like(leaf) for n, leaf in self._carry.items()}
                          for _ in range(2))  # fmt: skip
            made = compiled(shared.job, shared.terms.direction)
            given, rows = {**self._reads, **reads, **kept}, self._rows(window)
            call = made.prepare(given, rows, begin, end, shape=self._steps(window))
            known = self._work.calls[shape] = Call(call, begin, end)
        for name, memory in {**reads, **{n: kept[n] for n in self._small}}.items():
            known.prepared.move(name, memory)
        for name, leaf in known.begin.items():
            leaf.copy_(self._carry[name])
        known.prepared.run(pack=first)
        self._carry = known.end

    def _room(self, window: slice) -> Rows:
        """Where trails are stored."""
        found = {name: leaf[self._part(window)] for name, leaf in self._norms.items()}
        for name, part in self._large.items():
            known = self._work.rooms.get(name)
            if known is None:  # for all: the first have as many loss times as any
                rows = min(self._most(), self.shared.longest * self._width)
                known = torch.empty(rows, *part.shape, dtype=self._dtype)
                self._work.rooms[name] = known
            found[name] = known[: self.shape(window).numel()]
        return found

    def _complete(self, window: slice, name: str, kept: Tensor) -> None:
        """Zeros where no loss time has been, and what each has left at its own step."""
        trail = kept.view(*self.shape(window), -1)
        part = slice(max(self._low, window.start), min(self._high, window.stop))
        rows = trail[part.start - window.start : part.stop - window.start]
        rows.masked_fill_(self.past(part)[:, None, :, None], 0.0)
        node = self.shared.terms.direction.names.kept[name]
        first = self.shared.first[node].to(trail.dtype)
        first = first.reshape(self.course.steps, self.course.batch, -1)
        times, own = self.within(window)
        trail[times - window.start, :, own] = first[times]

    def _part(self, window: slice) -> slice:
        """The rows of a window among those of all steps gone through."""
        first, last = window.start - self.span.start, window.stop - self.span.start
        return slice(first * self._width, last * self._width)
