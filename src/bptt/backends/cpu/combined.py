"""Norms of combinations of rows, R d, by a kernel that stores nothing of them."""

import array
import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.backends.cpu import scratch, simd
from bptt.backends.cpu.combining import HEAD, RANGE, SLOTS, source
from bptt.backends.cpu.rows import SHARE


class Factors(NamedTuple):
    """What rows are multiplied with at each of T steps.

    Attributes:
        numbers: (T, r, C) R, its parts one below the other, each brought near 1.
        sizes: (T, parts) what each was divided by, in float64.
        ends: (parts, 2) int64: where a part ends, and whether it is upper triangular.
    """

    numbers: Tensor
    sizes: Tensor
    ends: Tensor

    def at(self, span: slice) -> "Factors":
        """Those of some steps."""
        return self._replace(numbers=self.numbers[span], sizes=self.sizes[span])


def factors(parts: Sequence[tuple[Tensor, bool]]) -> Factors:
    """Parts (T, r, C), each with whether it is upper triangular."""
    scaled, sizes, ends, end = [], [], [], 0
    for part, triangular in parts:
        most = RANGE[str(part.dtype).removeprefix("torch.")]
        size = part.abs().amax((1, 2)).clamp(1 / most, most)
        scaled.append(part / size[:, None, None])
        sizes.append(size.double())
        end += part.shape[1]
        ends.append((end, int(triangular)))
    return Factors(torch.cat(scaled, 1), torch.stack(sizes, 1), torch.tensor(ends))


class Combined:
    """Norms of R d in float64, for numbers of any size, some of L steps at a time.

    Args:
        given: R at the L steps, for C = B * count rows of d.
        count: rows of d that each of the B sequences has.
        width: columns of d.
        live: of each step the first copy that has a d there, and the end of them, (L,) int64 each.
        copies: M.
        total: (L, B, count, width) contiguous; the sum of d over copies is added to it.

    Example:
        >>> R = factors([(torch.ones(1, 1, 2), False)])
        >>> made = Combined(R, 1, 2, (torch.tensor([0]), torch.tensor([1])), copies=1)
        >>> made.weigh(torch.tensor([3.0, 0, 0, 4]).view(1, 2, 1, 1, 2), 0)
        >>> made.norms()
        tensor([[[5.]]], dtype=torch.float64)
    """

    def __init__(
        self,
        given: Factors,
        count: int,
        width: int,
        live: tuple[Tensor, Tensor],
        copies: int,
        total: Tensor | None = None,
    ) -> None:
        steps, height, columns = given.numbers.shape
        parts, size = len(given.ends), given.numbers.itemsize
        self._squares = given.numbers.new_zeros(steps, copies, parts)
        self._units, self._sizes = given.numbers.new_zeros(steps, copies), given.sizes
        self._code, lanes = _code(given.numbers.dtype, simd.machine().name)
        vectors = -(-width // lanes)
        self._reach = HEAD + -(-(2 * columns * vectors + parts) * lanes * size // HEAD) * HEAD
        self._effort = height * columns * vectors * copies
        told = {"batch": columns // count, "copies": copies, "count": count, "width": width}
        told |= {"height": height, "parts": parts, "ends": given.ends.data_ptr()}
        self._block = array.array("q", [told.get(name, 0) for name in SLOTS])
        by_step = {
            "factors": given.numbers, "first": live[0], "last": live[1], "totals": total,
            "squares": self._squares, "units": self._units,
        }  # fmt: skip
        self._by_step = [
            (SLOTS.index(name), leaf.data_ptr(), leaf[0].nbytes)
            for name, leaf in by_step.items()
            if leaf is not None
        ]
        self._owners = given, live, total

    def weigh(self, d: Tensor, first: int) -> None:
        """Go through some steps.

        Args:
            d: (l, B, M, count, width) contiguous; of copies that are not live it may hold anything.
            first: the first of the l steps.
        """
        shares = max(min(torch.get_num_threads(), len(d), self._effort * len(d) // SHARE), 1)
        buffer = scratch.take(shares * self._reach)
        told = {"claimed": 0, "shares": 0, "steps": len(d), "d": d.data_ptr()}
        told |= {"scratch": buffer.data_ptr(), "reach": self._reach}
        for name, value in told.items():
            self._block[SLOTS.index(name)] = value
        for slot, address, stride in self._by_step:
            self._block[slot] = address + first * stride
        try:
            simd.run(self._code, self._block.buffer_info()[0], shares)
        finally:
            scratch.give_back(buffer)

    def norms(self) -> Tensor:
        """(L, M, parts) of every part of R; 0 for copies that are not live."""
        units = self._units.double()[..., None] * self._sizes[:, None]
        return self._squares.double().sqrt() * units


@functools.cache
def _code(dtype: torch.dtype, machine: str) -> tuple[int, int]:
    """The kernel's address and its lanes; kernels are made for one machine, so it is in the key."""
    here, name = simd.machine(), str(dtype).removeprefix("torch.")
    made = simd.build(source(here.registers, name), ("weigh",), dtype)
    return made.addresses["weigh"], here.lanes[name]
