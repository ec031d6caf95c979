"""bptt.remedies: what they do to a cell, whatever the cell."""

import copy
import functools
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import register_parametrization
from torch.utils import _pytree as pytree

import bptt
from bptt import cells
from bptt.cells import GRU, LIF, LSTM, MGU, RHN, SLSTM, Elman, IndRNN, Leaky
from bptt.errors import ArgumentError, CellError
from bptt.remedies import RecurrentDropout, WeightDrop, Zoneout
from bptt.testing import check_cell

I, H, T, B = 3, 4, 6, 2  # noqa: E741

pytestmark = pytest.mark.usefixtures("double")
unroll = functools.partial(bptt.unroll, backend="reference")  # kernels have a test of their own


class Tree(nn.Module):
    """A cell with an output of its own, a dict for a state, and a clock that counts."""

    def __init__(self):
        super().__init__()
        self.inside, self.begun = nn.Linear(I + H, H), []

    def initial_state(self, batch_size):
        return {"s": torch.zeros(batch_size, H), "clock": torch.zeros(batch_size, dtype=torch.long)}

    def begin(self, batch_size):
        self.begun.append(batch_size)

    def forward(self, x, state):
        s = torch.tanh(self.inside(torch.cat([x, state["s"]], -1)))
        return x.sum(-1, keepdim=True) * s, {"clock": state["clock"] + 1, "s": s}


REMEDIES = {
    "zoneout": lambda cell: Zoneout(cell, 0.3),
    "recurrent dropout": lambda cell: RecurrentDropout(cell, 0.3, inputs=0.2),
    "weight drop": lambda cell: WeightDrop(cell, 0.3),
    "one in the other": lambda cell: Zoneout(RecurrentDropout(WeightDrop(cell, 0.3), 0.3), 0.1),
    "the other way": lambda cell: WeightDrop(RecurrentDropout(Zoneout(cell, 0.1), 0.3), 0.3),
}
CELLS = {
    "elman": lambda: Elman(I, H),
    "leaky": lambda: Leaky(I, H, activation=torch.tanh),
    "gru": lambda: GRU(I, H),
    "gru reset before": lambda: GRU(I, H, reset_after=False),
    "gru layer norm": lambda: cells.LayerNormGRU(I, H, eps=0.1),
    "mgu": lambda: MGU(I, H),
    "ugrnn": lambda: cells.UGRNN(I, H),
    "rhn": lambda: RHN(I, H),
    "lstm": lambda: LSTM(I, H),
    "lstm projected": lambda: LSTM(I, H, proj_size=2),
    "lstm peephole": lambda: cells.PeepholeLSTM(I, H),
    "lstm layer norm": lambda: cells.LayerNormLSTM(I, H, eps=0.1),
    "slstm heads": lambda: SLSTM(I, H, num_heads=2),
    "lif smooth": lambda: LIF(I, H, spike=torch.sigmoid),
}
every_remedy = pytest.mark.parametrize("remedy", REMEDIES.values(), ids=REMEDIES)
every_cell = pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)


def inputs():
    return torch.randn(T, B, I, requires_grad=True)


def seeded(cell, x, **keywords):
    torch.manual_seed(1)
    return unroll(cell, x, **keywords)


@every_remedy
@every_cell
def test_gradient_is_the_finite_difference(remedy, make):
    cell, x = remedy(make()), inputs()
    weights = [weight for weight in cell.parameters() if weight.requires_grad]
    assert torch.autograd.gradcheck(
        lambda *_: tuple(pytree.tree_leaves(seeded(cell, x))), [x, *weights], fast_mode=True
    )


@every_remedy
def test_passes_the_public_check_in_evaluation(remedy):
    check_cell(remedy(GRU(I, H)).eval(), I, steps=5, batch=2)


@every_remedy
def test_draws_in_training_alone_and_by_seed(remedy):
    cell, x = remedy(LSTM(I, H)), inputs()
    once, again, other = seeded(cell, x)[0], seeded(cell, x)[0], unroll(cell, x)[0]
    assert once.equal(again)
    assert not once.equal(other)
    cell.eval()
    assert unroll(cell, x)[0].equal(unroll(cell, x)[0])
    with torch.no_grad():
        assert unroll(cell.train(), x)[0].shape == once.shape


