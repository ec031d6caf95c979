"""Jacobians, Lyapunov exponents, saturation, diagnosis and watching against what is known."""

import contextlib
import csv
import inspect
import math
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import bptt
from bptt.cells import GRU, LSTM, Elman
from bptt.errors import ArgumentError, CellError, RunWarning
from bptt.inspect.credit import credit
from bptt.inspect.diagnosis import diagnose
from bptt.inspect.finding import SEVERITIES
from bptt.inspect.jacobian import jacobians, matrices
from bptt.inspect.lyapunov import lyapunov
from bptt.inspect.models import subject
from bptt.inspect.modules import as_cell
from bptt.inspect.saturation import saturation
from bptt.inspect.sinks import Table
from bptt.inspect.trajectory import follow
from bptt.inspect.watch import EVERY, watch
from bptt.listeners import LISTENERS

T, B, INPUTS, H = 9, 3, 2, 4


def _brute_force(cell, inputs, state, reset, fresh):
    """ds_t/ds_{t-1} of one sequence, step by step, by torch's own jacobian: T matrices."""
    leaves, structure = torch.utils._pytree.tree_flatten(state)
    shapes = [leaf.shape for leaf in leaves]

    def step(x, vector):
        parts = vector.split([math.prod(shape) for shape in shapes])
        before = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        result = cell(x, torch.utils._pytree.tree_unflatten(before, structure))
        _, after = result if isinstance(result, tuple) and len(result) == 2 else (None, result)
        after = after if len(torch.utils._pytree.tree_leaves(after)) == len(shapes) else result
        return torch.cat([leaf.flatten() for leaf in torch.utils._pytree.tree_leaves(after)])

    vector = torch.cat([leaf.flatten() for leaf in leaves])
    found = []
    for x, again in zip(inputs, reset, strict=True):
        vector = fresh.flatten() if again else vector
        matrix = torch.autograd.functional.jacobian(lambda s, x=x: step(x[None], s), vector)
        found.append(torch.zeros_like(matrix) if again else matrix)
        vector = step(x[None], vector).detach()
    return found


CELLS = {
    "elman": lambda: Elman(INPUTS, H),
    "lstm": lambda: LSTM(INPUTS, H),
    "torch GRU": lambda: nn.GRUCell(INPUTS, H),
    "two layers": lambda: as_cell(bptt.nn.GRU(INPUTS, H, num_layers=2)),
}


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    ("reverse", "lengths"), [(False, [T, 5, 0]), (True, [T, 5, 0]), (True, None)]
)
@pytest.mark.parametrize("name", CELLS)
def test_jacobians_are_those_of_each_step_by_itself(name, reverse, lengths):
    cell, inputs = CELLS[name](), torch.randn(T, B, INPUTS)
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[3, 0] = reset[7, 1] = True  # the second beyond the length
    backend = "auto" if name == "elman" else "reference"  # which compiles nothing
    given = {"lengths": lengths, "reset": reset, "reverse": reverse, "backend": backend}
    found = jacobians(cell, inputs, **given)
    start = bptt.unroll(cell, inputs[:0, :1])[1]
    fresh = torch.cat([leaf.flatten() for leaf in torch.utils._pytree.tree_leaves(start)])
    for b, length in enumerate(lengths or [T] * B):
        order = range(length)[::-1] if reverse else range(length)
        rows = inputs[list(order), b], [reset[t, b] for t in order]
        expected = _brute_force(cell, rows[0], start, rows[1], fresh)
        for t, matrix in zip(order, expected, strict=True):
            values = torch.linalg.svdvals(matrix)
            assert np.allclose(found.singular_values[t, b], values)
            assert np.isclose(found.norm[t, b], values[0])
            radius = torch.linalg.eigvals(matrix).abs().max()
            assert np.isclose(found.spectral_radius[t, b], radius)
        assert np.isnan(found.norm[length:, b]).all()


def test_a_cell_that_draws_is_differentiated_with_the_numbers_it_drew():
    cell = bptt.remedies.Zoneout(Elman(INPUTS, H), 0.5).train()
    found = jacobians(cell, torch.zeros(200, 2, INPUTS))
    again = jacobians(cell, torch.zeros(200, 2, INPUTS), backend="reference")
    ones = np.isclose(found.singular_values, 1).mean()  # units left as they were, more or less
    assert 0.1 < ones < 0.9
    assert np.allclose(found.norm, again.norm, atol=1e-5)


