"""What a stream keeps of the steps behind it: as many as a later block reaches."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bptt import check
from bptt.errors import ArgumentError, BackendError, StructureError
from bptt.ready import initial_state
from bptt.step import Leaves, read_protocol
from bptt.structure import Structure, describe, leaves_of, structure


class Reader(nn.Module):
    """A cell that shows its states, and its outputs where those are something else.

    It has no `begin`: a stream begins once.
    """

    def __init__(self, cell: Any, state: Structure) -> None:
        super().__init__()
        self.cell, self._state = cell, state

    def forward(self, x: Any, state: Sequence[Tensor]) -> Any:
        result = self.cell(x, self._state.unflatten(list(state)))
        leaves = self._state.flatten(result)
        if leaves is not None:
            return (leaves,), leaves
        read_protocol(result, self._state)
        leaves = self._state.flatten(result[1])
        return (leaves, result[0]), leaves


class Ring:
    """The last steps of a stream: inputs, resets, the states before them, the losses that came.

    Args:
        cell: the stream's.
        seed: of its random numbers.
        start: the state before its first step.

    Attributes:
        seed: as given.
        reader: the cell, showing its states.
        state: the state after the last step.
        steps: how many were taken.
    """

    def __init__(self, cell: Any, seed: int, start: Any) -> None:
        self.seed, self.state, self.steps = seed, start, 0
        self._structure = structure(start)
        self._leaves = leaves_of(start)
        self._batch = self._leaves[0].shape[0]
        self.reader = Reader(cell, self._structure)
        self._kind: Any = None
        self._lone: Any = None  # the same of a window that is a tensor, and no pytree
        self._inputs: Leaves = []
        self._states: Leaves = [leaf.detach().new_empty(0, *leaf.shape) for leaf in self._leaves]
        self._marks = torch.zeros(0, self._batch, dtype=torch.bool, device=self._leaves[0].device)
        self._is_marked = False  # whether any of them is set
        self._losses: Leaves = []
        self._windows, self._settled = 0, set[int]()  # which losses of the last one have arrived
        self._begin()

    def _begin(self) -> None:
        """What a cell draws once a sequence comes from the stream's own seed."""
        if hasattr(self.reader.cell, "begin"):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                self.reader.cell.begin(self._batch)

    def check(self, inputs: Any, reset: Tensor | None) -> int:
        """How many steps a window has; it must be like those before.

        Raises:
            ArgumentError: another batch size, shape, dtype, device or structure.
        """
        if reset is None and self._lone is not None and _lone(inputs) == self._lone:
            return inputs.shape[0]
        leaves = leaves_of_window(inputs)
        kind = [(tuple(leaf.shape[1:]), leaf.dtype, leaf.device) for leaf in leaves]
        if leaves[0].shape[1] != self._batch:
            raise ArgumentError(
                f"inputs: this stream has {self._batch} sequences, got a window of "
                f"{leaves[0].shape[1]}. Call restart() before another batch."
            )
        if self._kind is not None and kind != self._kind:
            raise ArgumentError(
                f"inputs: expected windows as before, {_spoken(self._kind)}, got {_spoken(kind)}. "
                "Call restart() before other data."
            )
        self._kind, self._lone = kind, _lone(inputs)
        steps = leaves[0].shape[0]
        check.reset(reset, steps, self._batch, leaves[0].device)
        return steps

    def before(self, steps: int) -> Leaves:
        """The state that the last `steps` steps begin with."""
        return [leaf[-steps] for leaf in self._states] if steps else self._leaves

    def stored(self, steps: int) -> Leaves:
        """(steps + 1, B, ...) the states that the last steps, and the next one, start from."""
        pairs = zip(self._states, self._leaves, strict=True)
        return [torch.cat([old[len(old) - steps :], now.detach()[None]]) for old, now in pairs]

    def joined(self, inputs: Any, steps: int) -> Any:
        """The last `steps` inputs, and a window's."""
        if not steps:
            return inputs
        leaves, spec = pytree.tree_flatten(inputs)
        pairs = zip(self._inputs, leaves, strict=True)
        leaves = [torch.cat([old[len(old) - steps :], new]) for old, new in pairs]
        return pytree.tree_unflatten(leaves, spec)

    def marks(self, reset: Tensor | None, window: int, steps: int) -> Tensor | None:
        """The last `steps` resets, and a window's; None where there are none."""
        if reset is None and not (steps and self._is_marked):
            return None
        kept = self._marks[len(self._marks) - steps :]
        if reset is None and not kept.any():
            return None
        return torch.cat([kept, self._mask(reset, window)])

    def _mask(self, reset: Tensor | None, window: int) -> Tensor:
        if reset is None:
            return self._marks.new_zeros(1, 1).expand(window, self._batch)
        return reset.to(self._marks.device)

    def fresh(self, reset_state: Any) -> Leaves:
        """The leaves of what a reset starts from."""
        given = reset_state
        if given is None:
            given = initial_state(self.reader.cell, self._batch)
        leaves = self._structure.flatten(given)
        if leaves is None:
            raise StructureError(
                f"reset_state: expected the structure of the state, {describe(self.state)}, got "
                f"{describe(reset_state)}."
            )
        return leaves

    def shown(self, outputs: Any, steps: int) -> Any:
        """A window's outputs; the losses that come back through them are kept for later blocks."""
        leaves, spec = pytree.tree_flatten(outputs)
        if not self._losses:
            self._losses = [leaf.detach()[:0] for leaf in leaves]
        self._windows, self._settled = self._windows + 1, set()
        if not steps:
            self._listen(leaves)
            return outputs
        if not any(leaf.requires_grad for leaf in leaves):
            return pytree.tree_unflatten([leaf[steps:] for leaf in leaves], spec)
        earlier = [leaf[len(leaf) - steps :] for leaf in self._losses]
        leaves = _Across.apply(self, self._windows, earlier, *leaves)
        return pytree.tree_unflatten(list(leaves), spec)

    def _listen(self, leaves: Leaves) -> None:
        """Hear of the losses that come back through a window that no earlier loss goes through."""
        for place, leaf in enumerate(leaves):
            if leaf.grad_fn is not None:
                hear = functools.partial(self._hear, self._windows, place, leaf.output_nr)
                leaf.grad_fn.register_prehook(hear)

    def _hear(self, window: int, place: int, number: int, losses: Sequence[Tensor | None]) -> None:
        loss = losses[number]
        if loss is not None:
            self.arrived(window, {place: loss})

    def arrived(self, window: int, losses: dict[int, Tensor]) -> None:
        """Take the adjoints of a window's outputs, by leaf.

        Raises:
            BackendError: another window has been taken since, or they have arrived already.
        """
        if window != self._windows or not self._settled.isdisjoint(losses):
            raise BackendError(
                "A stream's window goes back once, before the next window is taken: its losses are "
                "kept for blocks that end later. Add up the losses of a window, call backward() on "
                "the sum, then take the next window."
            )
        self._settled.update(losses)
        for place, new in losses.items():
            kept = self._losses[place]
            count = min(len(kept), len(new))
            kept[len(kept) - count :] = new[len(new) - count :].detach()

    @torch.no_grad()
    def advance(
        self,
        inputs: Any,
        reset: Tensor | None,
        states: Leaves,
        final: Leaves,
        steps: int,
        kept: int,
    ) -> None:
        """Take in a window, and let go of all but the last steps.

        Args:
            inputs: the window's.
            reset: the window's.
            states: after each of the last `steps` steps, and of the window's.
            final: after the last.
            steps: how many were run again.
            kept: how many stay.
        """
        count = states[0].shape[0]
        window = count - steps
        if not window:
            return
        if count > kept:
            self._states = [leaf.narrow(0, count - 1 - kept, kept).clone() for leaf in states]
        else:
            self._states = self._states_joined(states, steps, kept)
        self._leaves = [leaf.clone() for leaf in final]
        self.state = self._structure.unflatten(self._leaves)
        leaves = leaves_of(inputs)
        if window >= kept:
            self._inputs = [leaf.narrow(0, window - kept, kept).clone() for leaf in leaves]
            self._losses = [leaf.new_zeros((kept, *leaf.shape[1:])) for leaf in self._losses]
        else:
            self._join(leaves, window, kept)
        self._mark(reset, window, kept)

    def _states_joined(self, states: Leaves, steps: int, kept: int) -> Leaves:
        """The states before the last steps, where more are kept than were run."""
        held = len(self._marks) - steps
        runs = zip(self.before(steps), self._states, states, strict=True)
        return [_last([old[:held], first[None], new[:-1]], kept) for first, old, new in runs]

    def _join(self, inputs: Leaves, window: int, kept: int) -> None:
        """Take in the inputs of a window that is shorter than what is kept, and room for losses."""
        old = self._inputs or [leaf[:0] for leaf in inputs]
        self._inputs = [_last(pair, kept) for pair in zip(old, inputs, strict=True)]
        self._losses = [
            _last([leaf, leaf.new_zeros(window, *leaf.shape[1:])], kept) for leaf in self._losses
        ]

    def _mark(self, reset: Tensor | None, window: int, kept: int) -> None:
        """Take in a window's resets: mostly there are none."""
        count = min(self._marks.shape[0] + window, kept)
        if reset is not None or self._is_marked:
            self._marks = _last([self._marks, self._mask(reset, window)], kept)
            self._is_marked = bool(self._marks.any())
        elif self._marks.shape[0] != count:
            self._marks = self._marks.new_zeros(count, self._batch)

    def saved(self) -> dict[str, Any]:
        """All of it, as tensors, numbers, tuples and lists."""
        return {
            "seed": self.seed, "state": _plain(self.state), "inputs": self._inputs,
            "states": self._states, "marks": self._marks, "losses": self._losses,
        }  # fmt: skip

    @classmethod
    def restored(cls, cell: Any, saved: dict[str, Any]) -> "Ring":
        """A ring as it was saved."""
        ring = cls(cell, saved["seed"], _in_own_structure(cell, saved["state"]))
        ring._inputs, ring._states = saved["inputs"], saved["states"]
        ring._marks, ring._losses = saved["marks"], saved["losses"]
        ring._is_marked = bool(ring._marks.any())
        return ring


