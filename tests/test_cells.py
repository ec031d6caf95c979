"""bptt.cells: each cell's equations, and the gradient through them."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import register_parametrization
from torch.utils import _pytree as pytree

import bptt
from bptt import cells
from bptt.cells import GRU, GRUD, LIF, LSTM, RHN, SLSTM, Dale, Elman, Leaky, LSTMState, Masked
from bptt.errors import ArgumentError, StructureError
from bptt.testing import check_cell
from bptt.train.cells import NAMED, output_size

I, H, T, B = 3, 4, 5, 2  # noqa: E741


class Gaps(nn.Module):
    """A GRU-D of one feature, with its x, mask and delta side by side in one tensor (B, 3)."""

    def __init__(self):
        super().__init__()
        self.cell = GRUD(1, H, mean=torch.tensor([0.3]))
        self.initial_state = self.cell.initial_state

    def forward(self, x, state):
        x, mask, delta = x.chunk(3, -1)
        return self.cell((x, mask > 0, delta.abs()), state)


SPIKING = {
    "lif": lambda: LIF(I, H, threshold=0.1),
    "lif triangle": lambda: LIF(I, H, threshold=0.1, spike=cells.Triangle(0.5, 0.4)),
}
SMOOTH = {
    "elman": lambda: Elman(I, H),
    "lesson": lambda: Elman(I, H, torch.sigmoid, bias=False),
    "prelu": lambda: Elman(I, H, nn.PReLU()),
    "leaky": lambda: Leaky(I, H, tau=torch.tensor([1.0, 2.0, 5.0, 100.0])),
    "leaky trained": lambda: Leaky(I, H, tau=3.0, train_tau=True, activation=torch.tanh),
    "gru": lambda: GRU(I, H),
    "gru without bias": lambda: GRU(I, H, bias=False),
    "gru reset before": lambda: GRU(I, H, reset_after=False),
    "gru layer norm": lambda: cells.LayerNormGRU(I, H, eps=0.1),
    "gru with gaps": Gaps,
    "mgu": lambda: cells.MGU(I, H),
    "ugrnn": lambda: cells.UGRNN(I, H),
    "indrnn": lambda: cells.IndRNN(I, H, torch.tanh),
    "rhn": lambda: RHN(I, H, depth=3),
    "lstm": lambda: LSTM(I, H),
    "lstm without bias": lambda: LSTM(I, H, bias=False),
    "lstm projected": lambda: LSTM(I, H, proj_size=2),
    "lstm peephole": lambda: cells.PeepholeLSTM(I, H),
    "lstm layer norm": lambda: cells.LayerNormLSTM(I, H, eps=0.1),
    "slstm": lambda: SLSTM(I, H),
    "slstm heads": lambda: SLSTM(I, H, num_heads=2),
    "lif smooth": lambda: LIF(I, H, spike=torch.sigmoid),
}
CELLS = SMOOTH | SPIKING
every_cell = pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)
every_smooth_cell = pytest.mark.parametrize("make", SMOOTH.values(), ids=SMOOTH)


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def start(cell):
    """A random state; where a cell divides by one of its parts, as an sLSTM does by n, not by 0."""
    return pytree.tree_map(lambda s: torch.rand_like(s).requires_grad_(), cell.initial_state(B))


def weights(cell):
    return [weight for weight in cell.parameters() if weight.requires_grad]


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
    sources = [x, *pytree.tree_leaves(state), *weights(cell)]
    pair = []
    for run in (loop, bptt.unroll):
        torch.manual_seed(1)
        results = pytree.tree_leaves(run(cell, x, state))
        total = sum((torch.randn_like(leaf) * leaf).sum() for leaf in results)
        pair.append((results, torch.autograd.grad(total, sources)))
    torch.testing.assert_close(pair[1], pair[0], rtol=1e-10, atol=1e-12)


@every_smooth_cell
def test_gradient_is_the_finite_difference(make):
    """Of the reference backend; the public check takes the kernels."""
    cell, x = make(), torch.randn(T, B, I, requires_grad=True)
    state = start(cell)
    sources = x, *pytree.tree_leaves(state), *weights(cell)
    assert torch.autograd.gradcheck(  # perturbs the sources in place
        lambda *_: tuple(pytree.tree_leaves(bptt.unroll(cell, x, state, backend="reference"))),
        sources,
        fast_mode=True,
    )


@every_smooth_cell
def test_passes_the_public_check(make):
    check_cell(make(), I, steps=6, batch=2)


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


def sigma(a):
    return 1 / (1 + np.exp(-a))


def part(w, name, k):
    """Gate k's columns of a weight, or of a vector."""
    size = w[name].shape[-1] // w["gates"]
    return w[name][..., k * size : (k + 1) * size]


