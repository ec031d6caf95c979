"""A kernel's call that is ready to be made, again and again."""

import array
from typing import Any, NamedTuple

from torch import Tensor

from bptt.backends.cpu import crowd, simd
from bptt.backends.cpu.rows import Order


class Entries(NamedTuple):
    """A kernel's functions, by address, and the place of each of their arguments."""

    pack: int
    run: int
    slots: dict[str, int]


class Room(NamedTuple):
    """The memory that a call takes.

    Attributes:
        size: all of it, in bytes.
        weights: bytes of packed weights, which come first.
        reach: bytes of each share's buffers.
    """

    size: int
    weights: int
    reach: int


class Prepared:
    """A call on memories that stay where they are: it reads what they hold when it runs.

    One thread at a time may run it.

    Args:
        entries: of the kernel.
        block: its arguments; where the memories lie is written later.
        order: who runs when.
        room: what it takes.

    Attributes:
        values: the argument block.
        totals: of products over rows, (shares, K, N) each, which it fills.
        owners: the memories by name, and what else it must keep alive.
        shares: how many there are of the rows.
    """

    def __init__(self, entries: Entries, block: list[int], order: Order, room: Room) -> None:
        self._entries, self._order, self.room = entries, order, room
        self.owners: dict[str, Any] = {}
        self.totals: list[Tensor] = []
        self.shares = len(order.shares) - 1
        slots = entries.slots
        self.values = values = array.array("q", (*block, *order.shares))
        self._address, _ = values.buffer_info()
        self._counts = slots["claimed"], slots["met"], slots["naps"], slots["alone"]
        self._packed, self._scratch, self._pack = slots["packed"], slots["scratch"], slots["pack"]
        values[slots["shares"]] = self._address + 8 * len(block)
        values[slots["reach"]] = room.reach
        team = simd.torch_team() if order.members > 1 else None
        if team is not None:
            values[slots["team"]], values[slots["rest"]] = team.size, team.rest

    def use(self, buffer: Tensor) -> None:
        """Has it work in a buffer of `room.size` bytes."""
        place = buffer.data_ptr()
        self.values[self._packed], self.values[self._scratch] = place, place + self.room.weights

    def move(self, name: str, memory: Tensor) -> None:
        """Has a step memory lie elsewhere.

        Raises:
            ValueError: it is not of the kind and size of the one before.
        """
        was = self.owners[name]
        alike = memory.dtype is was.dtype and memory.numel() == was.numel()
        if not alike or not memory.is_contiguous():
            raise ValueError(
                f"expected {name} to be {was.numel()} contiguous numbers of {was.dtype}, got "
                f"{memory.dtype} of shape {tuple(memory.shape)} with strides {memory.stride()}"
            )
        self.owners[name] = memory
        self.values[self._entries.slots[name]] = memory.data_ptr()

    def run(self, pack: bool = True) -> None:
        """Runs the rows through their steps; `pack`: weights may have changed since last time."""
        values = self.values
        for count in self._counts:
            values[count] = 0
        self._call(pack)

    def _call(self, pack: bool) -> None:
        values, address = self.values, self._address
        count, members = len(self._order.shares) - 1, self._order.members
        values[self._pack] = pack and count == 1
        if members > 1:
            simd.together(self._entries.run, address, members)
            if values[self._entries.slots["alone"]]:
                crowd.note()
            return
        if pack and count > 1 and self.room.weights:
            simd.run(self._entries.pack, address, 1)
        simd.run(self._entries.run, address, count)
