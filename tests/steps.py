"""Recurrent steps of every kind that a user may write, for the tests of the compiler."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

H, INPUTS = 5, 3


class Written(nn.Module):
    """A cell whose step is one function `f(cell, x, h)`."""

    def __init__(self, f: Callable[..., Tensor]) -> None:
        super().__init__()
        self.f = f
        self.W = nn.Parameter(torch.randn(INPUTS, H))
        self.U = nn.Parameter(torch.randn(H, H) * 0.3)
        self.v = nn.Parameter(torch.randn(H))
        self.wide = nn.Parameter(torch.randn(2 * H, H) * 0.3)
        self.heads = nn.Parameter(torch.randn(2, 3, 3))
        self.low = nn.Parameter(torch.randn(H, 2))
        self.norm = nn.LayerNorm(H)
        self.register_buffer("mask", (torch.rand(H, H) < 0.5).float())
        self.register_buffer("chosen", torch.rand(H) < 0.5)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.U.new_zeros(batch_size, H)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return self.f(self, x, h)

    def sum(self, x: Tensor, h: Tensor) -> Tensor:
        return x @ self.W + h @ self.U


def _heads(c, x, h):
    split = torch.cat([h, x[:, :1]], 1).view(-1, 2, 3)
    return torch.einsum("bhk,hkn->bhn", split, c.heads).reshape(-1, 6)[:, :H].tanh() + x @ c.W


FUNCTIONAL = [
    F.relu, F.relu6, F.elu, F.selu, F.celu, F.leaky_relu, F.gelu, F.silu, F.mish, F.softplus,
    F.softsign, F.tanhshrink, F.hardtanh, F.hardsigmoid, F.hardswish, F.logsigmoid, F.softshrink,
    F.hardshrink, F.sigmoid, F.tanh,
]  # fmt: skip
POINTWISE = [
    torch.sin, torch.cos, torch.atan, torch.erf, torch.erfc, torch.abs, torch.floor, torch.ceil,
    torch.round, torch.trunc, torch.sign, torch.square, torch.asinh, torch.nan_to_num,
]  # fmt: skip
GROWING = [torch.exp, torch.exp2, torch.expm1, torch.sinh, torch.cosh, torch.tan]


def _of_sum(f: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda c, x, h: f(c.sum(x, h))


STEPS: dict[str, Callable[..., Tensor]] = {
    **{f.__name__: _of_sum(f) for f in FUNCTIONAL + POINTWISE},
    **{f.__name__: _of_sum(lambda z, f=f: f(torch.tanh(z))) for f in GROWING},
    "reciprocal": lambda c, x, h: torch.reciprocal(2 + torch.tanh(c.sum(x, h))),
    "log1p": lambda c, x, h: torch.log1p(c.sum(x, h).abs()),
    "log": lambda c, x, h: torch.log(c.sum(x, h).square() + 0.1),
    "sqrt": lambda c, x, h: torch.sqrt(c.sum(x, h) ** 2 + 1),
    "rsqrt": lambda c, x, h: torch.rsqrt(c.sum(x, h) ** 2 + 1),
    "cube": lambda c, x, h: torch.tanh(c.sum(x, h)) ** 3,
    "power": lambda c, x, h: (torch.tanh(c.sum(x, h)).abs() + 0.1) ** 1.5,
    "softmax": lambda c, x, h: F.softmax(c.sum(x, h), -1),
    "log_softmax": lambda c, x, h: F.log_softmax(c.sum(x, h), -1) * 0.1,
    "layer_norm": lambda c, x, h: torch.tanh(c.norm(c.sum(x, h))),
    "group_norm": lambda c, x, h: F.group_norm(c.sum(x, h), 1),
    "rms_norm": lambda c, x, h: F.rms_norm(c.sum(x, h), (H,)),
    "gelu_tanh": lambda c, x, h: F.gelu(c.sum(x, h), approximate="tanh"),
    "masked": lambda c, x, h: torch.tanh(x @ c.W + h @ (c.U.abs() * c.mask)),
    "low_rank": lambda c, x, h: torch.tanh(x @ c.W + h @ (c.low @ c.low.t())),
    "normalized": lambda c, x, h: torch.tanh(F.linear(h, F.normalize(c.U, dim=1)) + x @ c.W),
    "softmax_weight": lambda c, x, h: torch.tanh(h @ torch.softmax(c.U, 0) + x @ c.W),
    "matrix_exp": lambda c, x, h: torch.tanh(h @ torch.matrix_exp(c.U - c.U.t()) + x @ c.W),
    "diagonal": lambda c, x, h: torch.tanh(h @ torch.diag(c.v) + x @ c.W),
    "shared": lambda c, x, h: torch.tanh(h @ c.U) * (1 - torch.sigmoid(c.v)) + torch.sigmoid(c.v),
    "padded": lambda c, x, h: torch.tanh(
        c.sum(x, h) + F.pad(x, (0, H - INPUTS)) + F.pad(h, (-1, 1))
    ),
    "cat": lambda c, x, h: torch.tanh(torch.cat([x @ c.W, h], -1) @ c.wide),
    "where": lambda c, x, h: torch.where(h > 0, torch.tanh(x @ c.W), torch.sin(h @ c.U)),
    "chosen": lambda c, x, h: torch.where(c.chosen, torch.tanh(c.sum(x, h)), h),
    "clamp": lambda c, x, h: torch.clamp(c.sum(x, h), -1, 0.5),
    "extremes": lambda c, x, h: torch.maximum(torch.tanh(x @ c.W), torch.minimum(h, c.v)),
    "roll": lambda c, x, h: torch.tanh(x @ c.W + torch.roll(h, 1, -1) * c.v),
    "flip": lambda c, x, h: torch.tanh(x @ c.W + h.flip(-1) * c.v),
    "slices": lambda c, x, h: torch.cat([h[:, 2:], torch.tanh(c.sum(x, h))[:, :2]], 1),
    "columns": lambda c, x, h: torch.tanh(x @ c.W + (c.U @ h.t()).t()),
    "linear": lambda c, x, h: torch.tanh(x @ c.W + F.linear(h, c.U, c.v)),
    "deep": lambda c, x, h: torch.tanh(torch.relu(c.sum(x, h)) @ c.U),
    "normalize": lambda c, x, h: F.normalize(c.sum(x, h), dim=-1),
    "mean": lambda c, x, h: torch.tanh(c.sum(x, h) - h.mean(-1, keepdim=True)),
    "variance": lambda c, x, h: torch.tanh(c.sum(x, h)) / (1 + h.var(-1, keepdim=True)),
    "largest": lambda c, x, h: torch.tanh(c.sum(x, h) - h.amax(-1, keepdim=True)),
    "logsumexp": lambda c, x, h: torch.tanh(c.sum(x, h) - torch.logsumexp(h, -1, keepdim=True)),
    "cumsum": lambda c, x, h: torch.tanh(h.cumsum(-1) + x @ c.W),
    "einsum": lambda c, x, h: torch.tanh(torch.einsum("bi,ij->bj", h, c.U) + x @ c.W),
    "heads": _heads,
    "vector": lambda c, x, h: torch.tanh(x @ c.W + (h @ c.v).unsqueeze(-1)),
    "outer": lambda c, x, h: torch.tanh(x @ c.W + torch.einsum("bi,bj->bij", h, x).sum(-1)),
    "lerp": lambda c, x, h: torch.lerp(h, torch.tanh(x @ c.W), torch.sigmoid(h @ c.U)),
    "addcmul": lambda c, x, h: torch.addcmul(h / 2, torch.tanh(x @ c.W), torch.sigmoid(c.v)),
    "in_place": lambda c, x, h: c.sum(x, h).tanh_() * 0.9,
    "constant": lambda c, x, h: torch.tanh(c.sum(x, h) + torch.tensor(0.3)),
    "ones": lambda c, x, h: torch.tanh(c.sum(x, h)) * torch.ones(len(x), H) + torch.zeros_like(h),
    "dropout": lambda c, x, h: F.dropout(torch.tanh(c.sum(x, h)), 0.3, c.training),
    "noise": lambda c, x, h: torch.tanh(c.sum(x, h) + 0.1 * torch.randn_like(h)),
    "gate": lambda c, x, h: torch.where(torch.rand(len(h), 1) < 0.5, h, torch.tanh(c.sum(x, h))),
    "readout": lambda c, x, h: (lambda n: (F.softmax(n @ c.U, -1), n))(torch.tanh(c.sum(x, h))),
    "old_output": lambda c, x, h: (h * 2, torch.tanh(c.sum(x, h))),
    "input_output": lambda c, x, h: (x, torch.tanh(c.sum(x, h))),
    "delay": lambda c, x, h: (h @ c.U, x @ c.W),
    "forgets": lambda c, x, h: (h + x @ c.W, torch.zeros_like(h)),
    "detached": lambda c, x, h: torch.tanh(x @ c.W + h.detach() @ c.U),
    "untracked": lambda c, x, h: torch.tanh(x @ c.W + h @ (c.U / c.U.detach().norm())),
    "spikes": lambda c, x, h: (c.sum(x, h) > 0).to(h.dtype) * torch.tanh(h @ c.U),
    "prelu": lambda c, x, h: F.prelu(c.sum(x, h), c.v),
    "stack": lambda c, x, h: torch.stack([h, torch.tanh(x @ c.W)], 0).sum(0),
    "chunks": lambda c, x, h: sum(torch.split(torch.cat([h, h @ c.U], 1), H, 1)).tanh() + x @ c.W,
    "glu": lambda c, x, h: F.glu(torch.cat([x @ c.W, h @ c.U], 1)),
    "atan2": lambda c, x, h: torch.atan2(c.sum(x, h), h + 2),
    "remainder": lambda c, x, h: torch.remainder(c.sum(x, h), 1.3),
}


def written(name: str) -> Written:
    return Written(STEPS[name])