def gate(w, k, x, h, bias="b"):
    """x_t Wx + s Ws + b for gate k, of one sequence."""
    return x @ part(w, "Wx", k) + h @ part(w, "Ws", k) + part(w, bias, k)


def normed(a, eps):
    return (a - a.mean()) / np.sqrt(((a - a.mean()) ** 2).mean() + eps)


def leaky(w, x, s):
    (s,), a = s, 1 / np.array([1.0, 2.0, 5.0, 100.0])
    return ((1 - a) * s + a * np.maximum(x @ w["Wx"] + s @ w["Ws"] + w["b"], 0),)


def gru_reset_before(w, x, s):
    (s,) = s
    r, z = sigma(gate(w, 0, x, s, "bx")), sigma(gate(w, 1, x, s, "bx"))
    n = np.tanh(gate(w, 2, x, r * s, "bx"))
    return ((1 - z) * n + z * s,)


def gru_layer_norm(w, x, s):
    (s,) = s
    p, q = x @ w["Wx"], s @ w["Ws"]
    g, both, last = {}, slice(0, 2 * H), slice(2 * H, 3 * H)
    for name, a in (("x", p), ("s", q)):
        for where in (both, last):
            g[name, where.start] = (
                w[f"g{name}"][where] * normed(a[where], 1e-5) + w[f"b{name}"][where]
            )
    gates = sigma(g["x", 0] + g["s", 0])
    r, z = gates[:H], gates[H:]
    n = np.tanh(g["x", 2 * H] + r * g["s", 2 * H])
    return ((1 - z) * n + z * s,)


def mgu(w, x, s):
    (s,) = s
    f = sigma(gate(w, 0, x, s))
    return ((1 - f) * s + f * np.tanh(gate(w, 1, x, f * s)),)


def ugrnn(w, x, s):
    (s,) = s
    g = sigma(gate(w, 1, x, s))
    return (g * s + (1 - g) * np.tanh(gate(w, 0, x, s)),)


def indrnn(w, x, s):
    units = [np.maximum(x @ w["Wx"][:, j] + w["u"][j] * s[0][j] + w["b"][j], 0) for j in range(H)]
    return (np.array(units),)


def rhn(w, x, s):
    (s,) = s
    for layer in range(3):
        a = s @ w["Ws"][layer] + w["b"][layer] + (x @ w["Wx"] if layer == 0 else 0)
        n, t = np.tanh(a[:H]), sigma(a[H:])
        s = n * t + s * (1 - t)
    return (s,)


def peephole(w, x, s):
    h, c = s
    wi, wf, wo = (part(w | {"gates": 3}, "w", k) for k in range(3))
    i, f = sigma(gate(w, 0, x, h) + wi * c), sigma(gate(w, 1, x, h) + wf * c)
    c = f * c + i * np.tanh(gate(w, 2, x, h))
    return sigma(gate(w, 3, x, h) + wo * c) * np.tanh(c), c


def lstm_layer_norm(w, x, s):
    h, c = s
    a = w["gx"] * normed(x @ w["Wx"], 1e-5) + w["gs"] * normed(h @ w["Ws"], 1e-5) + w["b"]
    i, f, g, o = np.split(a, 4)
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    return sigma(o) * np.tanh(w["gc"] * normed(c, 1e-5) + w["bc"]), c


def slstm(w, x, s):
    """Each unit by itself, its recurrent weights looked up in its head."""
    h, c, n, m = s
    size = w["Ws"].shape[1]
    new = np.zeros((4, H))
    for j in range(H):
        head, place = divmod(j, size)
        own = h[head * size : (head + 1) * size]
        i, f, z, o = (
            x @ w["Wx"][:, k * H + j] + own @ w["Ws"][head, :, k * size + place] + w["b"][k * H + j]
            for k in range(4)
        )
        new[3, j] = max(np.log(sigma(f)) + m[j], i)
        i, f = np.exp(i - new[3, j]), np.exp(np.log(sigma(f)) + m[j] - new[3, j])
        new[1, j], new[2, j] = f * c[j] + i * np.tanh(z), f * n[j] + i
        new[0, j] = sigma(o) * new[1, j] / new[2, j]
    return tuple(new)


