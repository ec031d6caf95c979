"""What weights may be: parametrizations for torch.nn.utils.parametrize, for any weight."""

import torch
from torch import Tensor, nn

from bptt.errors import ArgumentError


class Dale(nn.Module):
    """Dale's law, `|W| * signs`: all that a unit sends out has one sign.

    Args:
        signs: (K,) +1 for excitatory units, -1 for inhibitory ones, of the K that send.
        dim: the weight's dimension of those that send: 0 in `bptt.cells`, where `s Ws` takes a row
            for each, 1 in torch.nn's weights.

    A weight that is exactly 0 has no gradient and stays there.

    Raises:
        ArgumentError: signs other than +1 and -1, or not one for each sending unit.

    Source: Song, Yang & Wang 2016, "Training excitatory-inhibitory recurrent neural networks for
    cognitive tasks" (with the positive part where this has the absolute value).

    >>> from torch.nn.utils.parametrize import register_parametrization
    >>> from bptt.cells import Leaky
    >>> signs = torch.tensor([1.0, 1.0, 1.0, -1.0])
    >>> cell = register_parametrization(Leaky(2, 4), "Ws", Dale(signs))
    >>> bool((cell.Ws[:3] >= 0).all() and (cell.Ws[3] <= 0).all())
    True
    """

    signs: Tensor

    def __init__(self, signs: Tensor, dim: int = 0) -> None:
        super().__init__()
        signs = torch.as_tensor(signs, dtype=torch.get_default_dtype())
        if signs.dim() != 1 or not (signs.abs() == 1).all():
            raise ArgumentError(f"signs should be +1 or -1, one for each unit, got {signs}")
        self.register_buffer("signs", signs)
        self.dim = dim

    def forward(self, W: Tensor) -> Tensor:
        """|W| with the signs of those that send."""
        count = W.shape[self.dim] if -W.dim() <= self.dim < W.dim() else None
        if count != len(self.signs):
            raise ArgumentError(
                f"signs should be one for each unit that sends, dimension {self.dim} of a weight "
                f"{tuple(W.shape)}, got {len(self.signs)}"
            )
        shape = [1] * W.dim()
        shape[self.dim] = len(self.signs)
        return W.abs() * self.signs.view(shape).to(W.dtype)

    def right_inverse(self, W: Tensor) -> Tensor:
        """What W is made from: itself."""
        return W


class Masked(nn.Module):
    """A fixed mask, `mask * W`: connections that are not there.

    Args:
        mask: what broadcasts to the weight; 0 (or False) where there is no connection.

    Raises:
        ArgumentError: a mask that does not broadcast to the weight.

    >>> from torch.nn.utils.parametrize import register_parametrization
    >>> from bptt.cells import Leaky
    >>> cell = register_parametrization(Leaky(2, 4), "Ws", Masked(1 - torch.eye(4)))
    >>> bool((cell.Ws.diagonal() == 0).all())
    True
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", torch.as_tensor(mask, dtype=torch.get_default_dtype()))

    def forward(self, W: Tensor) -> Tensor:
        """W where there are connections, else 0."""
        try:
            self.mask.expand(W.shape)
        except RuntimeError as error:
            raise ArgumentError(
                f"mask should broadcast to the weight {tuple(W.shape)}, got shape "
                f"{tuple(self.mask.shape)}"
            ) from error
        return W * self.mask.to(W.dtype)

    def right_inverse(self, W: Tensor) -> Tensor:
        """What W is made from: itself."""
        return W
