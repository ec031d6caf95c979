"""How large a term of a weight's gradient is, for many loss times at once."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.backends.cpu.combined import Combined, Factors, factors
from bptt.backends.point import pulled
from bptt.compiler.compiled import Compiled
from bptt.compiler.record import Ref
from bptt.course import Course
from bptt.fused.job import Values
from bptt.fused.terms import Term, Terms

Fixed = dict[Ref, Tensor]


class _Group(NamedTuple):
    """Terms of one d.

    Attributes:
        row: the node d.
        count: how many rows of products d has for each sequence.
        factors: R of each term.
        weights: that of each term.
    """

    row: int
    count: int
    factors: Factors
    weights: tuple[int, ...]


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
        found = factors([self._factor(term.source, count) for term in members])
        return _Group(row, count, found, tuple(term.weight for term in members))

    def _factor(self, source: int | None, count: int) -> tuple[Tensor, bool]:
        """(T, r, B * count) R, or s^T itself where that has no more rows; whether it is R."""
        columns = self._batch * count
        if source is None:
            return torch.ones(self._steps, 1, columns, dtype=self._dtype), False
        rows = self._sources[source]
        turned = rows.reshape(self._steps, columns, rows.shape[-1]).transpose(1, 2)
        few = turned.shape[1] <= columns
        return (turned, False) if few else (torch.linalg.qr(turned, mode="r").R, True)

    def begin(
        self,
        rows: Sequence[int],
        span: slice,
        live: tuple[Tensor, Tensor],
        copies: int,
        totals: Values,
    ) -> "Weighing":
        """The norms of some terms at some steps.

        Args:
            rows: the d of those terms.
            span: the L steps.
            live: of each step the first loss time that goes through it, and the end of them.
            copies: M, how many loss times there are.
            totals: (T, B, ...), what the sum over loss times of some of the d is added to.
        """
        waiting = {node: total[span] for node, total in totals.items()}
        found = []
        for group in self._groups:
            if group.row in rows:
                width = _size(self._graph[group.row].shape) // group.count
                total = waiting.pop(group.row, None)
                given = group.factors.at(span), group.count, width, live, copies, total
                found.append((group, Combined(*given)))
        return Weighing(found)


class Weighing:
    """The norms of terms, a window of steps after the other.

    Args:
        groups: those of the terms, with what weighs each.
    """

    def __init__(self, groups: Sequence[tuple[_Group, Combined]]) -> None:
        self._groups = groups

    def weigh(self, rows: dict[int, Tensor], first: int) -> None:
        """Go through a window.

        Args:
            rows: by node, d there: (l, B, M, ...), anything where no loss time goes.
            first: its first step, from that of all.
        """
        for group, combined in self._groups:
            combined.weigh(rows[group.row].contiguous(), first)

    def norms(self) -> dict[int, Tensor]:
        """(L, M) by weight; 0 where no loss time goes."""
        found: dict[int, Tensor] = {}
        for group, combined in self._groups:
            for weight, own in zip(group.weights, combined.norms().unbind(2), strict=True):
                found[weight] = torch.hypot(found[weight], own) if weight in found else own
        return found


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
