"""`unroll` against sequences run alone, differentiated by autograd: every cell, every feature."""

import copy
import os
import pickle
import random
import threading
import types
from typing import NamedTuple

import pytest
import torch
import torch.nn.utils.prune
import torch.utils.checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrize

import bptt
from bptt.backends import graphs
from bptt.backends.product import Replay
from bptt.cells import Elman
from bptt.engine import known, outward, single
from bptt.testing import assert_close, check_cell, gradients, oracle

pytestmark = pytest.mark.usefixtures("double", "backend")


@pytest.fixture(params=["reference", "auto"])
def backend(request, monkeypatch):
    """Which backend `unroll` takes where a test does not say: step by step, and kernels."""
    monkeypatch.setitem(bptt.unroll.__kwdefaults__, "backend", request.param)


reference = pytest.mark.parametrize("backend", ["reference"], indirect=True)


class Pair(NamedTuple):
    h: Tensor
    c: Tensor


class Masked(nn.Module):
    """A rate network by Dale's law: abs(W) * mask, a leak per unit, two leaves of state."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(units, units) / units**0.5)
        self.Wx = nn.Parameter(torch.randn(inputs, units))
        self.read = nn.Linear(units, 2)
        self.leak = nn.Parameter(torch.rand(units))
        self.register_buffer("mask", (torch.rand(units, units) < 0.7).to(self.W))

    def initial_state(self, batch_size: int) -> Pair:
        zeros = self.W.new_zeros(batch_size, len(self.leak))
        return Pair(zeros, zeros + 0.5)

    def forward(self, x, state):
        drive = x @ self.Wx + state.h @ (self.W.abs() * self.mask)
        c = state.c + self.leak * (drive - state.c)
        h = torch.relu(c) + 0.1 * c
        return {"rate": h, "read": self.read(h)}, [h, c]


class Scaled(nn.Module):
    def forward(self, weight):
        return 0.5 * weight


def parametrized():
    cell = nn.GRUCell(3, 4)
    parametrize.register_parametrization(cell, "weight_hh", Scaled())
    return cell


CELLS = {
    "elman": lambda: Elman(3, 4),
    "elman relu without bias": lambda: Elman(3, 4, torch.relu, bias=False),
    "rnn cell": lambda: nn.RNNCell(3, 4),
    "gru cell": lambda: nn.GRUCell(3, 4),
    "lstm cell": lambda: nn.LSTMCell(3, 4),
    "masked": lambda: Masked(3, 4),
    "parametrized": parametrized,
    "old weight norm": lambda: torch.nn.utils.weight_norm(nn.RNNCell(3, 4), "weight_hh"),
}


WAYS = ["each step's graph kept", "autograd at each step run again", "one step replayed"]


@pytest.fixture(params=WAYS)
def product(request, monkeypatch):
    """The ways to a step's vector-Jacobian product, forced on sequences of any length."""
    force(WAYS.index(request.param), monkeypatch)


@pytest.fixture
def rerun(monkeypatch):
    """Steps are run again, or replayed, however short the sequence."""
    with monkeypatch.context() as patch:
        patch.setattr(known, "key_of", lambda *_: None)
        patch.setattr(graphs, "STEPS", 0)
        patch.setattr(single, "STEPS", 0)
        yield patch


def force(way, monkeypatch):
    """One way for every call: nothing is known of earlier ones."""
    monkeypatch.setattr(known, "key_of", lambda *_: None)
    monkeypatch.setattr(single, "STEPS", 0)
    monkeypatch.setattr(graphs, "STEPS", 0 if way else 10**9)
    monkeypatch.setattr(outward, "WORTH_RECORDING", 1 if way == 2 else 10**9)


@reference
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("name", CELLS)
def test_cell_by_cell(name, product):
    if name == "old weight norm":  # its weight is a computed attribute, which deepcopy refuses
        check_loose(CELLS[name]())
    else:
        check_cell(CELLS[name](), 3)


def check_loose(cell):
    inputs, state = torch.randn(5, 3, 3), torch.randn(3, 4)
    targets = list(cell.parameters())
    assert_same(
        gradients(lambda: bptt.unroll(cell, inputs, state), targets),
        gradients(lambda: oracle(cell, inputs, state), targets),
    )