def lif(w, x, s):
    s, u, i = s
    i = np.exp(-1 / 5) * i + x @ w["Wx"] + s @ w["Ws"]
    u = np.exp(-1 / 10) * u + i - 0.1 * s
    return (u > 0.1) * 1.0, u, i


EQUATIONS = {
    "leaky": (CELLS["leaky"], leaky, 1),
    "gru reset before": (CELLS["gru reset before"], gru_reset_before, 3),
    "gru layer norm": (lambda: cells.LayerNormGRU(I, H), gru_layer_norm, 3),
    "mgu": (CELLS["mgu"], mgu, 2),
    "ugrnn": (CELLS["ugrnn"], ugrnn, 2),
    "indrnn": (lambda: cells.IndRNN(I, H), indrnn, 1),
    "rhn": (CELLS["rhn"], rhn, 2),
    "lstm peephole": (CELLS["lstm peephole"], peephole, 4),
    "lstm layer norm": (lambda: cells.LayerNormLSTM(I, H), lstm_layer_norm, 4),
    "slstm": (CELLS["slstm"], slstm, 4),
    "slstm heads": (CELLS["slstm heads"], slstm, 4),
    "lif": (CELLS["lif"], lif, 1),
}


@pytest.mark.parametrize(("make", "equation", "gates"), EQUATIONS.values(), ids=EQUATIONS)
def test_equations_are_those_of_the_paper(make, equation, gates):
    """Written out in numpy for one sequence at a time, from a random state and random weights."""
    cell, x = make(), torch.randn(T, B, I)
    for name, weight in cell.named_parameters():
        if name != "k":
            nn.init.normal_(weight)
    state = pytree.tree_map(torch.detach, start(cell))
    outputs, final = bptt.unroll(cell, x, state)
    w = {name: weight.detach().numpy() for name, weight in cell.named_parameters()}
    for b in range(B):
        s = tuple(leaf[b].numpy() for leaf in pytree.tree_leaves(state))
        for t in range(T):
            s = equation(w | {"gates": gates}, x[t, b].numpy(), s)
            np.testing.assert_allclose(outputs[t, b].detach(), s[0], rtol=1e-10, atol=1e-12)
        ours = [leaf[b].detach() for leaf in pytree.tree_leaves(final)]
        np.testing.assert_allclose(np.stack(ours), np.stack(s), rtol=1e-10, atol=1e-12)


def test_leaky_noise_has_the_variance_of_the_equation():
    """s = (1 - a) s + sqrt(2a) sigma xi settles at a variance of 2 sigma^2 / (2 - a)."""
    cell = Leaky(1, 1, tau=4.0, noise=0.5, activation=lambda a: a)
    nn.init.zeros_(cell.Ws), nn.init.zeros_(cell.b)
    run = lambda: bptt.unroll(cell, torch.zeros(100, 20_000, 1))[0][-1]  # noqa: E731
    spread = run().std().item()
    assert spread == pytest.approx((2 * 0.25 / (2 - 0.25)) ** 0.5, rel=0.03)
    cell.noise = 0
    assert not run().any()


def test_trained_time_constants_are_given_and_move():
    cell, tau = Leaky(I, H, tau=torch.tensor([2.0, 3.0, 4.0, 50.0]), train_tau=True), [2, 3, 4, 50]
    torch.testing.assert_close(cell.tau, torch.tensor(tau, dtype=torch.float64))
    optimizer = torch.optim.SGD(cell.parameters(), lr=10.0)
    bptt.unroll(cell, torch.randn(T, B, I))[0].square().sum().backward()
    optimizer.step()
    assert (cell.tau != torch.tensor(tau)).all()
    assert (cell.tau >= 1).all()


def test_slstm_is_the_equation_without_a_stabiliser():
    """c = sigma(f) c + exp(i) tanh(z), n = sigma(f) n + exp(i), h = sigma(o) c / n, from zero."""
    cell, x = SLSTM(I, H), torch.randn(T, B, I)
    outputs, _ = bptt.unroll(cell, x)
    h, c, n = torch.zeros(3, B, H)
    for x_t, ours in zip(x, outputs, strict=True):
        i, f, z, o = (x_t @ cell.Wx + h @ cell.Ws[0] + cell.b).chunk(4, -1)
        c = torch.sigmoid(f) * c + i.exp() * torch.tanh(z)
        n = torch.sigmoid(f) * n + i.exp()
        h = torch.sigmoid(o) * c / n
        torch.testing.assert_close(ours, h)


