"""Models of one's own, with a recurrent part in the middle, as bptt.inspect opens them."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import bptt
from bptt import inspect
from bptt.cells import LSTM, Elman
from bptt.errors import ArgumentError, CellError

T, B, CODES, INPUTS, H = 9, 3, 5, 2, 4
LENGTHS = torch.tensor([9, 5, 2])


class Tagger(nn.Module):
    """A score at every step, of embedded codes."""

    def __init__(self, layers: int = 1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CODES, INPUTS)
        self.recurrent = bptt.nn.GRU(INPUTS, H, num_layers=layers, batch_first=True)
        self.head = nn.Linear(H, 2)

    def forward(self, codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        states, _ = self.recurrent(self.embedding(codes), lengths=lengths)
        return self.head(states)


class Classifier(nn.Module):
    """One score a sequence, of the final state, behind a normalisation that counts its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = bptt.nn.LSTM(INPUTS, H, num_layers=2)
        self.norm, self.head = nn.BatchNorm1d(H), nn.Linear(H, 2)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        _, (h, _) = self.recurrent(x)
        return self.head(self.norm(h[-1]))


class Packer(nn.Module):
    """One score a sequence, of packed sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = bptt.nn.Recurrent(lambda size: LSTM(size, H), input_size=INPUTS)
        self.head = nn.Linear(H, 1)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        states, (h, c) = self.recurrent(packed)
        padded, _ = pad_packed_sequence(states)
        return self.head(h[0] + c[0] + padded[lengths - 1, torch.arange(len(lengths))])


class Looper(nn.Module):
    """Its own call of bptt.unroll, of whose outputs the last is read."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = Elman(INPUTS, H), nn.Linear(H, 3)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = bptt.unroll(self.cell, x)
        return self.head(torch.dropout(states[-1], 0.5, self.training))


def codes() -> Tensor:
    return torch.randint(CODES, (B, T), generator=torch.Generator().manual_seed(1))


def numbers() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(T, B, INPUTS, generator=generator, dtype=torch.float64)


MODELS = {
    "embedded, batch first": (Tagger, codes, {}),
    "lengths, two layers": (lambda: Tagger(2), codes, {"lengths": LENGTHS}),
    "final state": (Classifier, numbers, {}),
    "packed": (Packer, numbers, {"lengths": LENGTHS}),
    "unrolled": (Looper, numbers, {}),
}


def made(name: str) -> tuple[nn.Module, Tensor, dict]:
    make, inputs, given = MODELS[name]
    torch.manual_seed(0)
    return make().double(), inputs(), given


def errors(scores: Tensor) -> Tensor:
    """(d - y)^2 with d = 1, number by number."""
    return (scores - 1).square()


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_the_models_own(name: str, backend: str) -> None:
    model, inputs, given = made(name)
    before = copy.deepcopy(model.state_dict())
    generator = torch.get_rng_state()
    with torch.no_grad():  # as where a model is judged
        found = inspect.credit(model, inputs, errors, **given, backend=backend)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(now, before[key]) for key, now in model.state_dict().items())
    assert found.check() < 1e-9
    rows = errors(model(inputs, *given.values()))
    if name == "lengths, two layers":  # what lies beyond a length is no loss of credit's
        rows = rows * (torch.arange(T) < LENGTHS[:, None])[..., None]
    rows.sum().backward()
    part = {key: p.grad for key, p in model.named_parameters() if "head" not in key}
    part = {key: g for key, g in part.items() if key.split(".")[0] in ("recurrent", "cell")}
    assert set(found.gradients) == set(part)
    for key, gradient in part.items():
        np.testing.assert_allclose(found.gradients[key], gradient, rtol=1e-9, atol=1e-12)


def test_a_sequences_loss_counts_at_its_last_step() -> None:
    model, inputs, given = made("packed")
    found = inspect.credit(model, inputs, errors, **given, backend="reference")
    assert (found.losses[LENGTHS - 1] > 0).all()
    assert found.losses.sum() == pytest.approx(errors(model(inputs, LENGTHS)).sum().item())
    assert (found.per_sequence[:, 5:, 1] == 0).all()


def test_head_and_part_by_hand() -> None:
    model, inputs, _ = made("embedded, batch first")
    x = model.embedding(inputs).detach()
    whole = inspect.credit(model, inputs, errors)
    part = inspect.credit(model.recurrent, x, lambda s: errors(model.head(s)))
    np.testing.assert_allclose(whole.state, part.state, rtol=1e-12)
    assert repr(inspect.memory(model, inputs, errors)) == repr(
        inspect.memory(model.recurrent, x, lambda s: errors(model.head(s)))
    )


def test_a_diagnosis_looks_at_a_part() -> None:
    model, inputs, given = made("lengths, two layers")
    found = inspect.diagnose(model, inputs, errors, **given, sequences=2, steps=4)
    whole = inspect.credit(model, inputs[:2], errors, lengths=LENGTHS[:2])
    assert found.missing.keys() <= {"lyapunov"}
    assert found.credit is not None
    np.testing.assert_allclose(found.credit.losses, whole.losses[-4:], rtol=1e-12)
    for of in (inspect.decay, inspect.truncation):
        assert of(model, inputs, targets=torch.zeros(B, T, 2).double()).to_frame().height


def test_a_picture_of_a_model() -> None:
    model, inputs, _ = made("final state")
    assert "<svg" in bptt.picture.draw(model, inputs, errors).svg()


def test_a_page_of_a_model(tmp_path) -> None:
    model, inputs, _ = made("embedded, batch first")
    page = bptt.report(model, inputs, errors, path=tmp_path / "page.html").read_text()
    assert "3 sequences of 9 steps" in page
    assert "Tagger" in page


class Pooler(Looper):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(bptt.unroll(self.cell, x)[0].mean(0))


class Twice(Looper):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(bptt.unroll(self.cell, bptt.unroll(self.cell, x)[0][..., :INPUTS])[0])


class Torchs(Tagger):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(INPUTS, H)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(x)[0])


class Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Step(nn.Module):
    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        return x + state


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        (Pooler, ArgumentError, "after its recurrent part"),
        (Twice, ArgumentError, r"runs 2 \(cell, cell\)"),
        (Torchs, ArgumentError, "for torch.nn's.*: recurrent"),
        (Nothing, ArgumentError, "the forward of Nothing runs none"),
        (Step, CellError, "does not say what it starts from"),
    ],
)
def test_what_cannot_be_opened(model, kind, message) -> None:
    with pytest.raises(kind, match=message):
        inspect.credit(model().double(), numbers(), errors)


@pytest.mark.parametrize("loss", [lambda s: s.sum(), lambda s: 1.0, lambda s: s[:2]])
def test_losses_of_other_shapes(loss) -> None:
    model, inputs, _ = made("final state")
    with pytest.raises(ArgumentError, match="loss: expected one number for each step"):
        inspect.credit(model, inputs, loss)
