"""The leaky, continuous-time rate network."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bptt.cells.parts import Cell, check_callable
from bptt.errors import ArgumentError


class Leaky(Cell):
    """Leaky rate network in continuous time, `tau ds/dt = -s + phi(x Wx + s Ws + b + noise)`.

        s_t = (1 - a) * s_{t-1} + a * phi(x_t Wx + s_{t-1} Ws + b + sqrt(2 / a) * sigma * xi_t)
        a = 1 / tau = 1 / (1 + e^k),  xi_t normal, drawn anew for each unit, sequence and step

    Args:
        input_size: I, features of x_t.
        hidden_size: H, units of the state.
        tau: time constant in steps, at least 1: one for all units, or one for each, (H,).
        train_tau: whether k, and so tau, is trained; tau is then above 1.
        noise: sigma; drawn in `eval()` too, for it belongs to the equation: set `cell.noise = 0`.
        activation: phi, any function (or module) from tensor to tensor of the same shape.

    Shapes: x_t (B, I), s_t (B, H), Wx (I, H), Ws (H, H), b and k (H,).
    Weights start uniform in +-1/sqrt(H). `Dale` and `Masked` constrain any of them.

    Raises:
        ArgumentError: a size below 1, a tau or a noise out of range.
        StructureError: an activation that cannot be called.

    Source: Yang & Wang 2020, "Artificial neural networks for neuroscientists: a primer"; k instead
    of tau is ours, and keeps a trained tau above 1, where Euler's steps are stable.

    >>> cell = Leaky(3, 5, tau=torch.tensor([1.0, 2.0, 5.0, 10.0, 100.0]), noise=0.1)
    >>> cell(torch.zeros(2, 3), cell.initial_state(2)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        tau: float | Tensor = 10.0,
        train_tau: bool = False,
        noise: float = 0.0,
        activation: Callable[[Tensor], Tensor] = torch.relu,
    ) -> None:
        super().__init__(input_size, hidden_size)
        check_callable("activation", activation)
        if not noise >= 0:
            raise ArgumentError(f"noise should be 0 or above, got {noise!r}")
        self.activation, self.noise = activation, noise
        self.Wx = self.uniform(input_size, hidden_size)
        self.Ws = self.uniform(hidden_size, hidden_size)
        self.b = self.uniform(hidden_size)
        self.k = nn.Parameter(self._k(tau, train_tau), requires_grad=train_tau)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """s_t (B, H) from x_t (B, I) and s_{t-1} (B, H)."""
        a, p = torch.sigmoid(-self.k), x @ self.Wx + self.b
        if self.noise:
            p = p + self.noise * torch.sqrt(2 / a) * torch.randn_like(p)
        return (1 - a) * state + a * self.activation(p + state @ self.Ws)

    @property
    def tau(self) -> Tensor:
        """Time constants (H,) in steps."""
        return 1 + self.k.exp()

    def _k(self, tau: float | Tensor, train: bool) -> Tensor:
        given = torch.as_tensor(tau, dtype=torch.get_default_dtype())
        if (
            given.shape not in ((), (self.hidden_size,))
            or not (given > 1 if train else given >= 1).all()
        ):
            raise ArgumentError(
                f"tau should be {'above 1' if train else 'at least 1'} step, one number or one for "
                f"each of {self.hidden_size} units, got {tau!r}"
            )
        return torch.log(given - 1).expand(self.hidden_size).clone()