@pytest.mark.usefixtures("double")
def test_a_unit_has_its_row_of_the_jacobian():
    cell, x = LSTM(INPUTS, H), torch.randn(T, B, INPUTS)
    path = follow(subject(cell, x, backend="reference"))
    ((_, whole),) = matrices(path, path.live)
    found = jacobians(cell, x, unit=-1, backend="reference")  # the last of c
    row = whole.view(T, B, 2 * H, 2 * H)[:, :, -1]
    assert np.allclose(found.norm, row.norm(dim=-1))
    assert np.allclose(found.spectral_radius, row[..., -1].abs())
    assert (found.unit, found.singular_values.shape) == (2 * H - 1, (T, B, 1))


KINKS = {  # a step, what its text says, how many of the 3 x 2 x 2 numbers met it
    "infinite": (lambda x, s: s.sqrt() + x, "slope is infinite", 6),
    "corner": (lambda x, s: torch.relu(s) + x, "corner", 6),
    "branch": (lambda x, s: torch.where(s > 0, s, 2 * s) + x, "corner", 6),
    "jump": (lambda x, s: s + torch.round(s) + x, "jumps", 0),
    "own": (lambda x, s: bptt.cells.Triangle()(s) + x, "backward pass of its own", 0),
    "smooth": (lambda x, s: torch.tanh(s) + x, "", 0),
}


@pytest.mark.parametrize("name", KINKS)
def test_where_a_step_has_no_derivative_is_said(name):
    cell, text, met = KINKS[name]
    x = torch.zeros(3, 2, 1)
    given = {"state": torch.tensor([[0.0, 0.0], [1.0, 1.0]]), "backend": "reference"}
    found = jacobians(cell, x, **given), credit(cell, x, torch.square, **given)
    for notes in (one.notes for one in found):
        assert len(notes) == (name != "smooth")
        file = "surrogate.py" if name == "own" else "test_dynamics.py"
        assert all(text in note and f"{file}:" in note for note in notes)
        assert not met or f"for {met} of 12 numbers, first at step 0, sequence 0" in notes[0]
        assert str(Path(__file__).parent) not in "".join(notes)
    assert all(note in " ".join(str(found[0]).split()) for note in notes)
    said = diagnose(cell, x, torch.square, **given)
    kinds = [one.severity for one in said.findings if one.name == "not differentiable"]
    assert kinds == ["problem" if name == "infinite" else "note"] * (name != "smooth")
    part = diagnose(cell, x, torch.square, steps=2, sequences=1, **given)
    again = [one for one in part.findings if one.step is not None]
    assert [one.step for one in again] == [1] * bool(met)
    assert all("first at step 2, seq" in one.counted_from(1).statement for one in again)
    assert "exploding" not in said
    if name == "infinite":
        with pytest.raises(ArgumentError, match=r"not finite.* sqrt .*slope is infinite"):
            lyapunov(cell, torch.zeros(50, 2, 1), **given)


@pytest.mark.parametrize("reverse", [False, True])
def test_rows_without_derivative_are_counted_in_all_parts_of_a_sequence(reverse, monkeypatch):
    monkeypatch.setattr("bptt.inspect.kinks.ROWS", 4)
    x = torch.zeros(12, 2, 1)
    x[8 if not reverse else 2, 1] = -1  # after it the second state is 0, and the next step's relu
    given = {"reverse": reverse, "lengths": [12, 11], "state": torch.ones(2, 1)}
    (note,) = jacobians(KINKS["corner"][0], x, backend="reference", **given).notes
    first = 9 if not reverse else 1  # and one more step starts from 0
    assert f"for 2 of 23 numbers, first at step {first}, sequence 1" in note


def test_what_is_not_differentiable_is_said():
    def lookup(x, s):
        return s + 1

    with pytest.raises(ArgumentError, match="floating numbers to differentiate"):
        jacobians(lookup, torch.zeros(3, 1, 1), state=torch.zeros(1, 2, dtype=torch.int64))

    def forgetting(x, s):
        return x + 0 * s.detach()

    assert (jacobians(forgetting, torch.zeros(3, 1, 2), state=torch.ones(1, 2)).norm == 0).all()

    def root(x, s):
        return s.sqrt()

    found = jacobians(root, torch.zeros(3, 2, 1), state=torch.tensor([[0.0], [1.0]]))
    assert found.broken == (0, 0)
    assert "not finite at step 0, sequence 0" in repr(found)

    def of_all_rows(x, s):
        return s - s.mean(0)

    with pytest.raises(CellError, match="rows of one batch"):
        jacobians(of_all_rows, torch.randn(5, 2, 3), state=torch.randn(2, 3))