@pytest.mark.parametrize("size", [-1e3, 1e3])
def test_slstm_stands_any_gate(size):
    """exp(1000) and exp(-1000) are beyond any float."""
    cell = SLSTM(I, H).float()
    nn.init.constant_(cell.b, size)
    outputs, _ = bptt.unroll(cell, torch.randn(T, B, I, dtype=torch.float32))
    gradients = torch.autograd.grad(outputs.sum(), list(cell.parameters()))
    assert all(tensor.isfinite().all() for tensor in (outputs, *gradients))


SURROGATES = {
    "fast sigmoid": (cells.FastSigmoid(7.0), lambda v: v / (1 + 7 * v.abs())),
    "triangle": (
        cells.Triangle(0.5, 0.4),  # the integral of a triangle is a parabola on either side
        lambda v: 0.4 * (v - v * v.abs()).where(v.abs() < 0.5, 0.25 * v.sign()),
    ),
}


@pytest.mark.parametrize(("spike", "soft"), SURROGATES.values(), ids=SURROGATES)
def test_surrogate_gradient_is_that_of_a_soft_spike(spike, soft):
    """Spikes forward, the soft function's gradient backward, through time and the reset."""

    def straight_through(v):
        hard = (v > 0).to(v.dtype)
        return hard.detach() + soft(v) - soft(v).detach()

    cell, x = LIF(I, H, threshold=0.1, spike=spike), torch.randn(T, B, I, requires_grad=True)
    ours, _ = bptt.unroll(cell, x)
    found = torch.autograd.grad(ours.square().sum(), [x, *cell.parameters()])
    assert 0 < ours.sum() < ours.numel()
    del cell.spike
    cell.spike = straight_through
    theirs, _ = loop(cell, x, cell.initial_state(B))
    torch.testing.assert_close(ours, theirs)
    expected = torch.autograd.grad(theirs.square().sum(), [x, *cell.parameters()])
    torch.testing.assert_close(found, expected)


def gru_d(w, x, times, mean):
    """The paper's own recursion over one raw series (T, I), NaN where missing; its z is 1 - z."""
    s, last, delta, seen, states = np.zeros(H), mean, np.zeros(len(mean)), None, []
    for t, x_t in enumerate(x):
        if t:
            delta = times[t] - times[t - 1] + np.where(seen, 0, delta)
        seen = ~np.isnan(x_t)
        gx = np.exp(-np.maximum(0, w["wd"] * delta + w["bd"]))
        gs = np.exp(-np.maximum(0, delta @ w["Wd"] + w["bs"]))
        v = np.where(seen, x_t, gx * last + (1 - gx) * mean)
        last = np.where(seen, x_t, last)
        s = gs * s
        r, z = (sigma(gate(w, k, v, s) + seen @ part(w, "Wm", k)) for k in (0, 1))
        n = np.tanh(gate(w, 2, v, r * s) + seen @ part(w, "Wm", 2))
        s = (1 - z) * n + z * s
        states.append(s)
    return np.stack(states)


def test_gru_d_is_the_recursion_over_missing_values():
    mean = torch.tensor([0.5, -0.2, 1.0])
    cell, x = GRUD(I, H, mean=mean), torch.randn(9, B, I)
    x[torch.rand(x.shape) < 0.6] = torch.nan
    x[:4, 0, 0] = torch.nan  # not observed until later
    times = torch.rand(9, B).cumsum(0) + 3
    outputs, _ = bptt.unroll(cell, cells.observed(x, times, mean=mean))
    outputs.sum().backward()
    assert all(weight.grad.isfinite().all() for weight in cell.parameters())
    w = {name: weight.detach().numpy() for name, weight in cell.named_parameters()} | {"gates": 3}
    for b in range(B):
        expected = gru_d(w, x[:, b].numpy(), times[:, b].numpy(), mean.numpy())
        np.testing.assert_allclose(outputs[:, b].detach(), expected, rtol=1e-10)


def test_gaps_between_dates_are_exact():
    seconds = torch.tensor([1_700_000_000, 1_700_000_001, 1_700_000_004])
    series = cells.observed(torch.ones(3, 1, 1, dtype=torch.float32), seconds)
    assert series.delta.flatten().tolist() == [0, 1, 3]


