"""The network of a task: embeddings, recurrent layers, a read-out."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bptt.methods import Full, Method
from bptt.nn import Recurrent
from bptt.tasks import Batch, Forward, NetworkShape
from bptt.train.cells import make_cell, output_size
from bptt.train.config import NetworkOptions

EXACT = Full()


class Network(nn.Module):
    """`y_t = s_t Wy + by` over recurrent layers, over numbers and embedded categories.

    Args:
        shape: what the task needs.
        options: cell, sizes, dropout.

    Wy and by start at zero: the untrained network says nothing, which for a forecast is the last
    value and for a class the same probability for each. Code 0 of a category, which does not occur
    in training, is read as zeros.
    """

    def __init__(self, shape: NetworkShape, options: NetworkOptions) -> None:
        super().__init__()
        self.read = shape.read
        self.embeddings = nn.ModuleList(
            nn.Embedding(codes, embedding_size(codes), padding_idx=0) for codes in shape.categories
        )
        input_size = shape.numeric + sum(map(embedding_size, shape.categories))
        width = output_size(options.cell, options.hidden, input_size)
        self.recurrent = Recurrent(
            make_cell(options.cell, options.hidden),
            input_size=input_size,
            num_layers=options.layers,
            dropout=options.dropout,
        )
        self.read_out = nn.Linear(width, shape.outputs)
        nn.init.zeros_(self.read_out.weight)
        nn.init.zeros_(self.read_out.bias)

    def forward(
        self, batch: Batch, state: Any = None, method: Method = EXACT
    ) -> tuple[Tensor, Any]:
        """Outputs (T, B, K), or (B, K) where the last step is read, and the final state."""
        hidden, state = self.recurrent(
            self.inputs(batch), state, lengths=batch.lengths, reset=batch.reset, method=method
        )
        if self.read == "last step":
            hidden = _last(hidden, batch.lengths)
        return self.read_out(hidden), state

    def inputs(self, batch: Batch) -> Tensor:
        """(T, B, I): numbers, and what stands for each category, side by side."""
        embedded = [
            embedding(codes)
            for embedding, codes in zip(self.embeddings, batch.categorical.unbind(-1), strict=True)
        ]
        return torch.cat([batch.numeric, *embedded], -1)


def embedding_size(codes: int) -> int:
    """Numbers that stand for one of so many codes: half as many, at most 64.

    >>> [embedding_size(codes) for codes in (2, 7, 90, 1000)]
    [1, 4, 45, 64]
    """
    return min(64, (codes + 1) // 2)


def move(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""
    parts = {name: part.to(device) for name, part in vars(batch).items() if part is not None}
    return replace(batch, **parts)


def forward_of(network: nn.Module, device: torch.device) -> Forward:
    """The network as a task calls it: no gradients, outputs on the CPU."""

    def forward(batch: Batch, state: Any) -> tuple[Tensor, Any]:
        with torch.no_grad():
            outputs, state = network(move(batch, device), state)
        return outputs.cpu(), state

    return forward


def _last(hidden: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, H): each sequence's own last step of (T, B, H). A sequence has at least one."""
    if lengths is None:
        return hidden[-1]
    return hidden[lengths - 1, torch.arange(hidden.shape[1], device=hidden.device)]