# Lyapunov exponents


def _henon(x, s):
    """The Hénon map, a = 1.4, b = 0.3."""
    return torch.stack([1 - 1.4 * s[:, 0] ** 2 + s[:, 1], 0.3 * s[:, 0]], 1)


def _logistic(x, s):
    return 4 * s * (1 - s)


def _tent(x, s):
    """Slope 1.9 up and down: a corner, where it is 1.9 or -1.9."""
    return 1.9 * torch.minimum(s, 1 - s)


def _lozi(x, s):
    """The Lozi map, a = 1.7, b = 0.5: Hénon's with a corner in place of the bend."""
    return torch.stack([1 - 1.7 * s[:, 0].abs() + s[:, 1], 0.5 * s[:, 0]], 1)


def _lorenz(x, s, step=0.02):
    """The Lorenz system, sigma = 10, rho = 28, beta = 8/3: a step of Runge and Kutta's."""

    def rate(s):
        a, b, c = s.unbind(1)
        return torch.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], 1)

    k1 = rate(s)
    k2 = rate(s + step / 2 * k1)
    k3 = rate(s + step / 2 * k2)
    return s + step / 6 * (k1 + 2 * k2 + 2 * k3 + rate(s + step * k3))


@pytest.mark.usefixtures("double")
def test_exponents_of_a_flow_are_the_published_ones_and_settle():
    # Sprott 2003, appendix A: 0.9056, 0, -14.5723 a unit of time; their sum is -(10 + 1 + 8/3).
    state = torch.tensor([1.0, 1, 20]) + torch.randn(8, 3)
    found = lyapunov(_lorenz, torch.zeros(2500, 8, 1), state=state, backend="reference")
    known, error = np.array([0.9056, 0, -14.5723]), found.error / 0.02
    assert (np.abs(found.exponents / 0.02 - known) < np.maximum(4 * error, 0.02)).all()
    assert (error < 0.06).all()
    assert math.isclose(found.exponents.sum() / 0.02, -41 / 3, rel_tol=2e-3)
    early, late = (np.abs(found.history[n, 0] / 0.02 - 0.9056) for n in (100, -1))
    assert late < early
    assert found.notes == ()


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    ("cell", "units", "known"),
    # Sprott 2003, "Chaos and time-series analysis", appendix A: 0.41922, -1.62319; ln 2 exactly.
    # Lozi: 0.4702, and log b between them. A tent's slope is the same everywhere.
    [
        (_henon, 2, [0.41922, -1.62319]), (_logistic, 1, [math.log(2)]),
        (_lozi, 2, [0.4702, math.log(0.5) - 0.4702]), (_tent, 1, [math.log(1.9)]),
    ],
)  # fmt: skip
def test_exponents_of_maps_are_the_published_ones(cell, units, known):
    state = 0.1 + 0.1 * torch.rand(4, units)
    found = lyapunov(cell, torch.zeros(3000, 4, 1), state=state)
    assert (np.abs(found.exponents - known) < np.maximum(4 * found.error, 1e-6)).all()
    assert (found.error < 0.01).all()
    assert found.is_chaotic
    assert np.array_equal(found.history[-1], found.exponents)


@pytest.mark.usefixtures("double")
def test_exponents_of_a_linear_cell_are_its_eigenvalues():
    turn = torch.linalg.qr(torch.randn(6, 6)).Q
    matrix = turn @ torch.diag(torch.tensor([1.1, -0.9, 0.5, 0.3, -0.1, 0.01])) @ turn.T
    found = lyapunov(lambda x, s: s @ matrix, torch.zeros(400, 1, 1), state=torch.randn(1, 6))
    assert np.allclose(found.exponents, np.log([1.1, 0.9, 0.5, 0.3, 0.1, 0.01]), atol=1e-9)
    some = lyapunov(
        lambda x, s: s @ matrix, torch.zeros(400, 1, 1), state=torch.randn(1, 6), exponents=2
    )
    assert np.allclose(some.exponents, found.exponents[:2], atol=1e-9)


