"""bptt.cells: each cell's equations, and the gradient through them."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import bptt
from bptt.cells import GRU, LSTM, Elman, LSTMState
from bptt.errors import ArgumentError, StructureError

I, H, T, B = 3, 4, 5, 2  # noqa: E741
CELLS = {
    "elman": lambda: Elman(I, H),
    "lesson": lambda: Elman(I, H, torch.sigmoid, bias=False),
    "prelu": lambda: Elman(I, H, nn.PReLU()),
    "gru": lambda: GRU(I, H),
    "gru without bias": lambda: GRU(I, H, bias=False),
    "lstm": lambda: LSTM(I, H),
    "lstm without bias": lambda: LSTM(I, H, bias=False),
    "lstm projected": lambda: LSTM(I, H, proj_size=2),
}
every_cell = pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def start(cell):
    return pytree.tree_map(lambda s: torch.randn_like(s).requires_grad_(), cell.initial_state(B))


def loop(cell, x, state):
    """What unroll computes, differentiated by autograd through a plain Python loop."""
    outputs = []
    for x_t in x:
        state = cell(x_t, state)
        outputs.append(pytree.tree_leaves(state)[0])
    return torch.stack(outputs), state


@every_cell
def test_gradient_is_autograds_through_the_loop(make):
    cell, x = make(), torch.randn(T, B, I, requires_grad=True)
    state = start(cell)
    sources = [x, *pytree.tree_leaves(state), *cell.parameters()]
    pair = []
    for run in (loop, bptt.unroll):
        torch.manual_seed(1)
        results = pytree.tree_leaves(run(cell, x, state))
        total = sum((torch.randn_like(leaf) * leaf).sum() for leaf in results)
        pair.append((results, torch.autograd.grad(total, sources)))
    torch.testing.assert_close(pair[1], pair[0], rtol=1e-10, atol=1e-12)


@every_cell
def test_gradient_is_the_finite_difference(make):
    cell, x = make(), torch.randn(T, B, I, requires_grad=True)
    state = start(cell)
    sources = x, *pytree.tree_leaves(state), *cell.parameters()
    assert torch.autograd.gradcheck(  # perturbs the sources in place
        lambda *_: tuple(pytree.tree_leaves(bptt.unroll(cell, x, state))), sources
    )


@pytest.mark.parametrize(
    ("make", "theirs"),
    [
        (CELLS["elman"], nn.RNN(I, H)),
        (CELLS["gru"], nn.GRU(I, H)),
        (CELLS["lstm"], nn.LSTM(I, H)),
        (CELLS["lstm projected"], nn.LSTM(I, H, proj_size=2)),
    ],
)
def test_equations_are_those_of_torch_nn(make, theirs):
    """Transposed, torch.nn's weights are the cells'."""
    cell, theirs, x = make(), theirs.double(), torch.randn(T, B, I)
    weights = {"Wx": theirs.weight_ih_l0.T, "Ws": theirs.weight_hh_l0.T}
    weights |= {"bx": theirs.bias_ih_l0, "bs": theirs.bias_hh_l0}
    weights["b"] = weights["bx"] + weights["bs"]
    if hasattr(theirs, "weight_hr_l0"):
        weights["Wr"] = theirs.weight_hr_l0.T
    cell.load_state_dict({name: weights[name] for name in cell.state_dict()})
    expected, final = theirs(x)
    outputs, state = bptt.unroll(cell, x)
    torch.testing.assert_close(outputs, expected)
    state = [leaf[None] for leaf in pytree.tree_leaves(state)]
    torch.testing.assert_close(state, pytree.tree_leaves(final))


def test_lstm_state_is_named_and_may_be_plain():
    cell, x = LSTM(I, H, proj_size=2), torch.randn(T, B, I)
    _, state = bptt.unroll(cell, x)
    assert isinstance(state, LSTMState)
    assert (state.h.shape, state.c.shape) == ((B, 2), (B, H))
    plain = bptt.unroll(cell, x, (torch.zeros(B, 2), torch.zeros(B, H)))[1]
    torch.testing.assert_close(tuple(plain), tuple(state))


def test_activation_keeps_its_own_weights():
    assert Elman(I, H, nn.PReLU(init=0.125)).activation.weight.item() == 0.125


@every_cell
def test_copies_and_conversions(make):
    cell, x = make(), torch.randn(T, B, I)
    expected = bptt.unroll(cell, x)
    for other in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        torch.testing.assert_close(bptt.unroll(other, x), expected)
    assert bptt.unroll(cell.float(), x.float())[0].dtype == torch.float32


X = torch.zeros(T, B, I, dtype=torch.float64)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Elman(0, H), ArgumentError, "input_size should be a whole number .* got 0"),
        (lambda: GRU(I, 2.5), ArgumentError, "hidden_size should be a whole number .* got 2.5"),
        (lambda: LSTM(I, True), ArgumentError, "hidden_size"),
        (lambda: LSTM(I, H, proj_size=H), ArgumentError, "proj_size should be 0 or below hidden"),
        (lambda: Elman(I, H, "tanh"), StructureError, "activation should be a function .* 'tanh'"),
        (
            lambda: bptt.unroll(GRU(I, H), X, (X[0], X[0])),
            StructureError,
            "state: expected the structure",
        ),
        (lambda: bptt.unroll(LSTM(I, H), X, X[0]), StructureError, "LSTM: state should be a pair"),
        (
            lambda: bptt.unroll(LSTM(I, H), X[:, 0, None, 0]),
            ArgumentError,
            r"inputs: expected \(T, B, 3\)",
        ),
        (lambda: bptt.unroll(LSTM(I, H), X[..., :2]), ArgumentError, "inputs: expected 3 features"),
        (lambda: bptt.unroll(GRU(I, H), X.float()), ArgumentError, "inputs: expected float64"),
    ],
)
def test_says_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()