def assert_same(found, expected):
    for a, b in zip(found[0] + found[1], expected[0] + expected[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_mix_of_features(data):
    with pytest.MonkeyPatch.context() as patch:
        force(data.draw(st.sampled_from([0, 1, 2])), patch)
        check_mix(data)


def check_mix(data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    steps, batch = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 4))
    cell = Masked(2, 3)
    inputs = torch.randn(steps, batch, 2, requires_grad=True)
    state = Pair(torch.randn(batch, 3, requires_grad=True), torch.randn(batch, 3))
    fresh = (torch.randn(3, requires_grad=True), torch.randn(batch, 1, requires_grad=True))
    given_ = {"reverse": data.draw(st.booleans())}
    rest = None
    if data.draw(st.booleans()):
        lengths = data.draw(st.lists(st.integers(0, steps), min_size=batch, max_size=batch))
        if not any(lengths):
            lengths[0] = 1
        given_["lengths"] = lengths
        rest = torch.arange(steps)[:, None] >= torch.tensor(lengths)
    if data.draw(st.booleans()):
        given_ |= {"reset": torch.rand(steps, batch) < 0.4, "reset_state": fresh}
    targets = [inputs, state.h, *fresh, *cell.parameters()]

    def padded():
        return inputs if rest is None else torch.where(rest[..., None], torch.nan, inputs)

    found = gradients(lambda: bptt.unroll(cell, padded(), state, **given_), targets)
    expected = gradients(lambda: oracle(cell, padded(), state, **given_), targets)
    for kind, ours, right in zip(("values", "gradients"), found, expected, strict=True):
        for a, b in zip(ours, right, strict=True):
            assert_close(a, b, kind, str(given_))


def test_a_derivative_wrong_by_a_thousandth_is_caught():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.tanh()

        @staticmethod
        def backward(ctx, gradient):
            (x,) = ctx.saved_tensors
            return gradient * (1 - x.tanh() ** 2) * 1.001

    with pytest.raises(AssertionError, match="gradient to"):
        check_cell(Elman(3, 4, Wrong.apply), 3)


def test_truth_is_checked_against_values_too(monkeypatch):
    cell = Elman(3, 4)
    wrong = copy.deepcopy(cell)
    with torch.no_grad():
        wrong.Ws += 1e-3
    monkeypatch.setattr("bptt.testing.oracle", lambda _, *a, **k: oracle(wrong.double(), *a, **k))
    with pytest.raises(AssertionError, match="outputs and state"):
        check_cell(cell, 3)


# A step written down and replayed.


@pytest.fixture
def programs(monkeypatch, rerun):
    """The programs that replays were given, None where a step went to autograd each time."""
    built = []
    build = Replay._build

    def watched(self, *arguments):
        built.append(build(self, *arguments))
        return built[-1]

    monkeypatch.setattr(Replay, "_build", watched)
    return built


@reference
@pytest.mark.parametrize("name", [name for name in CELLS if name != "old weight norm"])
def test_what_the_loop_keeps_of_a_step(name, programs):
    bptt.unroll(CELLS[name](), torch.randn(9, 2, 3))[1][0].sum().backward()
    (program,) = programs
    step = program.source.partition("def step")[2].partition("def after")[0]
    assert "sum" not in step  # sums over rows wait until many steps' rows are there
    assert "= t(" not in step
    if name == "elman":  # delta = tanh'(a) ds, then delta Ws^T: all that the next step back needs
        assert step.count(" = ") == 2


def branching(x, s):
    return (s * 0.5 if float(s.detach().sum()) > 0 else s * 0.9) + x


def listing(x, s):
    return s * (0.5 if s.detach().tolist()[0][0] > 0 else 0.9) + x


def through_numpy(x, s):
    return s * float(1 + x.numpy().max() ** 2) ** -1 + x


def clipped(x, s):
    return Clipped.apply(s) * 0.9 + x


class Clipped(torch.autograd.Function):
    """The identity; backward, rows of the gradient are cut by what numpy says of them."""

    @staticmethod
    def forward(ctx, s):
        return s * 1

    @staticmethod
    def backward(ctx, gradient):
        return gradient * min(1.0, 0.7 / float(gradient.numpy().max()))


def noisy(x, s):
    return s * torch.rand_like(s) + x


@pytest.mark.parametrize("cell", [branching, listing, through_numpy, clipped, noisy])
def test_a_step_that_is_not_the_same_each_time_is_not_replayed(cell):
    x, s = torch.randn(20, 1, 2), torch.randn(1, 2, requires_grad=True)
    torch.manual_seed(7)
    outputs, _ = bptt.unroll(cell, x, s)
    torch.manual_seed(7)
    if cell is noisy:
        (found,) = torch.autograd.grad(outputs[5].sum(), [s])
        nothing, _ = bptt.unroll(cell, torch.zeros_like(x), s)
        torch.testing.assert_close(found * s, nothing[5])  # linear in s: s ds/ds = s_5
        return
    torch.testing.assert_close(
        gradients(lambda: bptt.unroll(cell, x, s), [s]), gradients(lambda: oracle(cell, x, s), [s])
    )


@reference
def test_python_state_that_changes_the_numbers_is_noticed(rerun):
    """A counter, a value changed before backward(), and Python's own random numbers."""
    count, x = [0], torch.randn(12, 1, 2)
    s = torch.randn(1, 2, requires_grad=True)

    def counting(x, s):
        count[0] += 1
        return s * (0.5 if count[0] % 7 else 0.9) + x

    with pytest.raises(TypeError, match="gives other numbers"):
        bptt.unroll(counting, x, s)[0].sum().backward()
    with pytest.raises(TypeError, match="draws from random"):
        bptt.unroll(lambda x, s: s * random.random() + x, x, s)
    options = {"decay": 0.5}
    outputs, _ = bptt.unroll(lambda x, s: s * options["decay"] + x, x, s)
    options["decay"] = 0.7
    with pytest.raises(TypeError, match="gives other numbers"):
        outputs.sum().backward()


def test_python_state_that_changes_no_number_is_let_be():
    seen, x, s = [], torch.randn(12, 1, 2), torch.randn(1, 2, requires_grad=True)

    def cell(x, s):
        seen.append(tuple(x.shape))
        return s * 0.9 + x

    bptt.unroll(cell, x, s)[0].sum().backward()
    assert seen.count((1, 2)) >= 12  # (2, 2): one step by way of trial


def test_a_weight_kept_from_call_to_call_is_an_error():
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.W, self.kept = nn.Parameter(torch.randn(2, 2)), {}

        def forward(self, x, s):
            if "t" not in self.kept:
                self.kept["t"] = self.W.t()
            return torch.tanh(x + s @ self.kept["t"])

    with pytest.raises(TypeError, match="keeps a tensor with gradient in a dict"):
        bptt.unroll(Keeping(), torch.randn(3, 1, 2), torch.zeros(1, 2))


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("pruned", [False, True])
def test_weights_that_hooks_make_train_again_and_again(pruned):
    cell = nn.RNNCell(3, 4)
    if pruned:
        torch.nn.utils.prune.random_unstructured(cell, "weight_hh", amount=0.3)
    else:
        torch.nn.utils.weight_norm(cell, "weight_hh")
    x = torch.randn(10, 2, 3)
    for _ in range(2):
        cell.zero_grad()
        cell(x[0]).sum()  # used by itself too
        bptt.unroll(cell, x)[0].sum().backward()
        found = [p.grad.clone() for p in cell.parameters()]
    cell.zero_grad()
    oracle(cell, x, torch.zeros(2, 4))[0].sum().backward()
    for a, p in zip(found, cell.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad)


@pytest.mark.parametrize(("batch", "units"), [(1, 1), (2, 1), (1, 2)])
def test_one_row_and_one_unit_replayed(batch, units):
    check_cell(nn.RNNCell(3, units), torch.randn(11, batch, 3))


OPERATIONS = {
    "solve": lambda a: torch.linalg.solve(2 * torch.eye(2) + 0.1 * a.t() @ a, a.t()).t(),
    "norm": lambda a: nn.functional.normalize(a, p=3.0),
    "conjugate": lambda a: (a.to(torch.complex128).exp().conj() * 1j).real / (1 + a * a),
    "power": lambda a: (a * 1).abs().add_(1).pow_(-1.5),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_that_are_hard_to_replay(name):
    W = torch.randn(2, 2, requires_grad=True)

    def cell(x, s):
        return OPERATIONS[name](x + s @ W)

    x, s = torch.randn(12, 3, 2), torch.zeros(3, 2)
    rows = {"solve": lambda run: run(cell, x[:, :1], s[:1])}.get(name, lambda run: run(cell, x, s))
    for loss in (lambda y: y.sum(), lambda y: y[3].sum()):
        found = torch.autograd.grad(loss(rows(bptt.unroll)[0]), [W])
        expected = torch.autograd.grad(loss(rows(oracle)[0]), [W])
        torch.testing.assert_close(found, expected)


def test_a_cell_around_a_whole_module_of_torch():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(3, 4)

        def forward(self, x, s):
            return self.gru(x[None], s[None])[1][0]

    check_cell(Around(), 3, torch.zeros(3, 4))


@reference
def test_state_leaves_that_share_their_memory_are_told_apart(programs):
    cell, x, zeros = nn.LSTMCell(3, 4), torch.randn(12, 2, 3), torch.zeros(2, 4)
    weights = list(cell.parameters())

    def loss(run):
        outputs, (h, c) = run(cell, x, (zeros, zeros))
        both = h + c  # one gradient tensor arrives at both
        return outputs.sum() + both.sum()

    found = torch.autograd.grad(loss(bptt.unroll), weights)
    expected = torch.autograd.grad(loss(oracle), weights)
    assert programs[0] is not None
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_a_write_in_place_within_a_step_is_undone(programs):
    W = torch.randn(2, 2, requires_grad=True)

    def cell(x, s):
        a = x + s @ W
        a.add_(1)
        first, second = a.chunk(2, dim=1)
        return torch.cat([first.tanh(), (second * 2).mul_(0.25)], 1)

    x, s = torch.randn(10, 3, 2), torch.zeros(3, 2)
    assert_same(
        gradients(lambda: bptt.unroll(cell, x, s), [W]), gradients(lambda: oracle(cell, x, s), [W])
    )


# What one call leaves for the next.


@reference
@pytest.mark.parametrize("steps", [1, 2, 7, 40])
@pytest.mark.parametrize("name", ["elman", "lstm cell", "parametrized", "dropped", "branching"])
def test_a_call_is_what_it_would_be_alone(name, steps, rerun):
    """The first call, the others, and one that runs each step again: the same numbers."""
    cell = Dropped() if name == "dropped" else {**CELLS, "branching": lambda: branching}[name]()
    x = torch.randn(steps, 1, 3, requires_grad=True)
    state = (torch.zeros(1, 4),) * 2 if name == "lstm cell" else torch.zeros(1, 4)
    state = state[:, :3] if name in ("dropped", "branching") else state
    targets = [x, *(cell.parameters() if isinstance(cell, nn.Module) else [])]

    def run():
        torch.manual_seed(2)
        return gradients(lambda: bptt.unroll(cell, x, state), targets)

    alone = run()
    rerun.undo()
    for _ in range(4):
        assert_same(run(), alone)


settings_of = types.SimpleNamespace(gain=1.0)


class Tuned(nn.Module):
    scale = 1.0

    def __init__(self):
        super().__init__()
        self.W, self.leak = nn.Parameter(torch.randn(3, 3)), 0.5

    def forward(self, x, s):
        return torch.tanh(x + s @ self.W) * self.leak * self.scale * settings_of.gain


@reference
@pytest.mark.parametrize("steps", [2, 9])
@pytest.mark.parametrize("holder", [Tuned, settings_of, None], ids=["class", "global", "self"])
def test_what_has_changed_since_the_last_call_is_seen(holder, steps, monkeypatch):
    cell, x = Tuned(), torch.randn(steps, 2, 3)
    name = "scale" if holder is Tuned else "gain" if holder else "leak"
    for value in (0.5,) * 3 + (0.8,) * 3:  # written down, compared, known
        monkeypatch.setattr(holder or cell, name, value)
        found = gradients(lambda: bptt.unroll(cell, x, S[:, :3]), [cell.W])
        assert_same(found, gradients(lambda: oracle(cell, x, S[:, :3]), [cell.W]))


@reference
@pytest.mark.parametrize("steps", [2, 9])
def test_what_was_written_down_is_compared_with_a_step_that_was_run(steps, monkeypatch):
    """A change that cannot be seen from outside: the way back no longer fits, and is not used."""
    W, x = torch.randn(3, 3, requires_grad=True), torch.randn(steps, 2, 3)

    def cell(x, s):
        return torch.tanh(x + s @ W) * float(os.environ["GAIN"])

    for value in ("0.5",) * 3 + ("0.8",) * 3:
        monkeypatch.setenv("GAIN", value)
        found = gradients(lambda: bptt.unroll(cell, x, S[:, :3]), [W])
        assert_same(found, gradients(lambda: oracle(cell, x, S[:, :3]), [W]))


@reference
@pytest.mark.parametrize("steps", [1, 3, 9])
def test_a_call_checkpointed_by_torch_is_the_same_again(steps):
    cell, x = nn.LSTMCell(3, 4), torch.randn(steps, 2, 3, requires_grad=True)
    for _ in range(3):
        outputs = torch.utils.checkpoint.checkpoint(
            lambda x: bptt.unroll(cell, x)[0], x, use_reentrant=False
        )
        found = torch.autograd.grad(outputs.square().sum(), [x, *cell.parameters()])
        expected = bptt.unroll(cell, x)[0].square().sum()
        assert_same((found, ()), (torch.autograd.grad(expected, [x, *cell.parameters()]), ()))


# What a step reaches otherwise than by argument.

W_GLOBAL = torch.tensor([[0.5, 0.1], [-0.2, 0.3]], dtype=torch.float64, requires_grad=True)


def global_cell(x, s):
    return torch.tanh(x + s @ W_GLOBAL)


def test_closures_globals_and_non_leaves_get_their_gradient():
    x, s = torch.randn(4, 3, 2), torch.randn(3, 2)
    W = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)

    def run(unrolled):
        scaled = W * 2  # not a leaf

        class Holder:
            weight = None

        holder = Holder()
        holder.weight = W.t()

        def cell(x, s, bias=scaled[0]):
            return torch.tanh(global_cell(x, s) + s @ scaled + s @ holder.weight + bias)

        run = bptt.unroll if unrolled else oracle
        return gradients(lambda: run(cell, x, s), [W, W_GLOBAL])

    assert_same(run(True), run(False))


class Nest:
    """An object in an object ... deeper than is searched, with a weight at the bottom."""

    def __init__(self, weight, depth=9):
        self.inner = Nest(weight, depth - 1) if depth else None
        self.weight = None if depth else weight

    def find(self):
        return self.weight if self.inner is None else self.inner.find()


def test_a_tensor_that_cannot_be_found_is_an_error():
    nest = Nest(torch.randn(2, 2, requires_grad=True) * 1)
    with pytest.raises(TypeError, match="computed before it"):
        bptt.unroll(lambda x, s: torch.tanh(x + s @ nest.find()), torch.ones(3, 1, 2), S[:1, :2])


def test_a_leaf_in_a_place_that_is_not_searched_still_gets_its_gradient(product):
    nest = Nest(torch.randn(2, 2, requires_grad=True))

    def cell(x, s):
        return torch.tanh(x + s @ nest.find() + x * x @ nest.find())

    x, s = torch.randn(9, 1, 2), torch.ones(1, 2)
    targets = [nest.find()]
    assert_same(
        gradients(lambda: bptt.unroll(cell, x, s), targets),
        gradients(lambda: oracle(cell, x, s), targets),
    )
    loss = bptt.unroll(cell, x, s)[0].square().sum()
    (found,) = torch.autograd.grad(loss, targets, create_graph=True)
    (expected,) = torch.autograd.grad(oracle(cell, x, s)[0].square().sum(), targets)
    torch.testing.assert_close(found, expected)


def test_the_cell_is_as_it_was_at_the_call():
    cell = nn.Sequential()
    cell.linear, cell.alpha, cell.scale = nn.Linear(4, 2), 0.5, torch.ones(2, requires_grad=True)
    cell.drop = nn.Dropout(0.5)

    def step(x, s):
        return torch.tanh(
            cell.alpha * cell.linear(torch.cat([x, s], 1)) + cell.drop(s) * cell.scale
        )

    x, s = torch.randn(6, 3, 2), torch.zeros(3, 2)
    scale = cell.scale
    torch.manual_seed(1)
    expected = gradients(lambda: bptt.unroll(step, x, s), [*cell.parameters(), scale])
    torch.manual_seed(1)
    outputs, final = bptt.unroll(step, x, s)
    cell.eval()
    cell.alpha, cell.scale = 7.0, torch.zeros(2)
    found = gradients(lambda: (outputs, final), [*cell.parameters(), scale])
    assert_same(found, expected)


def test_hooks_on_a_weight_run_once():
    cell, calls = Elman(2, 3), []
    cell.Ws.register_hook(lambda g: calls.append(1) or 2 * g)
    x = torch.randn(5, 2, 2)
    outputs, _ = bptt.unroll(cell, x)
    outputs.sum().backward()
    doubled = cell.Ws.grad.clone()
    cell.Ws._backward_hooks.clear()
    cell.Ws.grad = None
    bptt.unroll(cell, x)[0].sum().backward()
    torch.testing.assert_close(doubled, 2 * cell.Ws.grad)
    assert len(calls) == 1
    for _ in range(2):
        cell.Ws.grad = None
        outputs, _ = bptt.unroll(cell, x)
        late = cell.Ws.register_hook(lambda g: calls.append(1) or 2 * g)
        outputs.sum().backward()
        torch.testing.assert_close(cell.Ws.grad, doubled)
        late.remove()
    assert len(calls) == 3
    assert not cell.Ws._backward_hooks


@pytest.mark.parametrize("kind", ["attribute", "buffer"])
def test_a_step_that_changes_its_module_is_refused(kind):
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.steps = 0
            self.norm = nn.BatchNorm1d(2, affine=False)

        def forward(self, x, s):
            if kind == "attribute":
                self.steps += 1
                return x + s
            return self.norm(x + s)

    with pytest.raises(TypeError, match="'steps'" if kind == "attribute" else "in place"):
        bptt.unroll(Counts(), torch.ones(3, 2, 2), torch.zeros(2, 2, requires_grad=True))


# Losses and gradients.


def test_loss_at_one_time_at_some_and_through_the_final_state():
    cell, x = Elman(2, 3), torch.randn(6, 2, 2, requires_grad=True)
    weights = [x, *cell.parameters()]
    losses = [
        lambda y, s: y[3].sum(),
        lambda y, s: y[[1, 4]].square().sum(),
        lambda y, s: s.square().sum(),
        lambda y, s: y.sum() + s.sum(),
    ]
    for loss in losses:
        expected = torch.autograd.grad(loss(*oracle(cell, x, S)), weights)
        found = torch.autograd.grad(loss(*bptt.unroll(cell, x)), weights)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)
    before = torch.autograd.grad(bptt.unroll(cell, x)[0][3].sum(), x)[0]
    assert (before[4:] == 0).all()
    assert (before[:4] != 0).all()