@pytest.mark.usefixtures("double")
def test_exponents_sum_to_the_growth_of_volume():
    cell, inputs = GRU(INPUTS, 5), torch.randn(60, 2, INPUTS)
    found = lyapunov(cell, inputs, warmup=10, backend="reference")
    singular = jacobians(cell, inputs, backend="reference").singular_values
    volumes = np.log(singular).sum(-1)[10:].mean()
    assert np.isclose(found.exponents.sum(), volumes)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("g", [0.5, 3.0])
def test_random_tanh_networks_are_as_chaotic_as_mean_field_theory_says(g):
    # Molgedey, Schuchhardt & Schuster 1992: q = g^2 E tanh(sqrt(q) z)^2, z normal, and the largest
    # exponent is log(g^2 E tanh'(sqrt(q) z)^2) / 2; for g < 1, q = 0 and it is log g.
    z = torch.linspace(-8, 8, 4001)
    normal = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    q = 1.0
    for _ in range(200):
        q = g**2 * float((torch.tanh(math.sqrt(q) * z) ** 2 * normal).sum())
    slope = 1 - torch.tanh(math.sqrt(q) * z) ** 2
    theory = math.log(g**2 * float((slope**2 * normal).sum())) / 2
    weights = torch.randn(100, 100) * g / 10
    found = lyapunov(
        lambda x, s: torch.tanh(s @ weights), torch.zeros(300, 1, 1), state=torch.randn(1, 100),
        exponents=1, warmup=100, backend="reference",
    )  # fmt: skip
    assert abs(found.exponents[0] - theory) < 0.1  # of 100 units
    assert found.is_chaotic == (g > 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"exponents": 5}, "expected 1 to 4"),
        ({"warmup": 45}, "leaves at least 20 of the 50 steps"),
    ],
)
def test_wrong_arguments_of_lyapunov_are_named(given, message):
    with pytest.raises(ArgumentError, match=message):
        lyapunov(Elman(INPUTS, H), torch.zeros(50, 1, INPUTS), **given)


def test_growth_that_overflows_has_no_rate():
    with pytest.raises(ArgumentError, match=r"step \d+ of sequence 0 is not finite"):
        lyapunov(lambda x, s: s * s, torch.zeros(50, 1, 1), state=torch.full((1, 2), 3.0))


# Saturation


class Gated(nn.Module):
    """A cell of the user's own, with a gate cut out of one product."""

    def __init__(self):
        super().__init__()
        self.W, self.U = nn.Linear(INPUTS, 2 * H), nn.Linear(H, 2 * H)

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, H)

    def forward(self, x, s):
        gate, new = (self.W(x) + self.U(s)).chunk(2, -1)
        return torch.relu(new) + torch.sigmoid(gate) * s


def test_non_linearities_are_found_by_what_the_step_does():
    cell, inputs = Gated(), 20 * torch.randn(T, B, INPUTS)
    with torch.no_grad():
        cell.W.bias[H] = -1e4  # the first unit that relu sees
    found = saturation(cell, inputs, lengths=[T, 5, 0], backend="reference")
    assert found.names == ("relu new", "sigmoid gate")
    assert all(where.rpartition(":")[0] == __file__ for where in found.where)
    assert found.code[0].startswith("return torch.relu(new)")
    before = torch.cat([torch.zeros(1, B, H), bptt.unroll(cell, inputs)[0][:-1]]).detach()
    gate, new = (cell.W(inputs) + cell.U(before)).chunk(2, -1)
    live = torch.arange(T)[:, None] < torch.tensor([T, 5, 0])
    gate = torch.sigmoid(gate)
    for name, flat in (("relu new", new <= 0), ("sigmoid gate", gate * (1 - gate) < 0.025)):
        index = found.names.index(name)
        assert np.isclose(found.share[index], flat[live].double().mean())
        assert np.allclose(found.units[name], flat[live].double().mean(0))
        assert np.isclose(found.steps[name][2], flat[2, :2].double().mean())
    assert found.dead["relu new"][0]
    assert not found.dead["sigmoid gate"].any()


def test_in_place_functions_and_layers_are_told_apart():
    assert saturation(
        nn.LSTMCell(INPUTS, H), torch.zeros(T, B, INPUTS), backend="reference"
    ).names == (
        "sigmoid part 1 of 4", "sigmoid part 2 of 4", "tanh part 3 of 4", "sigmoid part 4 of 4",
        "tanh",
    )  # fmt: skip
    layers = saturation(
        bptt.nn.RNN(INPUTS, H, num_layers=2), torch.randn(T, B, INPUTS) * 100, backend="reference"
    )
    assert layers.names == ("tanh (1)", "tanh (2)")
    assert layers.share[0] > 0.9 > layers.share[1]


