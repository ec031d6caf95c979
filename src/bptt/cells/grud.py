"""The gated recurrent unit for missing values and uneven gaps in time."""

import torch
from torch import Tensor

from bptt.cells.gru import gru_reset_before
from bptt.cells.observed import Observed
from bptt.cells.parts import Cell
from bptt.errors import ArgumentError, StructureError
from bptt.structure import describe


class GRUD(Cell):
    """Gated recurrent unit with decay: what is missing fades to its mean, the state with the gap.

        gx = exp(-max(0, wd * delta_t + bd))             decay of the last value seen
        gs = exp(-max(0, delta_t Wd + bs))               decay of the state
        v_t = x_t where observed, else gx * x_t + (1 - gx) * mean
        s' = gs * s_{t-1}
        r, z = sigma(v_t Wxg + mask_t Wmg + s' Wsg + bg)             gates
        n = tanh(v_t Wxn + mask_t Wmn + (r * s') Wsn + bn)           candidate
        s_t = (1 - z) * n + z * s'                                   state

    Args:
        input_size: I, features of x_t.
        hidden_size: H, units of the state.
        mean: (I,) each feature's mean in the training data; 0 if None.

    A step takes `Observed(x_t, mask_t, delta_t)`: `bptt.cells.observed` makes it, for all t, of a
    series with NaNs. It does not depend on the state, so most of a step is done for all t at once.

    Shapes: x_t, mask_t (bool), delta_t (B, I), s_t (B, H); Wx and Wm (I, 3H), Ws (H, 3H), b (3H,)
    hold r, z, n side by side; wd and bd (I,), Wd (I, H), bs (H,).
    Weights start uniform in +-1/sqrt(H).

    Raises:
        ArgumentError: a size below 1, a mean of another shape.
        StructureError: inputs that are not x, mask and delta.

    Source: Che, Purushotham, Cho, Sontag & Liu 2018, "Recurrent neural networks for multivariate
    time series with missing values", whose z is our 1 - z.

    >>> from bptt import cells, unroll
    >>> series = torch.tensor([[0.3, 0.1], [float("nan"), 0.2]])[:, None]  # T = 2, B = 1, I = 2
    >>> outputs, state = unroll(GRUD(2, 5), cells.observed(series, torch.tensor([0.0, 2.5])))
    >>> outputs.shape
    torch.Size([2, 1, 5])
    """

    mean: Tensor

    def __init__(self, input_size: int, hidden_size: int, *, mean: Tensor | None = None) -> None:
        super().__init__(input_size, hidden_size)
        self.register_buffer("mean", torch.zeros(input_size) if mean is None else mean.clone())
        if self.mean.shape != (input_size,):
            raise ArgumentError(f"mean should be ({input_size},), got {tuple(self.mean.shape)}")
        self.Wx = self.uniform(input_size, 3 * hidden_size)
        self.Wm = self.uniform(input_size, 3 * hidden_size)
        self.Ws = self.uniform(hidden_size, 3 * hidden_size)
        self.b = self.uniform(3 * hidden_size)
        self.wd, self.bd = self.uniform(input_size), self.uniform(input_size)
        self.Wd, self.bs = self.uniform(input_size, hidden_size), self.uniform(hidden_size)

    def forward(self, inputs: Observed, state: Tensor) -> Tensor:
        """s_t (B, H) from what was observed (B, I) and s_{t-1} (B, H)."""
        if not isinstance(inputs, tuple | list) or len(inputs) != 3:
            raise StructureError(
                "GRUD: inputs should be (x, mask, delta), a tensor each, got "
                f"{describe(inputs)}; bptt.cells.observed(x, times) gives them"
            )
        x, mask, delta = inputs
        gx = torch.exp(-torch.relu(self.wd * delta + self.bd))
        gs = torch.exp(-torch.relu(delta @ self.Wd + self.bs))
        v = torch.where(mask, x, gx * x + (1 - gx) * self.mean)
        p = v @ self.Wx + mask.to(x.dtype) @ self.Wm + self.b
        return gru_reset_before(p, self.Ws, gs * state)
