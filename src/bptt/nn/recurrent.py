"""Layers and directions of any cell."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from bptt import check
from bptt.cells.parts import check_sizes
from bptt.errors import ArgumentError, CellError
from bptt.methods import Method
from bptt.nn.checks import (
    check_dropout,
    check_flags,
    check_sequences,
    check_stacked,
    check_structure,
)
from bptt.nn.layers import EXACT, Pass, unstack
from bptt.nn.layout import Packed, Padded
from bptt.structure import describe
from bptt.unroll import unroll

Factory = Callable[[int], nn.Module]


class Recurrent(nn.Module):
    """Any cell in layers and directions, shaped as torch.nn's recurrent modules are.

    Args:
        cell: a module for one layer and direction, else a factory `cell(input_size) -> module`,
            called for each layer and direction. A module is what `bptt.unroll` takes: it returns
            its state, or a pair of output and state.
        input_size: I, features of the inputs; the factory needs it.
        num_layers: how many layers; each takes the outputs of the one below.
        bidirectional: whether each layer also runs from the end to the start, its outputs' features
            beside those of the forward direction.
        dropout: probability with which an output of every layer but the last is zeroed in training.
        batch_first: whether all that has a time axis is (B, T, ...) instead of (T, B, ...).

    Attributes:
        cells: the cells, layer by layer, forward before reverse.

    Raises:
        ArgumentError: a module where several are needed, a factory without input_size, a size or a
            probability that is none.
        CellError: a factory that does not make modules, or whose modules cannot be put in layers.

    >>> from bptt.cells import GRU
    >>> net = Recurrent(lambda size: GRU(size, 5), input_size=3, num_layers=2, bidirectional=True)
    >>> outputs, state = net(torch.zeros(7, 2, 3))
    >>> outputs.shape, state.shape
    (torch.Size([7, 2, 10]), torch.Size([4, 2, 5]))
    """

    def __init__(
        self,
        cell: nn.Module | Factory,
        *,
        input_size: int | None = None,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(
            num_layers=num_layers, **({} if input_size is None else {"input_size": input_size})
        )
        check_dropout(dropout, num_layers)
        check_flags(bidirectional=bidirectional, batch_first=batch_first)
        self.input_size, self.num_layers, self.dropout = input_size, num_layers, dropout
        self.bidirectional, self.batch_first = bidirectional, batch_first
        if isinstance(cell, nn.Module):
            check.one_step(cell)
            self._check_single()
            self.cells = nn.ModuleList([cell])
        else:
            size = _check_factory(cell, input_size)
            self.cells = nn.ModuleList(self._made(cell, size))

    def forward(
        self,
        inputs: Any,
        state: Any = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
        method: Method = EXACT,
        all_states: bool = False,
    ) -> tuple:
        """Run all layers and directions over a batch of sequences.

        Args:
            inputs: (T, B, ...) tensor or pytree of them, (B, T, ...) with batch_first, or a
                PackedSequence.
            state: the cell's state, its leaves stacked over layers and directions:
                (num_layers * D, B, ...), D the directions; what the cells start from if None.
            lengths: (B,) ints, steps that count in each sequence, 0 allowed; all if None.
            reset: (T, B) bool, (B, T) with batch_first: an episode starts at this step, from what
                the cells start from. A reverse direction starts afresh where it leaves an episode.
            method: how the gradient goes back through time, in each layer by itself: with
                `bptt.Truncated` a lower layer is reached through those above it once more.
            all_states: whether to return the states of all steps.

        Returns:
            outputs, laid out as the inputs, zeros beyond a sequence's length; the final state, laid
            out as `state`; with all_states a list, per layer the states of all steps, leaves
            (T, B, D, ...) or (B, T, D, ...).

        Raises:
            ArgumentError: inputs, state, lengths or reset of the wrong shape, dtype or value.
            StructureError: a state of the wrong structure, or one whose shape differs by layer.
        """
        packed = isinstance(inputs, PackedSequence)
        layout = Packed(inputs, self.batch_first) if packed else Padded(self.batch_first)
        if not packed:
            check_sequences(inputs, self.batch_first)
        x = layout.enter(inputs)
        self._check_features(x)
        through = Pass(
            layout,
            x,
            lengths=lengths,
            reset=reset,
            method=method,
            dropout=self.dropout if self.training else 0.0,
            all_states=all_states,
        )
        return through.run(self.layers(), self._states(state, through.batch_size))

    def layers(self) -> list[list[nn.Module]]:
        """Per layer its cells: forward and, where there is one, reverse."""
        cells, directions = list(self.cells), self._directions
        return [cells[i : i + directions] for i in range(0, len(cells), directions)]

    def extra_repr(self) -> str:
        defaults = {"num_layers": 1, "bidirectional": False, "dropout": 0.0, "batch_first": False}
        now = {name: getattr(self, name) for name in defaults}
        return ", ".join(f"{name}={now[name]}" for name in now if now[name] != defaults[name])

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _states(self, state: Any, batch_size: int) -> list:
        count = len(self.cells)
        if state is None:
            return [None] * count
        check_stacked(state, count, batch_size)
        check_structure(self.cells[0], state)
        return unstack(state, count)

    def _check_features(self, x: Any) -> None:
        if self.input_size is None or not isinstance(x, Tensor):
            return
        if x.shape[-1] != self.input_size:
            raise ArgumentError(
                f"inputs should have input_size = {self.input_size} features in the last "
                f"dimension, got {x.shape[-1]}"
            )

    def _check_single(self) -> None:
        if self.num_layers * self._directions > 1:
            raise ArgumentError(
                f"cell is one module, but num_layers={self.num_layers} and bidirectional="
                f"{self.bidirectional} need {self.num_layers * self._directions} of them; give a "
                "factory instead: Recurrent(lambda size: Cell(size, ...), input_size=...)"
            )

    def _made(self, factory: Factory, size: int) -> Iterator[nn.Module]:
        """The cells, layer by layer, each layer's made for what the one below gives."""
        for layer in range(self.num_layers):
            cells = [_make(factory, size) for _ in range(self._directions)]
            yield from cells
            if layer + 1 < self.num_layers:
                size = sum(output_features(cell, size) for cell in cells)