def test_a_step_that_looks_at_its_data_cannot_be_traced():
    def choosing(x, s):
        return torch.tanh(s) if s.sum() > 0 else s

    state = torch.ones(1, 2)
    with (
        pytest.warns(bptt.errors.BackendWarning),
        pytest.raises(CellError, match=r"cannot be traced.*test_dynamics.py:\d+"),
    ):
        saturation(choosing, torch.zeros(4, 1, 1), state=state)
    with pytest.raises(ArgumentError, match="share between 0 and 1"):
        saturation(Elman(1, 2), torch.zeros(4, 1, 1), threshold=2.0)


# Watching


class Model(nn.Module):
    """A model of the user's own that calls bptt.unroll in its forward."""

    def __init__(self):
        super().__init__()
        self.cell, self.read = Elman(INPUTS, H), nn.Linear(H, 1)

    def forward(self, x, **options):
        return self.read(bptt.unroll(self.cell, x, **options)[0])


def _train(model, watching, steps=4, **options):
    """A few steps; the weights that come of them."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watching(model):
        for _ in range(steps):
            optimizer.zero_grad()
            x = nn.functional.dropout(torch.randn(T, B, INPUTS), 0.1)
            outputs = bptt.unroll(model, x)[0] if isinstance(model, Elman) else model(x, **options)
            outputs = outputs[0] if isinstance(outputs, tuple) else outputs
            outputs.square().mean().backward()
            optimizer.step()
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach()


MODELS = {
    "own": (Model, "cell", {"reset": torch.arange(T * B).view(T, B) == 3, "lengths": [T, 6, 0]}),
    "cell": (lambda: Elman(INPUTS, H), "Elman", {}),
    "layers": (lambda: bptt.nn.RNN(INPUTS, H, num_layers=2), "l1", {}),
    "network": (lambda: bptt.nn.Network(Elman(INPUTS, H), 1), "cell", {}),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_watch_sees_cells_and_gradients_and_changes_nothing(name, tmp_path):
    make, of, options = MODELS[name]
    seen = []
    torch.manual_seed(0)
    watched = _train(
        make(),
        lambda model: watch(model, 2, folder=tmp_path, log=lambda *given: seen.append(given)),
        **options,
    )
    torch.manual_seed(0)
    model = make()
    assert torch.equal(watched, _train(model, lambda _: contextlib.nullcontext(), **options))
    assert not LISTENERS
    assert not model._forward_hooks
    assert [step for _, step in seen] == [1, 3]
    figures = seen[1][0]
    assert 0 < figures[f"decay rate/{of}"] < 1
    assert figures[f"spectral radius/{of}"] <= figures[f"jacobian norm/{of}"]
    assert figures[f"saturation/{of}: tanh"] < 0.5
    norms = {k.split("/")[1]: v for k, v in figures.items() if k.startswith("gradient norm/")}
    assert norms.keys() - {"all"} == dict(model.named_parameters()).keys()
    assert math.isclose(norms.pop("all"), math.hypot(*norms.values()), rel_tol=1e-5)
    rows = (tmp_path / "gradient.csv").read_text().splitlines()
    assert rows[0] == "step,quantity,of,value"
    assert len(rows) == 1 + 2 * len(figures)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.2])
def test_the_rate_that_is_watched_is_that_of_a_linear_cell(factor):
    cell = _Linear(factor * torch.linalg.qr(torch.randn(6, 6)).Q)
    with watch(cell) as watching:
        bptt.unroll(cell, torch.randn(30, 2, 6))[0].sum().backward()
        figures = watching.last
    rate, half = figures["decay rate/_Linear"], figures["half-life/_Linear"]
    assert math.isclose(rate, factor, rel_tol=1e-4)
    assert (
        half > 1e3
        if factor >= 1
        else math.isclose(half, math.log(2) / -math.log(factor), rel_tol=1e-3)
    )
    assert math.isclose(figures["spectral radius/_Linear"], factor, rel_tol=1e-4)
    assert math.isclose(figures["jacobian norm/_Linear"], factor, rel_tol=1e-4)


class _Linear(nn.Module):
    """s_t = s_{t-1} W + x_t."""

    def __init__(self, W):
        super().__init__()
        self.W = nn.Parameter(W)

    def initial_state(self, batch_size):
        return self.W.new_zeros(batch_size, len(self.W))

    def forward(self, x, s):
        return s @ self.W + x


def test_a_watch_goes_on_where_a_run_was_cut_off(tmp_path):
    table = Table(tmp_path)
    for step in (1, 3, 5):
        table({"decay rate/a": step / 10}, step)
    with (tmp_path / "gradient.csv").open("a") as file:
        file.write("7,decay")  # cut off while it was written
    Table(tmp_path, start=3)({"decay rate/a": 0.7}, 5)
    rows = (tmp_path / "gradient.csv").read_text().splitlines()
    assert [row.split(",")[::3] for row in rows[1:]] == [["1", "0.1"], ["3", "0.3"], ["5", "0.7"]]


def test_wrong_arguments_of_watch_are_named(tmp_path, monkeypatch):
    model = Model()
    with pytest.raises(ArgumentError, match="every: expected a whole number"):
        watch(model, 0)
    with pytest.raises(ArgumentError, match="model: expected a module"):
        watch(lambda x: x)
    with pytest.raises(ArgumentError, match="writer: expected a SummaryWriter"):
        watch(model, writer=3)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        watch(model, writer=tmp_path)


def test_a_cell_that_cannot_be_traced_is_watched_as_far_as_it_goes():
    class Choosing(Elman):
        def forward(self, x, s):
            return super().forward(x, s) if float(s.detach().sum()) < 1e9 else s

    cell = Choosing(INPUTS, H)
    with watch(cell) as watching, pytest.warns(RunWarning, match="saturation of Choosing is not"):
        bptt.unroll(cell, torch.randn(T, B, INPUTS), backend="reference")[0].sum().backward()
    assert "decay rate/Choosing" in watching.last
    assert not any(name.startswith("saturation") for name in watching.last)


@pytest.mark.parametrize("kind", ["CSVLogger", "TensorBoardLogger"])
def test_lightning_logs_what_is_watched(kind, tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")

    class Trained(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = Model()

        def training_step(self, batch, _):
            return self.model(batch.transpose(0, 1)).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    data = torch.utils.data.DataLoader(torch.randn(6 * B, T, INPUTS), batch_size=B)
    logger = getattr(lightning.loggers, kind)(tmp_path)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=logger, callbacks=[bptt.inspect.WatchCallback(2)],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Trained(), data)
    assert not LISTENERS
    rows = (Path(logger.log_dir) / "gradient.csv").read_text().splitlines()
    assert {row.split(",")[0] for row in rows[1:]} == {"1", "3", "5"}
    if kind == "CSVLogger":
        metrics = (Path(logger.log_dir) / "metrics.csv").read_text()
        assert "decay rate/model.cell" in metrics.splitlines()[0]
        return
    written = {(f"{q}/{of}", int(step) - 1): float(v) for step, q, of, v in csv.reader(rows[1:])}
    shown = {key: v for key, v in _events(logger.log_dir).items() if key[0] != "epoch"}
    assert shown == pytest.approx(written, rel=1e-5)


def _events(folder):
    """What TensorBoard reads: by tag and step, the number."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()["scalars"]
    return {(tag, event.step): event.value for tag in tags for event in events.Scalars(tag)}


