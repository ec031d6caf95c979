"""What the way back from each error shows, against autograd and against sums over everything."""

import numpy as np
import pytest
import torch
from torch import nn

import bptt
from bptt import cells
from bptt.errors import ArgumentError
from bptt.inspect.subject import as_cell

I, H = 3, 4  # noqa: E741
MODELS = {
    "rnn": lambda: bptt.nn.RNN(I, H, num_layers=2, nonlinearity="relu"),
    "gru": lambda: bptt.nn.GRU(I, H),
    "lstm": lambda: bptt.nn.LSTM(I, H, num_layers=3, proj_size=2, bias=False),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(bptt.nn.GRU(I, H), "weight_hh_l0"),
    "recurrent": lambda: bptt.nn.Recurrent(
        lambda size: cells.LSTM(size, H), input_size=I, num_layers=2
    ),
    "network of a cell": lambda: bptt.nn.Network(cells.Elman(I, H), 2, bias=True),
    "network of layers": lambda: bptt.nn.Network(bptt.nn.GRU(I, H, num_layers=2), 2),
}


def gradients(outputs, model):
    model.zero_grad()
    outputs.square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_as_one_cell_gives_what_the_model_gives(name, backend, double):
    model = MODELS[name]()
    x, lengths = torch.randn(6, 2, I), torch.tensor([6, 3])
    reset = torch.rand(6, 2) < 0.3
    live = (torch.arange(6)[:, None] < lengths)[..., None]
    whole, _ = model(x, lengths=lengths, reset=reset)
    expected = torch.where(live, whole, 0.0)  # a network's bias goes on where sequences have ended
    wanted = gradients(expected, model)
    found, _ = bptt.unroll(as_cell(model), x, lengths=lengths, reset=reset, backend=backend)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found, model), wanted)


def test_a_bidirectional_model_has_no_one_way_back():
    with pytest.raises(ArgumentError, match="expected one direction"):
        as_cell(bptt.nn.GRU(I, H, bidirectional=True))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_terms_add_up_to_the_gradient(backend, double):
    model = bptt.nn.Network(cells.GRU(I, H), 2)
    x, d = torch.randn(7, 3, I), torch.randn(7, 3, 2)
    found = bptt.inspect.credit(model, x, targets=d, backend=backend)
    scores, _ = model(x)
    rows = (d - scores).square().sum((1, 2))
    for t in range(7):
        whole = torch.autograd.grad(rows[t], list(model.parameters()), retain_graph=True)
        for (name, _), gradient in zip(model.named_parameters(), whole, strict=True):
            np.testing.assert_allclose(found.total(t)[name], gradient, atol=1e-13)
            norms = np.linalg.norm(found.terms(t)[name].reshape(7, -1), axis=1)
            np.testing.assert_allclose(found.parameters[name][t], norms, atol=1e-13)