def test_second_backward_needs_retain_graph_and_a_changed_weight_is_noticed():
    cell, x = Elman(2, 3), torch.randn(4, 2, 2)
    loss = bptt.unroll(cell, x)[0].sum()
    loss.backward(retain_graph=True)
    once = cell.Ws.grad.clone()
    loss.backward()
    torch.testing.assert_close(cell.Ws.grad, 2 * once)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
    loss = bptt.unroll(cell, x)[0].sum()
    with torch.no_grad():
        cell.Ws.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("name", ["elman", "lstm cell", "masked"])
def test_double_backward(name):
    cell = CELLS[name]()
    x = torch.randn(4, 2, 3, requires_grad=True)
    reset = torch.tensor([[False, True], [True, False], [False, False], [False, True]])

    def penalty(run):
        state = (
            cell.initial_state(2) if hasattr(cell, "initial_state") else (torch.zeros(2, 4),) * 2
        )
        if name == "lstm cell":
            fresh = state
            y, s = run(cell, x, state, reset=reset, reset_state=fresh, lengths=[4, 2])
        else:
            y, s = run(cell, x, state, reset=reset, lengths=[4, 2])
        leaves = [y] if isinstance(y, Tensor) else list(y.values())
        loss = sum(
            leaf.square().sum() for leaf in [*leaves, *(s if isinstance(s, (list, tuple)) else [s])]
        )
        first = torch.autograd.grad(loss, [x, *cell.parameters()], create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), [x, *cell.parameters()])

    for a, b in zip(penalty(bptt.unroll), penalty(oracle), strict=True):
        torch.testing.assert_close(a, b)