def test_tensorboard_shows_what_is_watched(tmp_path):
    seen = {}
    cell = Elman(INPUTS, H)
    note = lambda figures, step: seen.update({(k, step): v for k, v in figures.items()})  # noqa: E731
    with watch(cell, 2, writer=tmp_path, log=note):
        for _ in range(3):
            bptt.unroll(cell, torch.randn(T, B, INPUTS), backend="reference")[0].sum().backward()
    assert {step for _, step in seen} == {1, 3}
    assert _events(tmp_path) == pytest.approx(seen, rel=1e-5)


@pytest.mark.long
def test_a_look_costs_less_than_a_twentieth_of_a_hundred_steps():
    model = bptt.nn.GRU(8, 64)
    optimizer = torch.optim.Adam(model.parameters())
    inputs = torch.randn(100, 32, 8)
    costs = {True: [], False: []}
    with watch(model, 2):
        for step in range(21):
            begun = time.process_time()
            optimizer.zero_grad()
            model(inputs)[0].square().mean().backward()
            optimizer.step()
            costs[step % 2 == 0].append(time.process_time() - begun)
    plain = min(costs[False])
    assert min(costs[True]) - plain < 0.05 * EVERY * plain


def test_spikes_are_judged_by_their_surrogate_gradient():
    cell = bptt.cells.LIF(INPUTS, H, spike=bptt.cells.Triangle(width=0.5))
    inputs = torch.randn(T, B, INPUTS)
    with torch.no_grad():
        cell.Wx[:, 0] = cell.Ws[:, 0] = 0  # a neuron that is never near its threshold
    found = saturation(cell, inputs, backend="reference")
    assert found.names == ("Spike",)
    assert found.where[0].rpartition(":")[0] == inspect.getsourcefile(bptt.cells.Triangle)
    assert found.dead["Spike"][0]
    state, flat = cell.initial_state(B), []
    for x in inputs:
        state = cell(x, state)
        flat.append((1 - (state.u - 1).abs() / 0.5).clamp(min=0) * 0.3)
    slope = torch.stack(flat).detach()
    assert np.isclose(found.share[0], (slope < 0.1 * slope.max()).double().mean())


