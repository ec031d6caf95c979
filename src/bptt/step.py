"""A recurrent cell as a function from leaves to leaves, in either of the two protocols."""

import random
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptt.errors import CellError, StructureError
from bptt.structure import LONE, Structure, describe

Leaves = list[Tensor]


class Arguments(NamedTuple):
    """The tensors of one unroll, as leaves; `fresh` is empty where there are no resets."""

    inputs: Leaves
    initial: Leaves
    fresh: Leaves


class Protocol(NamedTuple):
    """How a cell's result is read: found once, from its first step."""

    bare: bool  # the result is the state itself; the output is its first leaf
    outputs: Structure
    state: Structure


class Step:
    """`step(inputs, state) -> (outputs, state)` on lists of leaves.

    Args:
        cell: any callable `cell(x_t, state)` that returns the state, or a pair of output and state.
        inputs: the structure of x_t.
        state: the structure of the first state, in which the cell sees all later ones too.
        protocol: how to read the result, where that is known already.
    """

    def __init__(
        self, cell: Any, inputs: Structure, state: Structure, protocol: Protocol | None = None
    ) -> None:
        self.cell, self.inputs, self.state, self.protocol = cell, inputs, state, protocol

    def bind(self, cell: Any) -> "Step":
        """The same step of another copy of the cell."""
        return Step(cell, self.inputs, self.state, self.protocol)

    def __call__(self, inputs: Sequence[Tensor], state: Sequence[Tensor]) -> tuple[Leaves, Leaves]:
        result = self.cell(self.inputs.unflatten(inputs), self.state.unflatten(state))
        protocol = self.protocol
        if protocol is None:
            self.protocol = protocol = read_protocol(result, self.state)
        if protocol.bare:
            leaves = protocol.state.flatten(result)
            outputs = None if leaves is None else leaves[:1]
        elif isinstance(result, (tuple, list)) and len(result) == 2:
            outputs, leaves = protocol.outputs.flatten(result[0]), protocol.state.flatten(result[1])
        else:
            outputs = leaves = None
        if outputs is None or leaves is None:
            raise StructureError(
                f"The cell returned {describe(result)} after steps that returned another "
                "structure. Return outputs and state of one structure at every step."
            )
        return outputs, leaves

    def unflatten(self, outputs: Leaves, state: Leaves) -> tuple[Any, Any]:
        """Leaves as the cell returns them. The first step has been run."""
        assert self.protocol is not None
        return self.protocol.outputs.unflatten(outputs), self.protocol.state.unflatten(state)


def read_protocol(result: Any, state: Structure) -> Protocol:
    """Whether a cell returned its state, or an output and its state."""
    if state.flatten(result) is not None:
        return Protocol(True, LONE, state)
    pair = isinstance(result, (tuple, list)) and len(result) == 2
    if not pair or state.flatten(result[1]) is None:
        expected = describe(state.unflatten([torch.empty(0)] * state.size)).replace(" (0,)", "")
        raise StructureError(
            f"The cell was given a state of structure {expected} and returned {describe(result)}. "
            "Return the next state in the structure of the state, or a pair (output, next state)."
        )
    outputs = Structure(result[0])
    if outputs.flatten(result[0]) is None:
        raise StructureError(
            f"The cell returned the output {describe(result[0])}, whose leaves are not all "
            "tensors. Return a tensor, or a tuple, list or dict of tensors."
        )
    return Protocol(False, outputs, state)


def check_leaves(outputs: Leaves, state: Leaves, before: Sequence[Tensor], batch: int) -> None:
    """A step keeps its state's shapes and dtypes, and its outputs have a row for each sequence."""
    for index, (new, old) in enumerate(zip(state, before, strict=True)):
        if new.shape != old.shape or new.dtype != old.dtype:
            raise CellError(
                f"The cell changed its state's leaf {index} from {_kind(old)} to {_kind(new)}. A "
                "step returns a state of the shape and dtype it was given: start from a state of "
                "the right shape, or convert it in the cell."
            )
    for index, leaf in enumerate(outputs):
        if leaf.dim() == 0 or leaf.shape[0] != batch:
            raise CellError(
                f"The cell returned an output whose leaf {index} is {_kind(leaf)}. An output has a "
                f"row for each of the {batch} sequences of the batch: shape ({batch}, ...)."
            )


def check_alike(steps: Sequence[Leaves]) -> None:
    """Every step's leaves have the shapes and dtypes of the first's."""
    for leaves in zip(*steps, strict=True):
        shape, dtype = leaves[0].shape, leaves[0].dtype
        for leaf in leaves:
            if leaf.shape != shape or leaf.dtype != dtype:
                first = leaves[0]
                raise CellError(
                    f"The cell returned {_kind(leaf)} at a step, and {_kind(first)} before. A step "
                    "returns outputs and a state of the same shapes and dtypes as all the others."
                )


def version(tensor: Tensor) -> int:
    """How often a tensor was written into; 0 where it does not tell, in inference mode."""
    return 0 if tensor.is_inference() else tensor._version


def check_untouched(given: Leaves, versions: list[int]) -> None:
    """A step returns a new state and leaves its arguments as they are."""
    for leaf, before in zip(given, versions, strict=True):
        if version(leaf) != before:
            raise CellError(
                f"The step changes its argument of shape {tuple(leaf.shape)} in place. Steps are "
                "run again from stored states: return a new tensor, as in `s * a` for `s.mul_(a)`."
            )


def other_generators() -> tuple[Any, ...]:
    """The states of Python's and numpy's own generators."""
    numpy = sys.modules.get("numpy")
    return random.getstate(), None if numpy is None else numpy.random.get_state()[1].tobytes()


def check_drawn(before: tuple, after: tuple) -> None:
    """A step draws from torch's generator alone: only that can be set back for a second run."""
    for name, a, b in zip(("random", "numpy.random"), before, after, strict=True):
        if a != b:
            raise CellError(
                f"The step draws from {name}, whose numbers would be others when the step is run "
                "again in the backward pass. Draw with torch (torch.rand, torch.bernoulli), whose "
                "numbers bptt repeats, or before bptt.unroll."
            )


def check_repeats(again: Leaves, kept: Leaves) -> None:
    """A step run again gives what it gave: else the gradient would be of another function."""
    for new, old in zip(again, kept, strict=False):  # nothing was run again: nothing to compare
        if not torch.equal(new, old) and not _close(new, old):
            raise CellError(
                "The step, run again in the backward pass, gives other numbers than in the forward "
                "pass: something that it uses has changed since, or changes from call to call. A "
                "step must depend on its inputs, its state and the cell's tensors alone; call "
                "backward() before changing the cell."
            )


def _close(new: Tensor, old: Tensor) -> bool:
    """Equal but for the rounding of kernels that are not deterministic; NaN equals NaN."""
    return new.shape == old.shape and torch.allclose(new, old, 1e-4, 1e-6, equal_nan=True)


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