def test_dale_and_masks_hold_while_training():
    signs, mask = torch.tensor([1.0, 1.0, 1.0, -1.0]), 1 - torch.eye(H)
    cell = Leaky(I, H, tau=2.0)
    register_parametrization(cell, "Ws", Dale(signs))
    register_parametrization(cell, "Ws", Masked(mask))
    check_cell(cell, I, steps=4, batch=2)
    before, optimizer = cell.Ws, torch.optim.SGD(cell.parameters(), lr=0.5)
    for _ in range(20):
        optimizer.zero_grad()
        bptt.unroll(cell, torch.randn(T, B, I))[0].sub(1).square().sum().backward()
        optimizer.step()
    assert (cell.Ws * signs[:, None] >= 0).all()
    assert not cell.Ws.diagonal().any()
    assert (cell.Ws != before).any()
    assert copy.deepcopy(cell).Ws.equal(cell.Ws)


def test_constraints_take_any_weight():
    """torch.nn's weights have a column for each unit that sends, cells of several gates a row."""
    theirs = register_parametrization(nn.GRUCell(I, 2), "weight_hh", Dale([1.0, -1.0], dim=1))
    assert (theirs.weight_hh[:, 1] <= 0).all()
    ours = register_parametrization(LSTM(I, 2), "Ws", Dale([-1.0, 1.0]))
    assert (ours.Ws[0] <= 0).all()
    assert register_parametrization(LSTM(I, 2).half(), "Ws", Masked(torch.eye(2, 8))).Ws[0, 1] == 0
    ours.Ws = -torch.ones(2, 8)
    torch.testing.assert_close(ours.Ws[:, 0], torch.tensor([-1.0, 1.0]))


@pytest.mark.parametrize("name", NAMED)
def test_the_command_makes_it(name):
    assert output_size(name, H, I) == H


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
        (
            lambda: bptt.unroll(LSTM(I, H), X, X[0]),
            StructureError,
            r"LSTM: state should be \(h, c\)",
        ),
        (
            lambda: bptt.unroll(LSTM(I, H), X[:, 0, None, 0]),
            ArgumentError,
            r"inputs: expected \(T, B, 3\)",
        ),
        (lambda: bptt.unroll(LSTM(I, H), X[..., :2]), ArgumentError, "inputs: expected 3 features"),
        (lambda: bptt.unroll(GRU(I, H), X.float()), ArgumentError, "inputs: expected float64"),
        (lambda: Leaky(I, H, tau=0.5), ArgumentError, "tau should be at least 1 step.* got 0.5"),
        (lambda: Leaky(I, H, tau=1.0, train_tau=True), ArgumentError, "tau should be above 1 step"),
        (lambda: Leaky(I, H, tau=torch.ones(3)), ArgumentError, "one for each of 4 units"),
        (lambda: Leaky(I, H, noise=-1), ArgumentError, "noise should be 0 or above, got -1"),
        (lambda: RHN(I, H, depth=0), ArgumentError, "depth should be a whole number"),
        (lambda: SLSTM(I, H, num_heads=3), ArgumentError, "num_heads should divide hidden_size 4"),
        (
            lambda: bptt.unroll(SLSTM(I, H), X, X[0]),
            StructureError,
            r"\(h, c, n, m\), a tensor each",
        ),
        (lambda: LIF(I, H, tau_synapse=0), ArgumentError, "tau_synapse should be above 0, got 0"),
        (lambda: LIF(I, H, spike=1), StructureError, "spike should be a function"),
        (lambda: bptt.unroll(GRUD(I, H), X), StructureError, "GRUD: inputs should be .*observed"),
        (
            lambda: GRUD(I, H, mean=torch.zeros(2)),
            ArgumentError,
            r"mean should be \(3,\), got \(2,",
        ),
        (lambda: cells.observed(X, -torch.arange(T)), ArgumentError, "times should never fall"),
        (lambda: cells.observed(X, X), ArgumentError, r"expected x \(T, B, I\), times \(T,\)"),
        (lambda: Dale([1, 0]), ArgumentError, r"signs should be \+1 or -1"),
        (
            lambda: register_parametrization(Leaky(I, H), "Ws", Dale([1, -1])),
            ArgumentError,
            r"dimension 0 of a weight \(4, 4\), got 2",
        ),
        (
            lambda: register_parametrization(Leaky(I, H), "Wx", Masked(torch.eye(H))),
            ArgumentError,
            r"mask should broadcast to the weight \(3, 4\), got shape \(4, 4\)",
        ),
    ],
)
def test_says_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()