# Diagnosis


def _squared(outputs):
    return outputs.square()


def _elman(change, units=16, **options):
    def make():
        cell = Elman(INPUTS, units, **options)
        with torch.no_grad():
            change(cell)
        return cell

    return make


def _small_weights(cell):
    cell.Ws *= 0.2


def _large_inputs(cell):
    cell.Wx *= 100


def _low_biases(cell):
    cell.b[:10] = -100


def _chaotic_weights(cell):
    cell.Ws[:] = torch.randn(64, 64) / 2
    cell.Wx *= 0.1


def _orthogonal(cell):
    nn.init.orthogonal_(cell.Ws)
    cell.Wx *= 0.1


def _blind(cell):
    _orthogonal(cell)
    cell.Wx[0] = 0


def _deaf(cell):
    _orthogonal(cell)
    cell.Wx[:] = 0


def _no_bounds(cell):
    nn.init.orthogonal_(cell.Ws, 30)


ILLNESSES = {
    "vanishing": (_elman(_small_weights), {}, "orthogonal"),
    "exploding": (_elman(_chaotic_weights, 64, bias=False), {}, "clip the gradient's norm at"),
    "saturated": (_elman(_large_inputs), {}, "scale the inputs"),
    "dead units": (_elman(_low_biases, activation=torch.relu), {}, "leaky_relu"),
    "chaos": (_elman(_chaotic_weights, 64, bias=False), {}, "multiply the recurrent weights by 0."),
    "truncation": (_elman(_orthogonal, bias=False), {"method": bptt.Truncated(1, 2)}, "k2 = "),
    "not finite": (_elman(_no_bounds, activation=lambda a: a), {}, "smaller recurrent weights"),
    "inputs ignored": (_elman(_blind, bias=False), {}, "leave it out"),
    "no gradient": (_elman(_orthogonal), {"loss": lambda s: 0 * s}, "read-out"),
}


@pytest.mark.parametrize("name", ILLNESSES)
def test_an_illness_is_named_with_its_figure_and_a_remedy(name):
    make, options, remedy = ILLNESSES[name]
    inputs = torch.randn(60, 2, INPUTS)
    found = diagnose(make(), inputs, **{"loss": _squared, "backend": "reference"} | options)
    finding = found[name]
    assert finding.severity in (("note",) if name == "inputs ignored" else ("warning", "problem"))
    assert remedy in finding.advice
    assert math.isfinite(finding.figure)
    assert "healthy" not in found or name == "inputs ignored"
    order = [SEVERITIES.index(one.severity) for one in found.findings if one.name != "healthy"]
    assert order == sorted(order)
    assert finding.statement[:40] in str(found)
    assert str(Path(bptt.__file__).parent) not in str(found)  # folders of this machine
    assert found.to_frame()["name"].to_list() == [one.name for one in found.findings]


def test_nothing_reaches_a_state_without_input_weights():
    found = diagnose(_elman(_deaf)(), torch.randn(20, 2, INPUTS), _squared, backend="reference")
    assert found["inputs ignored"].severity == "problem"