def _lone(inputs: Any) -> tuple[Any, ...] | None:
    """What windows that are single tensors have in common."""
    if type(inputs) is not Tensor:
        return None
    return inputs.shape[1:], inputs.dtype, inputs.device


def _plain(tree: Any) -> Any:
    """A pytree of plain containers, which can be loaded without trust: no class is named in it."""
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        kind = list if isinstance(tree, list) else tuple
        return kind(_plain(item) for item in tree)
    return tree.detach()


def _in_own_structure(cell: Any, state: Any) -> Any:
    """A state in the containers of the cell's own."""
    if not hasattr(cell, "initial_state"):
        return state
    own = structure(cell.initial_state(1))
    leaves = own.flatten(state)
    return state if leaves is None else own.unflatten(leaves)


def _last(parts: Sequence[Tensor], count: int) -> Tensor:
    """The last `count` steps of parts that follow each other, in memory of their own."""
    if len(parts[-1]) >= count:
        return parts[-1][len(parts[-1]) - count :].clone()
    taken = []
    for part in reversed(parts):
        taken.append(part[max(len(part) - count, 0) :])
        count -= len(taken[-1])
        if not count:
            break
    return torch.cat(taken[::-1])


class _Across(torch.autograd.Function):
    """All steps' outputs in, a window's out; going back, the losses of earlier windows come in."""

    @staticmethod
    def forward(ctx: Any, ring: Ring, window: int, earlier: Leaves, *outputs: Tensor) -> Any:
        ctx.ring, ctx.window, ctx.earlier = ring, window, earlier
        steps = len(earlier[0])
        ctx.shapes = [(len(leaf) - steps, *leaf.shape[1:]) for leaf in outputs]
        ctx.set_materialize_grads(False)
        return tuple(leaf[steps:].clone() for leaf in outputs)

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor | None) -> Any:
        found = [
            old.new_zeros(shape) if adjoint is None else adjoint
            for old, adjoint, shape in zip(ctx.earlier, adjoints, ctx.shapes, strict=True)
        ]
        ctx.ring.arrived(ctx.window, dict(enumerate(found)))
        return None, None, None, *(torch.cat(p) for p in zip(ctx.earlier, found, strict=True))


def leaves_of_window(inputs: Any) -> Leaves:
    """The leaves of a window's inputs.

    Raises:
        StructureError, ArgumentError: they are not (W, B, ...) alike.
    """
    return check.inputs(inputs, None)[0]


def _spoken(kinds: Sequence[tuple]) -> str:
    return "; ".join(f"(W, {', '.join(map(str, s))}) {dtype} on {d}" for s, dtype, d in kinds)