def test_gradgradcheck():
    cell = Elman(2, 2)

    def run(x, s, *weights):
        return bptt.unroll(lambda x, s: torch.tanh(x @ weights[0] + s @ weights[1]), x, s)

    arguments = [torch.randn(3, 2, 2), torch.randn(2, 2), cell.Wx.detach(), cell.Ws.detach()]
    arguments = [a.clone().requires_grad_() for a in arguments]
    assert torch.autograd.gradcheck(run, arguments)
    assert torch.autograd.gradgradcheck(run, arguments)


def test_integer_state_is_carried_without_an_adjoint():
    def cell(x, state):
        s, count = state
        return s * 0.9 + x * (count % 2)[:, None], (torch.tanh(s + x), count + 1)

    x = torch.randn(5, 2, 3, requires_grad=True)
    state = (torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
    _, final = bptt.unroll(cell, x, state)
    assert final[1].tolist() == [5, 5]
    assert_same(
        gradients(lambda: bptt.unroll(cell, x, state), [x]),
        gradients(lambda: oracle(cell, x, state), [x]),
    )


@reference
@pytest.mark.parametrize(("name", "units"), [("elman", 4), ("gru cell", 4), ("lstm cell", 8)])
def test_a_step_more_keeps_its_input_and_its_state_once(name, units):
    cell = CELLS[name]()

    def kept(steps):
        sizes = {}

        def pack(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            outputs, _ = bptt.unroll(cell, torch.randn(steps, 2, 3))
        assert outputs.requires_grad
        return sum(sizes.values())

    kept(50)  # which is watched more closely
    assert kept(60) - kept(50) == 10 * 2 * (3 + units) * 8


# Random draws.


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.randn(3, 3))
        self.drop = nn.Dropout(0.4)

    def forward(self, x, s):
        noise = torch.randn_like(s) + torch.rand(s.shape) + torch.normal(torch.zeros_like(s), 0.1)
        pick = torch.multinomial(torch.softmax(s, 1), 1) + torch.randint(0, 3, (len(s), 1))
        spikes = torch.bernoulli(torch.sigmoid(s))
        return torch.tanh(self.drop(x) + s @ self.W + 0.1 * noise + 0.01 * pick + spikes)


@reference
def test_numbers_drawn_do_not_depend_on_how_many_are_needed():
    cell, x = Dropped(), torch.randn(130, 2, 3)
    runs = []
    for steps in (130, 100, 64, 7, 7, 2, 1, 1):
        torch.manual_seed(1)
        runs.append(bptt.unroll(cell, x[:steps], S[:, :3])[0].detach())
    for found in runs[1:]:
        torch.testing.assert_close(found, runs[0][: len(found)])


def test_draws_differ_from_step_to_step_and_repeat_by_seed():
    def record(x, s):
        return torch.rand(s.shape), s

    def draw(seed):
        torch.manual_seed(seed)
        return bptt.unroll(record, torch.zeros(150, 2, 1), torch.zeros(2, 1))[0]

    draws = draw(0)
    assert draws.unique().numel() == draws.numel()
    assert (draw(0) == draws).all()
    assert (draw(1) != draws).all()


class Dropped(nn.Module):
    """What a step draws is made from uniform and normal numbers alone: it can be replayed."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.randn(3, 3))
        self.drop = nn.Dropout(0.4)

    def forward(self, x, s):
        noise = torch.randn_like(s) * torch.rand(s.shape) + torch.bernoulli(torch.sigmoid(s))
        return torch.tanh(self.drop(x) + nn.functional.dropout(s, 0.2) @ self.W + 0.1 * noise)


@reference
def test_draws_of_a_known_step_are_those_of_its_first_call():
    """Also of one that draws by a function that is not looked into at first, over part of a row."""
    W, drop, x = torch.randn(3, 3, requires_grad=True), nn.Dropout1d(0.4), torch.randn(4, 2, 3)

    def run():
        torch.manual_seed(3)
        return gradients(
            lambda: bptt.unroll(lambda x, s: torch.tanh(x + drop(s) @ W), x, S[:, :3]), [W]
        )

    first = run()
    for _ in range(4):
        assert_same(run(), first)


@reference
def test_draws_are_the_same_replayed_or_not(monkeypatch, programs):
    cell, x = Dropped(), torch.randn(150, 2, 3)

    def run(way):
        force(way, monkeypatch)
        torch.manual_seed(3)
        return gradients(lambda: bptt.unroll(cell, x, S[:, :3]), [cell.W])

    exact = run(1)
    assert_same(run(0), exact)
    assert not programs
    assert_same(run(2), exact)
    assert programs[0] is not None
    torch.manual_seed(3)
    with torch.no_grad():
        assert torch.equal(bptt.unroll(cell, x, S[:, :3])[0], exact[0][0])


@pytest.mark.parametrize("kind", ["Noisy", "Dropped"])
def test_gradient_with_noise_is_that_of_the_numbers_drawn(kind):
    cell, x = globals()[kind](), torch.randn(70, 2, 3)
    origin = cell.W.detach().clone()

    def loss():
        torch.manual_seed(3)
        return bptt.unroll(cell, x, S)[0][-5:].sum()

    (found,) = torch.autograd.grad(loss(), [cell.W])
    direction = torch.randn(3, 3)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            cell.W.copy_(origin + sign * 1e-7 * direction)
        values.append(loss().detach())
    torch.testing.assert_close(
        (found * direction).sum(), (values[0] - values[1]) / 2e-7, rtol=1e-4, atol=1e-6
    )


def test_double_backward_sees_the_same_draws():
    cell, x = Noisy(), torch.randn(4, 2, 3)
    torch.manual_seed(5)
    loss = bptt.unroll(cell, x, S)[0].sum()
    (plain,) = torch.autograd.grad(loss, [cell.W], retain_graph=True)
    (graph,) = torch.autograd.grad(loss, [cell.W], create_graph=True)
    torch.testing.assert_close(plain, graph)
    assert graph.requires_grad


def test_a_step_without_draws_leaves_the_generator_alone():
    cell, x = Elman(2, 3), torch.randn(3, 1, 2)
    before = torch.get_rng_state()
    bptt.unroll(cell, x)[0].sum().backward()
    assert torch.equal(before, torch.get_rng_state())


def test_a_draw_that_begins_late_is_drawn_right():
    W = torch.randn(2, 2, requires_grad=True)

    def cell(x, state):
        s, count = state
        noise = torch.rand_like(s) if count.max() > 2 else 0
        s = torch.tanh(x + s @ W + noise)
        return s, (s, count + 1)

    def run():
        torch.manual_seed(0)
        return bptt.unroll(
            cell, torch.ones(6, 1, 2), (torch.zeros(1, 2), torch.zeros(1, dtype=int))
        )

    values, (found,) = gradients(run, [W])
    again, _ = gradients(run, [W])
    assert torch.equal(values[0], again[0])
    direction, step = torch.randn(2, 2), 1e-6
    sides = []
    for sign in (1, -1):
        with torch.no_grad():
            W.add_(sign * step * direction)
        sides.append(bptt.testing._random_sum(run()).detach())
        with torch.no_grad():
            W.sub_(sign * step * direction)
    torch.testing.assert_close(
        (found * direction).sum(), (sides[0] - sides[1]) / (2 * step), rtol=1e-5, atol=1e-6
    )


# Edges.


@pytest.mark.parametrize(("steps", "batch"), [(0, 2), (3, 0), (1, 1), (0, 0)])
def test_empty_sequences_and_batches(steps, batch):
    cell = Masked(3, 4)
    x = torch.randn(steps, batch, 3, requires_grad=True)
    state = cell.initial_state(batch)
    outputs, final = bptt.unroll(cell, x, state)
    assert outputs["read"].shape == (steps, batch, 2)
    assert final[0].shape == (batch, 4)


def test_all_lengths_zero():
    x = torch.full((3, 2, 2), torch.nan, requires_grad=True)
    s = torch.randn(2, 3, requires_grad=True)
    outputs, final = bptt.unroll(Elman(2, 3), x, s, lengths=[0, 0])
    assert (outputs == 0).all()
    assert torch.equal(final, s)
    (gradient,) = torch.autograd.grad(final.sum(), [s])
    assert (gradient == 1).all()


def test_no_gradient_needed_keeps_nothing():
    cell = Elman(2, 3)
    with torch.no_grad():
        outputs, state = bptt.unroll(cell, torch.randn(4, 2, 2))
    assert not outputs.requires_grad
    assert not state.requires_grad
    outputs, _ = bptt.unroll(cell.requires_grad_(False), torch.randn(4, 2, 2))
    assert not outputs.requires_grad


def test_non_contiguous_inputs_and_a_returned_output_written_into():
    cell, x = Elman(2, 3), torch.randn(3, 5, 2).transpose(0, 1)
    outputs, _ = bptt.unroll(cell, x)
    torch.testing.assert_close(outputs, bptt.unroll(cell, x.contiguous())[0])
    reset, lengths = torch.rand(5, 6)[:, ::2] < 0.4, torch.tensor([5, 0, 3, 0, 4])[::2]
    strided = bptt.unroll(cell, x, reset=reset, lengths=lengths)[0]
    whole = bptt.unroll(cell, x, reset=reset.contiguous(), lengths=lengths.tolist())[0]
    torch.testing.assert_close(strided, whole)
    outputs.sum().backward()
    loss = bptt.unroll(cell, x)[0]
    (loss * 1).sum()
    loss.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        loss.sum().backward()


def test_begin_is_told_the_batch():
    class Masking(nn.Module):
        def begin(self, batch_size):
            self.mask = torch.bernoulli(torch.full((batch_size, 3), 0.5))

        def initial_state(self, batch_size):
            return torch.zeros(batch_size, 3)

        def forward(self, x, s):
            return (x + s) * self.mask

    cell, x = Masking(), torch.ones(4, 5, 3, requires_grad=True)
    first, _ = bptt.unroll(cell, x)
    second, _ = bptt.unroll(cell, x)
    assert not torch.equal(first, second)
    (gradient,) = torch.autograd.grad(
        first.sum(), [x]
    )  # by the first call's mask, not the second's
    assert torch.equal(gradient != 0, (first != 0))


def test_a_learnt_initial_state_is_what_resets_start_from():
    class Learnt(Elman):
        def __init__(self):
            super().__init__(2, 3)
            self.start = nn.Parameter(torch.randn(3))

        def initial_state(self, batch_size):
            return self.start.expand(batch_size, 3)

    check_cell(Learnt(), 2)


# Manners.


def test_autocast_is_off_inside():
    cell, x = nn.GRUCell(3, 4).float(), torch.randn(3, 2, 3, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, _ = bptt.unroll(cell, x.bfloat16())
        outputs.sum().backward()
    assert outputs.dtype == torch.float32
    assert cell.weight_hh.grad.dtype == torch.float32
    torch.testing.assert_close(outputs, bptt.unroll(cell, x.bfloat16().float())[0])


def test_torch_compile_breaks_once_and_agrees():
    from torch._dynamo.testing import CompileCounter

    cell, counter = Elman(2, 3), CompileCounter()
    x = torch.randn(4, 2, 2)

    def model(x):
        y, _ = bptt.unroll(cell, x * 2)
        return (y + 1).square().sum()

    compiled = torch.compile(model, backend=counter)
    torch.testing.assert_close(compiled(x), model(x))
    assert counter.frame_count == 2  # before the unroll and after it; nothing of the loop
    compiled(x).backward()
    explained = torch._dynamo.explain(model)(x)
    assert explained.graph_break_count == 1


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("method", [bptt.Full(), bptt.Truncated(2, 3), bptt.Checkpointed("1MB")])
def test_several_gradients_at_once_are_refused_with_a_way_out(method, backend):
    x = torch.zeros(6, 2, 3, requires_grad=True)
    outputs, _ = bptt.unroll(Elman(3, 4), x, method=method, backend=backend)
    several = torch.ones(5, *outputs.shape)
    with pytest.raises(RuntimeError, match=r"one gradient.*retain_graph=True"):
        torch.autograd.grad(outputs, x, several, is_grads_batched=True)


def test_forward_mode_is_refused_with_a_way_out():
    x = torch.zeros(4, 2, 3)
    with torch.autograd.forward_ad.dual_level(), pytest.raises(RuntimeError, match=r"\.backward"):
        bptt.unroll(Elman(3, 4), torch.autograd.forward_ad.make_dual(x, x))


@pytest.mark.parametrize("transform", ["grad", "vmap"])
def test_torch_func_is_refused_with_a_way_out(transform):
    cell = Elman(2, 3)

    def loss(x):
        return bptt.unroll(cell, x)[0].sum()

    call = torch.func.grad(loss) if transform == "grad" else torch.func.vmap(loss)
    with pytest.raises(RuntimeError, match=r"torch\.autograd\.grad"):
        call(torch.randn(2, 3, 1, 2))


def test_functional_call_gives_gradient_to_the_tensors_it_swaps_in():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = Elman(2, 3)

        def forward(self, x):
            return bptt.unroll(self.cell, x)[0].sum()

    model, x = Model(), torch.randn(3, 1, 2)
    swapped = {name: (2 * p).detach().requires_grad_() for name, p in model.named_parameters()}
    loss = torch.func.functional_call(model, swapped, (x,))
    found = torch.autograd.grad(loss, list(swapped.values()))
    assert all(gradient.abs().sum() > 0 for gradient in found)


def test_cells_copy_and_pickle_after_use():
    cell = Masked(3, 4)
    x = torch.randn(3, 2, 3)
    expected = bptt.unroll(cell, x)[0]["read"]
    for twin in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        torch.testing.assert_close(bptt.unroll(twin, x)[0]["read"], expected)


def test_two_threads_at_once():
    cell = Masked(3, 4)
    inputs = [torch.randn(20, 2, 3) for _ in range(2)]

    def work(x, into):
        outputs, _ = bptt.unroll(cell, x)
        into.append(torch.autograd.grad(outputs["read"].sum(), list(cell.parameters())))

    expected: list = []
    for x in inputs:
        work(x, expected)
    results = [[], []]
    threads = [threading.Thread(target=work, args=a) for a in zip(inputs, results, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for found, right in zip(results, expected, strict=True):
        for a, b in zip(found[0], right, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_parametrizations_cached_around_an_unroll():
    cell, x = parametrized(), torch.randn(4, 2, 3)
    expected = gradients(lambda: bptt.unroll(cell, x), list(cell.parameters()))
    with parametrize.cached():
        found = gradients(lambda: bptt.unroll(cell, x), list(cell.parameters()))
        again = gradients(lambda: bptt.unroll(cell, x), list(cell.parameters()))
    assert_same(found, expected)
    assert_same(again, expected)


# Bad input.

X = torch.zeros(4, 2, 3, dtype=torch.float64)
S = X[0]
WRONG = {
    "inputs not a tensor": (TypeError, "inputs: expected", lambda c: bptt.unroll(c, [1.0, 2.0])),
    "inputs of rank 1": (
        ValueError,
        "time and batch first",
        lambda c: bptt.unroll(c, torch.zeros(4)),
    ),
    "leaves of two lengths": (
        ValueError,
        "alike in every leaf",
        lambda c: bptt.unroll(c, (X, torch.zeros(5, 2, 3))),
    ),
    "features": (
        ValueError,
        "inputs: expected 3 features",
        lambda c: bptt.unroll(c, torch.zeros(4, 2, 5).to(X)),
    ),
    "dtype": (ValueError, "inputs: expected float64", lambda c: bptt.unroll(c, X.float())),
    "state's batch": (
        ValueError,
        "state: expected a row",
        lambda c: bptt.unroll(c, X, torch.zeros(3, 4).to(X)),
    ),
    "state's size": (
        ValueError,
        "state: expected 4 features",
        lambda c: bptt.unroll(c, X, torch.zeros(2, 5).to(X)),
    ),
    "state's structure": (
        TypeError,
        "state",
        lambda c: bptt.unroll(c, X, {"h": torch.zeros(2, 4)}),
    ),
    "length too long": (
        ValueError,
        "0 to T = 4, got 5",
        lambda c: bptt.unroll(c, X, lengths=[5, 1]),
    ),
    "length negative": (
        ValueError,
        "got -1 for sequence 1",
        lambda c: bptt.unroll(c, X, lengths=[1, -1]),
    ),
    "lengths of another batch": (
        ValueError,
        "lengths: expected",
        lambda c: bptt.unroll(c, X, lengths=[1]),
    ),
    "lengths not integers": (
        TypeError,
        "integers",
        lambda c: bptt.unroll(c, X, lengths=[1.0, 2.0]),
    ),
    "reset not bool": (
        TypeError,
        "reset: expected a bool",
        lambda c: bptt.unroll(c, X, reset=torch.zeros(4, 2)),
    ),
    "reset's shape": (
        ValueError,
        "reset: expected shape",
        lambda c: bptt.unroll(c, X, reset=torch.zeros(2, 4, dtype=torch.bool)),
    ),
    "reset state": (
        ValueError,
        "reset_state: expected leaves that broadcast",
        lambda c: bptt.unroll(
            c, X, reset=torch.ones(4, 2, dtype=torch.bool), reset_state=torch.zeros(5)
        ),
    ),
    "backend": (
        RuntimeError,
        "backend: this version has",
        lambda c: bptt.unroll(c, X, backend="tpu"),
    ),
    "method": (TypeError, "method: expected", lambda c: bptt.unroll(c, X, method="full")),
    "cell": (TypeError, "cell: expected", lambda c: bptt.unroll("gru", X)),
    "no initial state": (TypeError, "def initial_state", lambda c: bptt.unroll(lambda x, s: s, X)),
    "state grows": (
        TypeError,
        "changed its state",
        lambda c: bptt.unroll(lambda x, s: torch.cat([s, x], 1), X, S),
    ),
    "state changes dtype": (
        TypeError,
        "changed its state",
        lambda c: bptt.unroll(lambda x, s: (s + x).float(), X, S),
    ),
    "no state returned": (TypeError, "next state", lambda c: bptt.unroll(lambda x, s: None, X, S)),
    "a list of steps": (
        ValueError,
        r"torch\.stack them",
        lambda c: bptt.unroll(c, list(X)),
    ),
    "a class": (TypeError, "got the class Elman", lambda c: bptt.unroll(Elman, X)),
    "a whole module": (
        TypeError,
        r"use torch\.nn\.GRUCell",
        lambda c: bptt.unroll(nn.GRU(3, 4), X),
    ),
    "four dimensions": (
        ValueError,
        r"inputs: expected \(T, B, 3\)",
        lambda c: bptt.unroll(c, X[None]),
    ),
    "integers": (ValueError, "inputs: expected float64", lambda c: bptt.unroll(c, X.long())),
    "a pair for a GRU": (
        TypeError,
        "state: expected the structure",
        lambda c: bptt.unroll(nn.GRUCell(3, 4), X, (X[0], X[0])),
    ),
    "reverse by name": (TypeError, "reverse: expected", lambda c: bptt.unroll(c, X, reverse="no")),
    "lengths by name": (TypeError, "lengths: expected", lambda c: bptt.unroll(c, X, lengths="ab")),
    "dtype later": (
        TypeError,
        "returned .* float32 at a step",
        lambda c: bptt.unroll(
            lambda x, s: (s[0].float() if s[1].max() else s[0], (s[0], s[1] + 1)),
            X,
            (S, torch.zeros(2, dtype=torch.int64)),
        ),
    ),
    "reset_state without reset": (
        ValueError,
        "no `reset` was given",
        lambda c: bptt.unroll(c, X, reset_state=S),
    ),
    "a step of one argument": (
        TypeError,
        r"cell\(x_t, state\).*got Linear\(input",
        lambda c: bptt.unroll(torch.nn.Linear(3, 3).double(), X, S),
    ),
    "check_cell of a whole layer": (
        TypeError,
        "runs a whole sequence",
        lambda c: bptt.testing.check_cell(torch.nn.LSTM(3, 4), 3),
    ),
    "a method's class": (
        TypeError,
        "got the class Truncated",
        lambda c: bptt.unroll(c, X, method=bptt.Truncated),
    ),
    "numpy": (TypeError, r"torch\.as_tensor", lambda c: bptt.unroll(c, X.numpy())),
    "output without rows": (
        TypeError,
        "a row for each of the 2",
        lambda c: bptt.unroll(lambda x, s: (s.sum(), s), X, S),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input(name):
    kind, message, call = WRONG[name]
    with pytest.raises(kind, match=message):
        call(Elman(3, 4))
