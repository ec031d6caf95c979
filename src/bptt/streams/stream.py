"""Windows of an endless sequence, with a state and a gradient that cross their borders."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bptt.errors import ArgumentError, StreamWarning, StructureError
from bptt.methods import Truncated
from bptt.ready import initial_state
from bptt.streams.alike import Alike
from bptt.streams.blocks import Blocks
from bptt.streams.ring import Ring, leaves_of_window
from bptt.structure import describe

RULES = ("stale", "recomputed")


class Stream(nn.Module):
    """Truncated back-propagation through time over windows of a sequence without end.

    Each call takes a window (W, B, ...), goes on from the state that the last one ended with, and
    gives the window's outputs. `loss.backward()` adds the gradient of the blocks that end in the
    window: every k1 steps, counted from the stream's start, k2 steps back, across windows. While
    the weights stay as they are, the gradients of all windows add up to that of one
    `bptt.unroll(..., method=Truncated(k1, k2))`. Windows may be of any length. Call `backward`
    once for a window, before the next one: losses of a block that ends later are kept for it.

    The last k2 steps are kept: inputs, resets, the states before them, and by number their draws.
    Where weights have changed since, there are two rules. `weights="stale"`: states stay as they
    were, and each step is differentiated there, at the present weights. `weights="recomputed"`:
    the states that a window's blocks reach are run again from the oldest, at the present weights,
    and with them the one that the window starts from: outputs and gradients are of one function.

    Gradients reach the cell's weights, and `encoder`'s, through all k2 steps, and the caller's own
    tensors within the window alone: an embedding before the stream gets nothing from earlier
    windows. Give it as `encoder`.

    Args:
        cell: as `bptt.unroll` takes it.
        method: `bptt.Truncated(k1, k2)`.
        weights: "stale" or "recomputed".
        encoder: what makes the cell's inputs (W, B, ...) of the stream's, a module or function.
        backend: as `bptt.unroll` takes it.

    Raises:
        StructureError: (a TypeError) a method other than Truncated, an encoder that is no function.
        ArgumentError: (a ValueError) a rule of another name.

    Source: Williams & Peng 1990.

    >>> import bptt
    >>> stream = Stream(bptt.cells.GRU(3, 8), bptt.Truncated(5, 20))
    >>> for window in torch.randn(4, 12, 2, 3):  # four windows of 12 steps of 2 sequences
    ...     outputs = stream(window)
    ...     outputs.square().mean().backward()
    >>> stream.steps
    48
    """

    def __init__(
        self,
        cell: Any,
        method: Truncated,
        *,
        weights: str = "stale",
        encoder: Callable[[Any], Any] | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if not isinstance(method, Truncated):
            raise StructureError(
                f"method: a stream goes back so many steps, bptt.Truncated(k1, k2), got "
                f"{describe(method)}. bptt.unroll has the exact ones."
            )
        if weights not in RULES:
            raise ArgumentError(f"weights: expected 'stale' or 'recomputed', got {weights!r}.")
        if encoder is not None and not callable(encoder):
            raise StructureError(
                "encoder: expected a module or function that makes the cell's inputs of a window, "
                f"got {describe(encoder)}."
            )
        self.cell, self.encoder, self.weights = cell, encoder, weights
        self.method, self.backend = method, backend
        self.restart()

    def restart(self) -> None:
        """Forget the sequence: the next window is the first of another."""
        self._ring: Ring | None = None
        self._alike = Alike()

    @property
    def steps(self) -> int:
        """How many steps were taken so far."""
        return 0 if self._ring is None else self._ring.steps

    @property
    def state(self) -> Any:
        """The state after the last step, detached; None before the first window."""
        return None if self._ring is None else self._ring.state

    def forward(
        self,
        inputs: Any,
        state: Any = None,
        *,
        reset: Tensor | None = None,
        reset_state: Any = None,
        last: bool = False,
    ) -> Any:
        """The outputs of a window.

        Args:
            inputs: (W, B, ...) tensor, or a pytree of them; W may differ from call to call.
            state: what the stream starts from, in the first window alone.
            reset: (W, B) bool: start afresh before this step; the gradient is cut there.
            reset_state: what to start afresh from; None: what `bptt.unroll` starts from. One for
                all: it must be given in every window or in none.
            last: whether the sequence ends here, and with it the last block.

        Raises:
            ArgumentError: (a ValueError) another batch size, dtype or device than before.
        """
        ring = self._begun(inputs, state)
        steps, done = ring.check(inputs, reset), ring.steps
        ways = Blocks(self.method, done, done + steps, last)
        before = done - ways.first
        whole, marks = ring.joined(inputs, before), ring.marks(reset, steps, before)
        given = (
            ring.reader, whole if self.encoder is None else self.encoder(whole),
            ring.before(before), None, marks,
            None if marks is None else ring.fresh(reset_state), False, self.method,
            self.backend,
        )  # fmt: skip
        stored = ring.stored(before) if before and self.weights == "stale" else None
        run = self._alike.run(given, ways.way, ring.seed, ways.first, stored)
        (states, *own), final = run
        outputs = ring.shown(own[0] if own else states[0], before)
        if stored is not None:  # what was run again for the kept steps follows none of their states
            states, before = [leaf[before:] for leaf in states], 0
        ring.advance(inputs, reset, states, final, before, ways.kept)
        ring.steps = ways.end  # only now: a window that fails has not been taken
        if self._ring is None:
            self._ring = ring
        if last:
            self.restart()
        return outputs

    def _begun(self, inputs: Any, state: Any) -> Ring:
        if self._ring is not None:
            if state is not None:
                raise ArgumentError(
                    "state: a stream carries its own from window to window. Give it with the "
                    "first window, or call restart() before."
                )
            return self._ring
        leaves = leaves_of_window(inputs)
        seed = int(torch.empty((), dtype=torch.int64).random_())
        start = initial_state(self.cell, leaves[0].shape[1]) if state is None else state
        return Ring(self.cell, seed, start)

    def get_extra_state(self) -> dict[str, Any]:
        """Where the stream stands, for `state_dict`."""
        ring = None if self._ring is None else self._ring.saved()
        return {"steps": self.steps, "ring": ring, "process": _process()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from where a stream stood; afresh, if that was another process's."""
        self.restart()
        if state["ring"] is None:
            return
        if tuple(state["process"]) != _process():
            (rank, world), (here, now) = state["process"], _process()
            warnings.warn(
                f"this stream was saved by process {rank} of {world} and is loaded by {here} of "
                f"{now}, which hears other rows: it starts afresh. In Lightning, "
                "callbacks=[bptt.streams.KeepStreams()] keeps those of all processes.",
                StreamWarning,
                stacklevel=2,
            )
            return
        self._ring = Ring.restored(self.cell, state["ring"])
        self._ring.steps = state["steps"]


def _process() -> tuple[int, int]:
    """This process's number, and how many there are."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
