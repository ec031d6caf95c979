"""torch.nn's recurrent modules, run by `bptt.unroll`."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import Parameter
from torch.nn.utils.rnn import PackedSequence

from bptt.methods import Method
from bptt.nn.checks import check_device, check_dtype, check_pair, check_tensor
from bptt.nn.layers import EXACT, Pass, unstack
from bptt.nn.layout import Packed, Padded
from bptt.nn.steps import ElmanStep, GRUStep, LSTMStep, Step, Weights
from bptt.structure import leaves_of, mapped


class DropIn(torch.nn.RNNBase):
    """What RNN, GRU and LSTM share: torch.nn's parameters and checks, run by `bptt.unroll`."""

    weight_ih_l0: Tensor

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
        method: Method = EXACT,
        all_states: bool = False,
    ) -> tuple:
        """Run all layers and directions over a batch of sequences.

        Args:
            input: (T, B, I), (B, T, I) with batch_first, (T, I) alone, or a PackedSequence.
            hx: the initial state as torch.nn takes it, leaves (num_layers * D, B, ...) whatever
                batch_first says, D the directions; zeros if None.
            lengths: (B,) ints, steps that count in each sequence, 0 allowed; all if None.
            reset: bool, laid out as the input without I: an episode starts at this step, from
                zeros. A reverse direction starts afresh where it leaves an episode at its start.
            method: how the gradient goes back through time, in each layer by itself: with
                `bptt.Truncated` a lower layer is reached through those above it once more.
            all_states: whether to return the states of all steps.

        Returns:
            outputs, laid out as the input, D * H features, zeros beyond a sequence's length; the
            final state, laid out as hx; with all_states a list, per layer the states of all steps,
            leaves (T, B, D, H), or (B, T, D, H) with batch_first, (T, D, H) alone, padded with
            zeros where the input is packed.

        Raises:
            ValueError, RuntimeError: what torch.nn raises, and for the same; T = 0 too.
            ArgumentError: lengths or reset of the wrong shape, dtype or value.
            StructureError: hx of the wrong structure.
        """
        layout = self._layout(input)
        hx = self._state(input, hx, layout)
        x = layout.enter(input)
        if len(x) == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        through = Pass(
            layout,
            x,
            lengths=lengths,
            reset=reset,
            method=method,
            dropout=self.dropout if self.training else 0.0,
            all_states=all_states,
        )
        return through.run(self._by_layer(self._steps()), unstack(hx, len(self.all_weights)))

    def _step(self, weights: Weights) -> Step:
        """The cell of one layer and direction."""
        raise NotImplementedError

    def layers(self) -> list[list[Step]]:
        """Per layer its cells, on the weights as they are now."""
        return self._by_layer([self._step(own) for own in self._weights()])

    def _by_layer(self, steps: list[Step]) -> list[list[Step]]:
        directions = 2 if self.bidirectional else 1
        return [steps[i : i + directions] for i in range(0, len(steps), directions)]

    def _steps(self) -> list[Step]:
        """The cells on the weights as they are now: the last call's, if it had the same."""
        weights = self._weights()
        known: list[Step] = vars(self).get("_last_steps", [])
        if len(known) == len(weights) and all(map(Step.stands_on, known, weights)):
            return known
        steps = [self._step(own) for own in weights]
        # What weights are computed from would be held on to, with its graph.
        own = all(isinstance(weight, Parameter | None) for own in weights for weight in own)
        vars(self)["_last_steps"] = steps if own else []
        return steps

    def _weights(self) -> list[Weights]:
        return [self._named(weights) for weights in self.all_weights]

    def _named(self, weights: list[Parameter]) -> Weights:
        weight_ih, weight_hh, *rest = weights
        bias_ih, bias_hh = rest[:2] if self.bias else (None, None)
        return Weights(weight_ih, weight_hh, bias_ih, bias_hh, rest[-1] if self.proj_size else None)

    def _layout(self, input: Tensor | PackedSequence) -> Padded:
        """How the input lies; its rank is checked in torch.nn's words."""
        if isinstance(input, PackedSequence):
            return Packed(input, self.batch_first)
        check_tensor("input", input)
        if input.dim() not in (2, 3):
            name, tensor = self.mode.split("_")[0], " tensor" if self.mode[:3] == "RNN" else ""
            raise ValueError(
                f"{name}: Expected input to be 2D or 3D, got {input.dim()}D{tensor} instead"
            )
        return Padded(self.batch_first, alone=input.dim() == 2)

    def _state(self, input: Tensor | PackedSequence, hx: Any, layout: Padded) -> Any:
        """The initial state, leaves (num_layers * D, B, ...), checked in torch.nn's words."""
        packed = isinstance(input, PackedSequence)
        x, sizes = (input.data, input.batch_sizes) if packed else (layout.batch(input), None)
        if hx is None:
            hx = self._zeros(x, sizes)
        else:
            self._check_state(hx, None if packed else input.dim())
            hx = layout.enter_state(hx)
        self.check_forward_args(x, hx, sizes)
        weight = self.weight_ih_l0
        for leaf in leaves_of(hx):
            check_device(x, "hidden", leaf, "hx")
            check_dtype("hx", leaf, weight)
        check_device(x, "parameter", weight, "the module")
        return mapped(lambda leaf: leaf.to(weight.dtype), hx)

    def _check_state(self, hx: Any, rank: int | None) -> None:
        """Raise unless hx has the module's structure and, where the input has one, its rank."""
        check_tensor("hx", hx)
        if rank is not None and hx.dim() != rank:
            raise RuntimeError(
                f"For {_ranked(rank)} input, hx should also be {rank}-D but got {hx.dim()}-D tensor"
            )

    def _zeros(self, x: Tensor, sizes: Tensor | None) -> Any:
        """The initial state of nothing seen yet."""
        return x.new_zeros(self.get_expected_hidden_size(x, sizes), dtype=self.weight_ih_l0.dtype)


