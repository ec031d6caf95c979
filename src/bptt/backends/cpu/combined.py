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

    def at(self, window: slice) -> "Factors":
        """Those of some steps."""
        return Factors(self.numbers[window], self.sizes[window], self.ends)


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


def norms(
    d: Tensor, given: Factors, live: tuple[Tensor, Tensor], total: Tensor | None = None
) -> Tensor:
    """(L, M, parts) ||R d|| in float64, for numbers of any size; 0 for copies that are not live.

    Args:
        d: (L, B, M, count, N) contiguous: a copy's rows are the B * count ones that it has at a
            step; those of copies that are not live may hold anything.
        given: R at the L steps, with C = B * count.
        live: of each step the first live copy, and the end of them, (L,) int64 each.
        total: (L, B, count, N) contiguous; the sum of d over live copies is added to it.

    Example:
        >>> R = factors([(torch.ones(1, 1, 2), False)])
        >>> live = torch.tensor([0]), torch.tensor([1])
        >>> norms(torch.tensor([3.0, 0, 0, 4]).view(1, 2, 1, 1, 2), R, live)
        tensor([[[5.]]], dtype=torch.float64)
    """
    steps, batch, copies, count, width = d.shape
    parts, height = len(given.ends), given.numbers.shape[1]
    squares, units = d.new_zeros(steps, copies, parts), d.new_zeros(steps, copies)
    code, lanes = _code(d.dtype, simd.machine().name)
    vectors = -(-width // lanes)
    held = (2 * batch * count * vectors + parts) * lanes * d.itemsize
    reach = HEAD + -(-held // HEAD) * HEAD
    effort = given.numbers[0].numel() * vectors * steps * copies
    shares = max(min(torch.get_num_threads(), steps, effort // SHARE), 1)
    buffer = scratch.take(shares * reach)
    places = {
        "d": d, "factors": given.numbers, "ends": given.ends, "first": live[0], "last": live[1],
        "squares": squares, "units": units, "scratch": buffer,
    }  # fmt: skip
    told = {name: place.data_ptr() for name, place in places.items()}
    told |= {"steps": steps, "batch": batch, "copies": copies, "count": count, "width": width}
    told |= {"height": height, "parts": parts, "reach": reach}
    told["totals"] = 0 if total is None else total.data_ptr()
    block = array.array("q", [told.get(name, 0) for name in SLOTS])
    try:
        simd.run(code, block.buffer_info()[0], shares)
    finally:
        scratch.give_back(buffer)
    return squares.double().sqrt() * units.double()[..., None] * given.sizes[:, None]


@functools.cache
def _code(dtype: torch.dtype, machine: str) -> tuple[int, int]:
    """The kernel's address and its lanes; kernels are made for one machine, so it is in the key."""
    here, name = simd.machine(), str(dtype).removeprefix("torch.")
    made = simd.build(source(here.registers, name), ("weigh",), dtype)
    return made.addresses["weigh"], here.lanes[name]