@pytest.mark.usefixtures("double")
def test_figures_of_findings_are_those_of_a_linear_cell():
    turn, inputs = torch.linalg.qr(torch.randn(4, 4)).Q, torch.randn(30, 2, 4)
    options = {"loss": _squared, "backend": "reference"}
    fading = diagnose(_Linear(0.5 * turn), inputs, **options)["vanishing"]
    assert fading.figure == 7  # 0.5 ** 7 is the first below a hundredth
    growing = diagnose(_Linear(1.1 * turn), inputs, **options)["exploding"]
    assert math.isclose(growing.figure, 1.1**29, rel_tol=1e-6)
    assert "multiply the recurrent weights by 0.909" in growing.advice
    assert diagnose(_Linear(turn), inputs, **options)["span"].severity == "good"


def test_the_first_number_that_is_none_is_found():
    inputs = torch.randn(30, 5, INPUTS)
    inputs[12, 3, 1] = math.nan
    for reverse in (False, True):
        found = diagnose(GRU(INPUTS, H), inputs, _squared, reverse=reverse, backend="reference")
        said = found["not finite"].statement
        assert "step 12, sequence 3, unit 0, where feature 1 of the inputs" in said
    targets = torch.zeros(90, 5, H)
    targets[71, 2, 0] = math.nan
    inputs, cell = torch.randn(90, 5, INPUTS), GRU(INPUTS, H)
    found = diagnose(cell, inputs, targets=targets, backend="reference")
    assert "the loss at step 71 is nan" in found["not finite"].statement
    assert found.decay is None
    assert "no number" in found.missing["decay"]


HEALTHY = {
    "GRU": lambda: bptt.nn.GRU(INPUTS, 12),
    "LSTM": lambda: bptt.nn.LSTM(INPUTS, 12),
    "orthogonal Elman": _elman(_orthogonal),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_trained_network_raises_no_false_alarm(name):
    model = bptt.nn.Network(HEALTHY[name](), 1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(80):
        inputs = torch.randn(24, 8, INPUTS)
        summed = inputs[..., :1].cumsum(0)
        targets = (summed - torch.cat([torch.zeros(8, 8, 1), summed[:-8]])) / 8
        optimizer.zero_grad()
        loss = model.loss(model(inputs)[0], targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert loss < 0.5 * targets.square().sum() / 8  # it has learnt
    found = diagnose(model, inputs, targets=targets, backend="reference")
    assert {finding.severity for finding in found.findings} <= {"good", "note"}
    assert found.findings[0].severity == "good"
    assert "healthy" in found
    assert found["span"].figure > 8


def test_a_sample_is_a_part_of_the_batch_that_begins_where_the_rest_ends():
    lengths = torch.tensor([10, 40, 0, 40, 35])
    model = bptt.nn.GRU(INPUTS, H, batch_first=True)
    inputs, targets = torch.randn(5, 40, INPUTS), torch.randn(5, 40, H)
    found = diagnose(
        model, inputs, targets=targets, lengths=lengths, sequences=3, steps=25,
        backend="reference",
    )  # fmt: skip
    assert found.sample == "3 of 5 sequences, steps 15 to 40 of 40"
    whole = credit(
        model, inputs, targets=targets, lengths=lengths, times=[39], parameters=False,
        backend="reference",
    )  # fmt: skip
    assert np.allclose(
        found.credit.per_sequence[-1], whole.per_sequence[-1][15:, [1, 3, 4]], atol=1e-6
    )


def test_a_diagnosis_needs_a_loss():
    with pytest.raises(ArgumentError, match="neither loss nor targets"):
        diagnose(Elman(INPUTS, H), torch.randn(T, B, INPUTS))
    with pytest.raises(ArgumentError, match="without mixing steps"):
        diagnose(Elman(INPUTS, H), torch.randn(T, B, INPUTS), lambda s: s - s.mean(0))


@pytest.mark.parametrize(
    ("steps", "lengths", "message"), [(1, None, "at least 2 steps"), (5, [0, 0], "of length 0")]
)
def test_a_diagnosis_needs_steps(steps, lengths, message):
    with pytest.raises(ArgumentError, match=message):
        diagnose(Elman(INPUTS, H), torch.randn(steps, 2, INPUTS), _squared, lengths=lengths)
    if lengths is not None:
        with pytest.raises(ArgumentError, match=message):
            jacobians(Elman(INPUTS, H), torch.randn(steps, 2, INPUTS), lengths=lengths)
