"""How large a term of a weight's gradient is, for many loss times at once."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.backends.norms import near_one
from bptt.backends.point import pulled
from bptt.compiler.compiled import Compiled
from bptt.compiler.record import Ref
from bptt.course import Course
from bptt.fused.job import Values
from bptt.fused.terms import Term, Terms

Fixed = dict[Ref, Tensor]

ROOM = 1 << 18  # numbers of products R d that are there at once: they stay near the core


class _Group(NamedTuple):
    """Terms of one d.

    Attributes:
        row: the node d.
        count: how many rows of products d has for each sequence.
        factors: (T, r, B * count) every R, one below the other.
        parts: per term its weight, and its rows of the factors.
    """

    row: int
    count: int
    factors: Tensor
    parts: tuple[tuple[int, int, int], ...]


class Plain:
    """Norms of sum_b s_b d_b^T as those of R d, where s^T = Q R.

    Args:
        terms: of the step.
        values: what is there for all steps.
        fixed: what is made of fixed tensors alone.
        course: who steps when.
        dtype: of all numbers.
    """

    def __init__(
        self, terms: Terms, values: Values, fixed: Fixed, course: Course, dtype: torch.dtype
    ) -> None:
        self._graph, self._steps = terms.direction.columns.graph, course.steps
        self._batch, self._dtype = course.batch, dtype
        self._room = torch.empty(ROOM, dtype=dtype)
        named = dict.fromkeys(t.source for t in terms.plain if t.source is not None)
        given, rows = [values[node] for node in terms.sources.given], course.steps * course.batch
        found = terms.sources.run(given, fixed, course.steps, rows)
        self._sources = dict(zip(named, found, strict=True))
        groups: dict[tuple[int, int], list[Term]] = {}
        for term in terms.plain:
            shape = self._graph[term.row].shape
            count = 1 if term.source is None else _size(shape[:-1])
            groups.setdefault((term.row, count), []).append(term)
        self._groups = [self._group(*key, members) for key, members in groups.items()]

    def _group(self, row: int, count: int, members: Sequence[Term]) -> _Group:
        factors = [self._factor(term.source, count) for term in members]
        sizes = [factor.shape[1] for factor in factors]
        ends = list(itertools.accumulate(sizes))
        parts = tuple(
            (term.weight, end - size, end)
            for term, size, end in zip(members, sizes, ends, strict=True)
        )
        return _Group(row, count, torch.cat(factors, 1), parts)

    def _factor(self, source: int | None, count: int) -> Tensor:
        """(T, r, B * count) R, or s^T itself where that has no more rows."""
        columns = self._batch * count
        if source is None:
            return torch.ones(self._steps, 1, columns, dtype=self._dtype)
        rows = self._sources[source]
        turned = rows.reshape(self._steps, columns, rows.shape[-1]).transpose(1, 2)
        few = turned.shape[1] <= columns
        return turned.to(self._dtype) if few else torch.linalg.qr(turned, mode="r").R

    def rows(
        self,
        rows: dict[int, Tensor],
        window: slice,
        scale: Tensor | None = None,
        nothing: Tensor | None = None,
    ) -> dict[int, Tensor]:
        """By group (L, r, M), norms of the rows of R d.

        Args:
            rows: some of the d, (L, B, M, ...).
            window: the L steps.
            scale: (L,) what brings norms to about 1.
            nothing: (L, M) where d is known to be zero.
        """
        found = {}
        for number, (row, count, factors, _) in enumerate(self._groups):
            if row in rows:
                d = rows[row].to(self._dtype)
                d = d.reshape(*d.shape[:3], count, -1)
                factors = factors[window]
                if scale is not None:
                    factors = factors * scale.to(factors.dtype)[:, None, None]
                own = self._products(d, factors, nothing)
                found[number] = own if scale is None else own / scale.double()[:, None, None]
        return found

    def _products(self, d: Tensor, factors: Tensor, nothing: Tensor | None) -> Tensor:
        """(L, r, M) norms of the rows of R d, from d (L, B, M, count, N), R (L, r, B * count)."""
        steps, batch, copies, count, width = d.shape
        turned = d.transpose(2, 3).reshape(steps, batch * count, copies * width)
        found = torch.empty(steps, factors.shape[1], copies, dtype=torch.float64)
        step = max(found[:1].numel() * width, 1)
        if self._room.numel() < step:
            self._room = self._room.new_empty(step)
        size = self._room.numel() // step
        for first in range(0, steps, size):
            part = slice(first, min(first + size, steps))
            shape = part.stop - part.start, found.shape[1], copies * width
            room = self._room[: math.prod(shape)].view(shape)
            torch.bmm(factors[part], turned[part], out=room)
            zero = None if nothing is None else nothing[part, None]
            found[part] = near_one(room.view(*found[part].shape, width), zero)
        return found

    def norms(self, rows: dict[int, Tensor]) -> dict[int, Tensor]:
        """(L, M) by weight, from what `rows` gives."""
        found: dict[int, Tensor] = {}
        for number, own in rows.items():
            for weight, start, stop in self._groups[number].parts:
                norm = torch.linalg.vector_norm(own[:, start:stop], dim=1)
                known = found.get(weight)
                found[weight] = norm if known is None else torch.hypot(known, norm)
        return found

    def room(self, rows: Sequence[int], steps: int, copies: int) -> dict[int, Tensor]:
        """For what `rows` gives of some d: zeros."""
        return {
            number: torch.zeros(steps, group.factors.shape[1], copies, dtype=torch.float64)
            for number, group in enumerate(self._groups)
            if group.row in rows
        }


class Mixed:
    """Terms that have to be computed, by autograd from where weights meet rows.

    Args:
        compiled: the step.
        own: the tensors of its cell.
        terms: of the step.
        fixed: what is made of fixed tensors alone.
    """

    def __init__(
        self, compiled: Compiled, own: Sequence[Tensor], terms: Terms, fixed: Fixed
    ) -> None:
        self._terms, self._fixed = terms, fixed
        self._leaves = {
            place: own[place].detach().requires_grad_() for place in sorted(terms.mixed)
        }
        given = [self._leaves.get(i, tensor.detach()) for i, tensor in enumerate(own)]
        numbered = {
            ref: torch.full(_shape(compiled, ref), float(number))
            for number, ref in enumerate(terms.reached)
        }
        self._roots, seeds = compiled.weights.roots(given, numbered)
        self._order = [int(seed.flatten()[0]) for seed in seeds]

    def vectors(self, given: Sequence[Tensor]) -> dict[int, Tensor]:
        """(n, *shape) by weight, from what sums over rows are made of, (n, B, ...) each."""
        if not given:  # nothing reaches any of them
            return {}
        batch = given[0].shape[1]

        def sums(*rows: Tensor) -> tuple[Tensor, ...]:
            return tuple(self._terms.sums.run(list(rows), self._fixed, 1, batch))

        found = torch.vmap(sums)(*given)
        by_name = dict(zip(self._terms.reached, found, strict=True))
        pairs = [
            (root, found[number].reshape(-1, *root.shape))
            for root, number in zip(self._roots, self._order, strict=True)
        ]
        leaves = list(self._leaves.values())
        pulled_ones = zip(self._leaves, pulled(pairs, leaves), strict=True)
        vectors = {place: leaf for place, leaf in pulled_ones if leaf is not None}
        direct = {place: by_name[Ref(f"w{place}")] for place in self._leaves
                  if Ref(f"w{place}") in by_name}  # fmt: skip
        return {**vectors, **direct}


def _shape(compiled: Compiled, ref: Ref) -> tuple[int, ...]:
    step = compiled.step
    node = step.d_fixed[step.frontier.index(ref)]
    assert node is not None
    return step.graph[node].shape


def _size(shape: Sequence[int]) -> int:
    return torch.Size(shape).numel()