class RNN(DropIn, torch.nn.RNN):
    """`torch.nn.RNN`, run by `bptt.unroll`: constructor, parameters and results are torch.nn's.

    h_t = phi(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), phi tanh or relu. `forward` takes `lengths`,
    `reset`, `method` and `all_states` besides.

    >>> rnn = RNN(3, 5, num_layers=2)
    >>> isinstance(rnn, torch.nn.RNN), rnn
    (True, RNN(3, 5, num_layers=2))
    >>> outputs, h_n = rnn(torch.zeros(7, 2, 3), lengths=torch.tensor([7, 0]))
    >>> outputs.shape, h_n.shape
    (torch.Size([7, 2, 5]), torch.Size([2, 2, 5]))
    """

    def _step(self, weights: Weights) -> ElmanStep:
        return ElmanStep(weights, torch.tanh if self.mode == "RNN_TANH" else torch.relu)


class GRU(DropIn, torch.nn.GRU):
    """`torch.nn.GRU`, run by `bptt.unroll`: constructor, parameters and results are torch.nn's.

    The equations are those of `bptt.cells.GRU`. `forward` takes `lengths`, `reset`, `method` and
    `all_states` besides.

    >>> gru = GRU(3, 5, bidirectional=True)
    >>> starts = torch.tensor([[True, True], [False, True], [False, False]])
    >>> outputs, h_n = gru(torch.zeros(3, 2, 3), reset=starts)
    >>> outputs.shape, h_n.shape
    (torch.Size([3, 2, 10]), torch.Size([2, 2, 5]))
    """

    def _step(self, weights: Weights) -> GRUStep:
        return GRUStep(weights)


class LSTM(DropIn, torch.nn.LSTM):
    """`torch.nn.LSTM`, run by `bptt.unroll`: constructor, parameters and results are torch.nn's.

    The equations are those of `bptt.cells.LSTM`, projections included. `forward` takes `lengths`,
    `reset`, `method` and `all_states` besides.

    >>> lstm = LSTM(3, 5, num_layers=2, proj_size=4)
    >>> outputs, (h_n, c_n), states = lstm(torch.zeros(7, 2, 3), all_states=True)
    >>> outputs.shape, h_n.shape, c_n.shape
    (torch.Size([7, 2, 4]), torch.Size([2, 2, 4]), torch.Size([2, 2, 5]))
    >>> [(h.shape, c.shape) for h, c in states][0]
    (torch.Size([7, 2, 1, 4]), torch.Size([7, 2, 1, 5]))
    """

    def _step(self, weights: Weights) -> LSTMStep:
        return LSTMStep(weights)

    def _check_state(self, hx: Any, rank: int | None) -> None:
        check_pair("hx", hx)
        ranks = [leaf.dim() for leaf in hx]
        if rank is not None and ranks != [rank, rank]:
            raise RuntimeError(
                f"For {_ranked(rank)} input, hx and cx should also be {rank}-D "
                f"but got ({ranks[0]}-D, {ranks[1]}-D) tensors"
            )

    def _zeros(self, x: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor]:
        c = x.new_zeros(self.get_expected_cell_size(x, sizes), dtype=self.weight_ih_l0.dtype)
        return super()._zeros(x, sizes), c


def _ranked(rank: int) -> str:
    return "batched 3-D" if rank == 3 else "unbatched 2-D"