@every_remedy
def test_copies_and_state_dict(remedy):
    cell, x = remedy(LSTM(I, H)), inputs()
    expected = seeded(cell, x)
    for other in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        torch.testing.assert_close(seeded(other, x), expected)
    fresh = remedy(LSTM(I, H))
    fresh.load_state_dict(cell.state_dict())
    torch.testing.assert_close(seeded(fresh, x), expected)
    names = [name.rpartition("cell.")[2] for name in cell.state_dict()]
    assert names == list(LSTM(I, H).state_dict())
    assert seeded(cell.float(), x.float())[0].dtype == torch.float32


@every_remedy
def test_a_later_call_changes_nothing_before_backward(remedy):
    cell, x = remedy(GRU(I, H)), inputs()
    expected = torch.autograd.grad(seeded(cell, x)[0].sum(), list(cell.parameters()))
    outputs, _ = seeded(cell, x)
    unroll(cell.eval(), x[:, :1])
    unroll(cell.train(), x[:, :1])
    assert all(map(torch.equal, torch.autograd.grad(outputs.sum(), [*cell.parameters()]), expected))


@every_remedy
def test_kernels_give_the_same(remedy):
    """Training and evaluation, the same draws; more sequences than at first, or one alone."""
    cell = remedy(LSTM(I, H))
    for training in (True, False):
        for batch in (B, 1, 7):
            x, pair = torch.randn(T, batch, I, requires_grad=True), []
            for backend in ("cpu", "reference"):
                outputs, _ = seeded(cell.train(training), x, backend=backend)
                total = outputs.square().sum()
                pair.append((outputs, torch.autograd.grad(total, [x, *cell.parameters()])))
            torch.testing.assert_close(*pair)


@every_remedy
def test_in_layers_and_directions(remedy, monkeypatch):
    monkeypatch.setattr(bptt.nn.layers, "unroll", unroll)
    net = bptt.nn.Recurrent(
        lambda size: remedy(LSTM(size, H)), input_size=I, num_layers=2, bidirectional=True
    )
    outputs, state, every = net(inputs(), lengths=[T, 2], all_states=True)
    assert outputs.shape == (T, B, 2 * H)
    assert every[1].c.shape == (T, B, 2, H)
    outputs.square().sum().backward()
    assert all(weight.grad.any() for weight in net.parameters())
    assert type(state).__name__ == "LSTMState"
    assert bptt.nn.Network(remedy(GRU(I, H)), 2)(inputs())[0].shape == (T, B, 2)


# Zoneout


def test_zoneout_keeps_units_at_its_rate():
    """Every unit of every step is the old one or what the cell makes of the old ones."""
    cell, x = GRU(I, 200), torch.randn(50, 3, I)
    outputs, _ = unroll(Zoneout(cell, 0.3), x)
    before = torch.cat([torch.zeros(1, 3, 200), outputs[:-1]])
    made = cell(x.flatten(0, 1), before.flatten(0, 1)).view_as(outputs)
    kept = outputs == before
    torch.testing.assert_close(outputs, torch.where(kept, before, made))
    assert kept.double().mean().item() == pytest.approx(0.3, abs=0.01)
    per_step = kept.double().mean((1, 2))
    assert per_step.std() < 0.05
    assert not (kept[0] == kept[1]).all()


def test_zoneout_of_each_tensor_of_a_state_and_its_expectation():
    cell, x = LSTM(I, H), inputs()
    h, c = torch.zeros(2, B, H)
    outputs, state = unroll(Zoneout(cell, (0.1, 0.5)).eval(), x)
    for x_t in x:
        new = cell(x_t, (h, c))
        h, c = 0.1 * h + 0.9 * new.h, 0.5 * c + 0.5 * new.c
    torch.testing.assert_close((outputs[-1], state.c), (h, c))
    _, state = unroll(Zoneout(cell, (0.0, 1.0)), x)
    assert not state.c.any()
    assert state.h.any()


def test_zoneout_of_a_tree():
    """An output beside the state is the cell's own, integers count on, begin arrives."""
    cell, x = Tree(), inputs()
    outputs, state = unroll(Zoneout(cell, 1.0), x)
    assert outputs.any()
    assert not state["s"].any()
    assert state["clock"].tolist() == [T, T]
    assert cell.begun == [B]


# Recurrent dropout


