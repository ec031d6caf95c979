"""The leaky integrate-and-fire neuron."""

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from bptt.cells.parts import Cell, check_callable, check_state
from bptt.cells.surrogate import FastSigmoid
from bptt.errors import ArgumentError


class LIFState(NamedTuple):
    """What spiking neurons carry, (B, H) each: spikes 0 or 1, membrane potential, current."""

    s: Tensor
    u: Tensor
    i: Tensor


class LIF(Cell):
    """Leaky integrate-and-fire neurons, trained with a surrogate gradient.

        i_t = alpha * i_{t-1} + x_t Wx + s_{t-1} Ws         synaptic current
        u_t = beta * u_{t-1} + i_t - threshold * s_{t-1}    membrane potential, lowered by a spike
        s_t = 1 if u_t > threshold, else 0                  spike
        alpha = exp(-1 / tau_synapse),  beta = exp(-1 / tau_membrane)

    Args:
        input_size: I, features of x_t.
        hidden_size: H, neurons.
        tau_synapse, tau_membrane: time constants in steps.
        threshold: the potential above which a neuron spikes.
        spike: from u_t - threshold to spikes; `FastSigmoid(slope)`, `Triangle(width, height)`, or
            any function. Its backward pass decides the gradient.

    Shapes: x_t (B, I); s, u, i (B, H); Wx (I, H), Ws (H, H).
    Weights start uniform in +-1/sqrt(H).

    Raises:
        ArgumentError: a size below 1, a time constant or threshold that is not above 0.
        StructureError: a state that is not of three tensors, a spike that cannot be called.

    Source: Neftci, Mostafa & Zenke 2019, "Surrogate gradient learning in spiking neural networks".
    Not in the paper: u_t has i_t where the paper has i_{t-1}.

    >>> import torch
    >>> cell = LIF(3, 5)
    >>> cell(torch.zeros(2, 3), cell.initial_state(2)).s.shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        tau_synapse: float = 5.0,
        tau_membrane: float = 10.0,
        threshold: float = 1.0,
        spike: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        _check_positive(tau_synapse=tau_synapse, tau_membrane=tau_membrane, threshold=threshold)
        self.alpha, self.beta = math.exp(-1 / tau_synapse), math.exp(-1 / tau_membrane)
        self.threshold, self.spike = threshold, FastSigmoid() if spike is None else spike
        check_callable("spike", self.spike)
        self.Wx = self.uniform(input_size, hidden_size)
        self.Ws = self.uniform(hidden_size, hidden_size)

    def initial_state(self, batch_size: int) -> LIFState:
        """No spikes, potentials and currents 0."""
        return LIFState(*(self.zeros(batch_size) for _ in range(3)))

    def forward(self, x: Tensor, state: LIFState) -> LIFState:
        """s_t, u_t, i_t from x_t (B, I) and those before."""
        check_state(self, state, LIFState._fields)
        s, u, i = state
        i = self.alpha * i + x @ self.Wx + s @ self.Ws
        u = self.beta * u + i - self.threshold * s
        return LIFState(self.spike(u - self.threshold), u, i)


def _check_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not number > 0:
            raise ArgumentError(f"{name} should be above 0, got {number!r}")