def output_features(module: nn.Module, input_size: int) -> int:
    """Features of what a cell or a Recurrent puts out, found by a run of no steps.

    Raises:
        CellError: an output that is not one tensor.
    """
    nothing = next(module.parameters(), torch.empty(0)).new_zeros(0, 1, input_size)
    if isinstance(module, Recurrent):
        outputs, _ = module(nothing.transpose(0, 1) if module.batch_first else nothing)
    else:
        outputs, _ = unroll(module, nothing)
    if not isinstance(outputs, Tensor) or outputs.dim() < 3:
        raise CellError(
            "the cell's output should be one tensor (B, ..., features) for another layer to take, "
            f"got {describe(outputs)} for a whole sequence"
        )
    return outputs.shape[-1]


def _check_factory(cell: Any, input_size: int | None) -> int:
    """The size to call the factory with; raise unless there is one and the factory takes it."""
    if not callable(cell):
        raise CellError(
            f"cell should be a module or a factory cell(input_size) -> module, got {cell!r}"
        )
    if input_size is None:
        raise ArgumentError(
            "input_size should be given with a factory, which is called with it, got None; "
            "or give the cell itself, a module"
        )
    try:
        inspect.signature(cell).bind(input_size)
    except TypeError as error:
        raise CellError(
            f"cell should take one argument, input_size, but {cell!r} does not: {error}. "
            "Bind the others: Recurrent(lambda size: Cell(size, hidden_size), input_size=...)"
        ) from error
    return input_size


def _make(factory: Factory, size: int) -> nn.Module:
    cell = factory(size)
    if not isinstance(cell, nn.Module):
        raise CellError(
            f"cell({size}) should return a module, the cell of one layer and direction, got "
            f"{describe(cell)}; a function that is itself the step goes to bptt.unroll"
        )
    check.one_step(cell)
    return cell