def elman(w, x, s, m):
    return torch.tanh(x @ w["Wx"] + (m * s) @ w["Ws"] + w["b"])


def gru(w, x, s, m):
    p, q = x @ w["Wx"] + w["bx"], (m * s) @ w["Ws"] + w["bs"]
    r, z = torch.sigmoid(p + q)[:, : 2 * H].chunk(2, -1)
    return (1 - z) * torch.tanh(p[:, 2 * H :] + r * q[:, 2 * H :]) + z * s


def mgu(w, x, s, m):
    p, (Wf, Wn) = x @ w["Wx"] + w["b"], w["Ws"].chunk(2, -1)
    f = torch.sigmoid(p[:, :H] + (m * s) @ Wf)
    return (1 - f) * s + f * torch.tanh(p[:, H:] + (m * f * s) @ Wn)


def rhn(w, x, s, m):
    for layer in range(2):
        a = (m * s) @ w["Ws"][layer] + w["b"][layer] + (x @ w["Wx"] if layer == 0 else 0)
        t = torch.sigmoid(a[:, H:])
        s = t * torch.tanh(a[:, :H]) + (1 - t) * s
    return s


def linear(w, x, s, m):
    return torch.tanh(x @ w["Wx"] + (m * s) @ w["weight_hh"].T)


class Linear(nn.Module):
    """A cell that is not bptt's, its recurrent weight as torch.nn lays it out."""

    def __init__(self):
        super().__init__()
        self.Wx, self.input_size = nn.Parameter(torch.randn(I, H)), I
        self.weight_hh = nn.Parameter(torch.randn(H, H))

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, H)

    def forward(self, x, state):
        return torch.tanh(x @ self.Wx + nn.functional.linear(state, self.weight_hh))


@pytest.mark.parametrize(
    ("make", "equation"),
    [
        (CELLS["elman"], elman),
        (CELLS["gru"], gru),
        (CELLS["mgu"], mgu),
        (CELLS["rhn"], rhn),
        (Linear, linear),
    ],
)
def test_recurrent_dropout_is_a_mask_on_what_weights_multiply(make, equation):
    """One mask for a sequence, on products alone: what a gate carries on stays whole."""
    cell, x = RecurrentDropout(make(), 0.5, inputs=0.4), inputs()
    outputs, _ = unroll(cell, x)
    w, s, states = dict(cell.cell.named_parameters()), torch.zeros(B, H), []
    for x_t in x:
        s = equation(w, cell.input_mask * x_t, s, cell.mask)
        states.append(s)
    torch.testing.assert_close(outputs, torch.stack(states))
    sources = [x, *cell.parameters()]
    found, expected = (
        torch.autograd.grad(y.square().sum(), sources) for y in (outputs, torch.stack(states))
    )
    torch.testing.assert_close(found, expected)


def test_masks_are_drawn_at_their_rate_for_each_sequence():
    cell = RecurrentDropout(GRU(50, 200), 0.25, inputs=0.5)
    unroll(cell, torch.randn(1, 100, 50))
    mask, input_mask = cell.mask, cell.input_mask
    assert mask.shape == (100, 200)
    assert set(mask.unique().tolist()) == {0.0, 1 / 0.75}
    assert mask.mean().item() == pytest.approx(1, abs=0.02)
    assert input_mask.mean().item() == pytest.approx(1, abs=0.06)
    assert not mask[0].equal(mask[1])
    unroll(cell, torch.randn(1, 100, 50))
    assert not cell.mask.equal(mask)


def test_slstm_heads_share_the_mask_of_the_whole_state():
    cell, x = RecurrentDropout(SLSTM(I, H, num_heads=2), 0.5), torch.randn(2, B, I)
    _, state = unroll(cell, x[:1])
    after, _ = unroll(cell, x[1:], state)
    state = state._replace(h=state.h * cell.mask)
    torch.testing.assert_close(after[0], cell.cell(x[1], state).h)


# Weight drop


def test_weight_drop_is_the_cell_with_other_weights():
    cell, x = WeightDrop(nn.LSTMCell(I, H), 0.5, weights=["weight_hh", "bias_ih"]), inputs()
    outputs, _ = unroll(cell, x)
    assert set(cell.masks["weight_hh"].unique().tolist()) == {0.0, 2.0}
    other = copy.deepcopy(cell.cell)
    with torch.no_grad():
        for name, mask in cell.masks.items():
            other.get_parameter(name).mul_(mask)
    expected, _ = unroll(other, x)
    assert outputs.equal(expected)
    outputs.sum().backward()
    expected.sum().backward()
    for name, weight in cell.cell.named_parameters():
        gradient = other.get_parameter(name).grad * cell.masks.get(name, 1)
        torch.testing.assert_close(weight.grad, gradient)


@every_remedy
def test_takes_parametrized_weights(remedy):
    cell, x = Leaky(I, H), inputs()
    register_parametrization(cell, "Ws", cells.Dale([1.0, 1.0, 1.0, -1.0]))
    wrapped = remedy(cell)
    unroll(wrapped, x)[0].square().sum().backward()
    assert cell.parametrizations.Ws.original.grad.any()
    check_cell(wrapped.eval(), I, steps=4, batch=2)


def run(cell, state=None):
    return unroll(cell, torch.zeros(T, B, I), state)


def other_batch(cell):
    cell.begin(3)
    cell(torch.zeros(B, I), torch.zeros(B, H))


ERRORS = {
    "p": (lambda: Zoneout(GRU(I, H), 1.5), ArgumentError, "p should be a prob.* got 1.5"),
    "a p": (lambda: Zoneout(LSTM(I, H), (0.1, "c")), ArgumentError, "p should be a prob.* got 'c'"),
    "inputs": (lambda: RecurrentDropout(GRU(I, H), 0.1, inputs=-1), ArgumentError, "inputs should"),
    "p of three": (
        lambda: run(Zoneout(LSTM(I, H), (0.1,) * 3)),
        ArgumentError,
        "state's 2 tensors",
    ),
    "a class": (lambda: Zoneout(GRU, 0.1), CellError, "Zoneout: cell should be a cell"),
    "torch.nn's GRU": (lambda: Zoneout(nn.GRU(I, H), 0.1), CellError, "use torch.nn.GRUCell or"),
    "a name": (
        lambda: WeightDrop(GRU(I, H), 0.1, weights="Wz"),
        ArgumentError,
        "weights should name parameters of GRU, which has Wx, Ws, bx, bs; got 'Wz'",
    ),
    "no name": (lambda: WeightDrop(IndRNN(I, H), 0.1), ArgumentError, "got 'Ws', 'weight_hh' by"),
    "a function": (lambda: WeightDrop(lambda x, s: s, 0.1), CellError, "cell should be a module"),
    "no input_size": (
        lambda: RecurrentDropout(Tree(), 0.1, inputs=0.1, weights="weight"),
        ArgumentError,
        "inputs should be 0: Tree has no input_size",
    ),
    "no begin": (
        lambda: RecurrentDropout(GRU(I, H), 0.1)(torch.zeros(B, I), torch.zeros(B, H)),
        CellError,
        "begin.batch_size. should be called",
    ),
    "no begin of weights": (
        lambda: WeightDrop(GRU(I, H), 0.1)(torch.zeros(B, I), torch.zeros(B, H)),
        CellError,
        "begin.batch_size. should be called",
    ),
    "fused": (
        lambda: run(RecurrentDropout(nn.GRUCell(I, H), 0.1)),
        CellError,
        "uses a recurrent weight in torch.gru_cell; .* take those of bptt.cells",
    ),
    "beside others": (
        lambda: run(RecurrentDropout(Tree(), 0.1, weights="weight")),
        CellError,
        r"the mask is \(2, 4\).* takes \(2, 7\)",
    ),
    "of the input": (
        lambda: run(RecurrentDropout(GRU(I, H), 0.1, weights="Wx")),
        CellError,
        "does not multiply all 4 units of the state by the recurrent weights",
    ),
    "another batch": (
        lambda: other_batch(RecurrentDropout(GRU(I, H), 0.1)),
        CellError,
        "the mask ",
    ),
    "no start": (lambda: run(Zoneout(lambda x, s: s, 0.1)), CellError, "does not say what it st"),
    "a state": (
        lambda: run(Zoneout(GRU(I, H), 0.1), torch.zeros(B, 2)),
        ArgumentError,
        "state: expected 4 features",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), ERRORS.values(), ids=ERRORS)
def test_says_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()
