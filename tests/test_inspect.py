"""What the way back from each error shows, against autograd and against sums over everything."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import bptt
from bptt import cells
from bptt.backends.cpu.combined import Combined, factors
from bptt.backends.cpu.simd.machines import available
from bptt.errors import ArgumentError, CellError
from bptt.inspect.charts import line_chart, map_chart
from bptt.inspect.modules import as_cell
from bptt.inspect.showing import to_polars
from steps import INPUTS, STEPS, Written

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


BOTH = ["weight norm", "network of a cell"]


@pytest.mark.parametrize(
    ("name", "backend"), [*((n, "reference") for n in MODELS), *((n, "cpu") for n in BOTH)]
)
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
    with pytest.raises(ArgumentError, match=r"expected one direction.*a bptt.nn.GRU of one"):
        as_cell(bptt.nn.GRU(I, H, bidirectional=True))
    both = bptt.nn.Recurrent(lambda n: cells.GRU(n, H), input_size=I, bidirectional=True)
    x = torch.randn(5, 2, I)
    with pytest.raises(ArgumentError, match=r"one direction.*cells\[1\] with reverse=True"):
        bptt.inspect.credit(bptt.nn.Network(both, 2), x, targets=torch.randn(5, 2, 2))
    given = {"reverse": True, "backend": "reference"}
    assert bptt.inspect.credit(both.cells[1], x, torch.square, **given).state[0, -1] > 0
    with pytest.raises(CellError, match=r"bptt.nn.LSTM takes its place"):
        as_cell(nn.LSTM(I, H))


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


def stateful(cell):
    """One number of each sequence and step."""
    return lambda y: (y if isinstance(y, torch.Tensor) else y[0]).square().flatten(2).sum(2)


class LearnedStart(nn.Module):
    """A cell that starts from what it learns, by way of a weight that its steps use too."""

    def __init__(self):
        super().__init__()
        self.cell, self.start = cells.GRU(I, H), nn.Parameter(torch.randn(H))

    def initial_state(self, batch_size):
        return (self.start * self.cell.Ws.mean()).expand(batch_size, H)

    def forward(self, x, state):
        return self.cell(x, state)


def parametrized(made):
    cell = cells.Elman(I, H)
    parametrize.register_parametrization(cell, "Ws", made)
    return cell


CELLS = {
    **{
        name: lambda name=name: getattr(cells, name)(I, H)
        for name in (
            "Elman", "GRU", "LSTM", "IndRNN", "LayerNormGRU", "LayerNormLSTM", "Leaky", "MGU",
            "PeepholeLSTM", "RHN", "SLSTM", "UGRNN",
        )
    },
    "GRUD": lambda: cells.GRUD(I, H, mean=torch.randn(I)),
    "LIF": lambda: cells.LIF(I, H, threshold=0.2, spike=cells.Triangle()),
    "LIF, smoother": lambda: cells.LIF(I, H, threshold=0.2, spike=cells.FastSigmoid(1.0)),
    "Dale": lambda: parametrized(cells.Dale(torch.tensor([1.0, 1, -1, 1]))),
    "Masked": lambda: parametrized(cells.Masked(torch.rand(H, H) < 0.5)),
    "learned start": LearnedStart,
}  # fmt: skip
T, B = 7, 3
COURSES = {
    "plain": {},
    "ragged": {"lengths": [7, 3, 0]},
    "backwards": {"reverse": True, "lengths": [4, 7, 2], "reset": torch.rand(T, B) < 0.3},
}


def test_every_cell_is_among_those_whose_sums_are_tested():
    kinds = {getattr(cells, name) for name in cells.__all__}
    modules = {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, nn.Module)}
    tested = [part for make in CELLS.values() for part in make().modules()]
    assert not {kind for kind in modules if not any(isinstance(part, kind) for part in tested)}


def series(cell):
    """What a cell takes, (T, B, ...)."""
    x = torch.randn(T, B, I)
    if not isinstance(cell, cells.GRUD):
        return x
    return cells.observed(
        torch.where(torch.rand(T, B, I) < 0.4, torch.nan, x), torch.arange(T) ** 2
    )


@pytest.mark.parametrize("course", COURSES)
@pytest.mark.parametrize("name", CELLS)
def test_sums_over_steps_are_the_gradient_on_both_backends(name, course, double):
    cell, given = CELLS[name](), COURSES[course]
    x = series(cell)
    if "lengths" in given:
        for leaf in torch.utils._pytree.tree_leaves(x):
            if leaf.is_floating_point():
                leaf[given["lengths"][1] :, 1] = float("nan")
    kernels, steps = (
        bptt.inspect.credit(cell, x, stateful(cell), backend=backend, **given)
        for backend in ("auto", "reference")
    )
    assert kernels.check() < 1e-13
    assert steps.check() < 1e-13
    assert set(kernels.gradients) == {n for n, p in cell.named_parameters()} - unused(name)
    for of in ("per_sequence", "inputs", "state", "losses"):
        np.testing.assert_allclose(getattr(kernels, of), getattr(steps, of), atol=1e-13, rtol=1e-9)
    for parameter, norms in steps.parameters.items():
        np.testing.assert_allclose(kernels.parameters[parameter], norms, atol=1e-13, rtol=1e-9)
    assert np.count_nonzero(np.triu(kernels.state, 1) if not given.get("reverse") else 0) == 0


@pytest.mark.parametrize("room", [1, 1 << 11])
@pytest.mark.parametrize("name", ["forgets", "detached", "ceil", "normalized", "heads"])
def test_trails_are_weighed_window_by_window(name, room, double, monkeypatch):
    """Steps whose state moves nothing, too, and windows of one step and of some."""
    monkeypatch.setattr("bptt.fused.trails.MEMORY", room)
    cell, x = Written(STEPS[name]), torch.randn(9, 3, INPUTS)
    given = {"lengths": torch.tensor([9, 4, 7]), "reset": torch.rand(9, 3) < 0.2}
    kernels, steps = (
        bptt.inspect.credit(cell, x, torch.square, times=[1, 5, 8], backend=backend, **given)
        for backend in ("cpu", "reference")
    )
    for of in ("per_sequence", "inputs"):
        np.testing.assert_allclose(getattr(kernels, of), getattr(steps, of), atol=1e-13, rtol=1e-9)
    for parameter, norms in steps.parameters.items():
        found = kernels.parameters.get(parameter, np.zeros_like(norms))
        np.testing.assert_allclose(found, norms, atol=1e-13, rtol=1e-9)


SIZES = [1.0, 1e-34, 1e-30, 1e-18, 1e15, 1e34]  # of what comes back to one step, in one window


@pytest.mark.parametrize("vectors", [None, "scalar"])
@pytest.mark.parametrize(
    ("batch", "count", "width"), [(3, 1, 5), (1, 1, 1), (5, 2, 17), (2, 1, 130)]
)
def test_products_are_weighed_without_being_stored(batch, count, width, vectors, monkeypatch):
    """Rows of any number and width, numbers of any size; loss times that are not there yet."""
    if vectors in available():
        monkeypatch.setenv("BPTT_VECTOR", vectors)
    steps, copies, columns = 3, len(SIZES), batch * count
    d = torch.randn(steps, batch, copies, count, width)
    d *= torch.tensor(SIZES)[:, None, None]
    R = [torch.randn(steps, 7, columns) * 1e20, torch.randn(steps, columns, columns).triu()]
    live = first, last = torch.tensor([0, 2, 6]), torch.tensor([6, 5, 6])
    there = (first[:, None] <= torch.arange(copies)) & (torch.arange(copies) < last[:, None])
    given = torch.where(there[:, None, :, None, None], d, torch.nan)
    total, before = torch.ones(steps, batch, count, width), torch.get_num_threads()
    weighed = Combined(factors([(R[0], False), (R[1], True)]), count, width, live, copies, total)
    torch.set_num_threads(2)
    weighed.weigh(given[:1], 0)
    weighed.weigh(given[1:], 1)
    torch.set_num_threads(before)
    rows = d.double().transpose(2, 3).reshape(steps, columns, -1)
    for part, own in enumerate(R):
        found = (own.double() @ rows).reshape(steps, -1, copies, width).norm(dim=(1, 3))
        expected = torch.where(there, found, 0.0)
        torch.testing.assert_close(weighed.norms()[..., part], expected, rtol=2e-6, atol=0)
    torch.testing.assert_close(total, 1 + given.nansum(2), rtol=1e-6, atol=1e-6)


def unused(name):
    return {"k"} if name == "Leaky" else set()


def test_credit_is_what_autograd_gives_at_every_step(double):
    cell = cells.LSTM(I, H)
    x, state, states = torch.randn(5, 2, I), cell.initial_state(2), []
    reset = torch.tensor([[False, False], [False, False], [True, False], [False, False],
                          [False, False]])  # fmt: skip
    for t in range(5):
        h, c = (torch.where(reset[t, :, None], 0.0, leaf) for leaf in state)
        made = cell(x[t], cells.LSTMState(h, c))
        state = [leaf.detach().requires_grad_() for leaf in made]
        states.append((made, state))
    found = bptt.inspect.credit(cell, x, lambda h: h.square(), reset=reset)
    for t in range(5):
        adjoint = [2 * states[t][0][0].detach(), torch.zeros(2, H)]
        for k in range(t, -1, -1):
            norm = torch.cat(adjoint, 1).norm(dim=1)
            np.testing.assert_allclose(found.per_sequence[t, k], norm, atol=1e-13)
            if k:
                before = states[k - 1][1]
                adjoint = torch.autograd.grad(
                    states[k][0], before, adjoint, retain_graph=True, allow_unused=True
                )
                adjoint = [torch.where(reset[k, :, None], 0.0, leaf) for leaf in adjoint]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_unit_is_followed_back_as_autograd_does(backend, double):
    cell, x = bptt.nn.LSTM(I, H, num_layers=2), torch.randn(5, 2, I)
    step, unit = as_cell(cell), 3 * H + 1  # of the second layer's c
    found = bptt.inspect.credit(cell, x, unit=unit, backend=backend)
    before, runs = [leaf for layer in step.initial_state(2) for leaf in layer], []
    for x_t in x:
        before = [leaf.detach().requires_grad_() for leaf in before]
        _, (one, two) = step(x_t, (before[:2], before[2:]))
        runs.append((before, [*one, *two]))
        before = runs[-1][1]
    adjoint = [torch.zeros(2, H) for _ in range(4)]
    adjoint[3][:, 1] = 1
    for k in range(4, -1, -1):
        np.testing.assert_allclose(found.state[4, k], torch.cat(adjoint).norm(), atol=1e-13)
        adjoint = torch.autograd.grad(runs[k][1], runs[k][0], adjoint)
    assert found.check() < 1e-13
    if backend == "reference":
        more = {"unit": unit, "backend": backend}
        memory = bptt.inspect.memory(cell, x[:, :1], times=[-1], **more)
        alone = bptt.inspect.credit(cell, x[:, :1], times=[-1], **more)
        np.testing.assert_allclose(memory.norm, alone.inputs[0, ::-1], atol=1e-13)
        cut = bptt.inspect.truncation(cell, x, k2=[2, 5], **more)
        assert cut.bias[0] > 0.01 > 1e-12 > cut.bias[1]


WRONG_UNITS = {
    "beyond the state": (8, {}, r"from 0 to 7, .*h 0 to 3, c 4 to 7.*got 8"),
    "before it": (-9, {}, "counted from its end, got -9"),
    "half a unit": (0.5, {}, "whole number"),
    "a truth": (True, {}, "whole number"),
    "beside a loss": (0, {"loss": lambda s: s}, "no loss and no targets besides"),
}


@pytest.mark.parametrize("mistake", WRONG_UNITS)
def test_a_unit_that_does_not_exist_is_told(mistake):
    unit, more, message = WRONG_UNITS[mistake]
    cell, x = cells.LSTM(I, H), torch.randn(6, 2, I)
    asked = ["credit", "decay", "memory", "truncation", *([] if more else ["jacobians"])]
    for name in asked:
        with pytest.raises(ArgumentError, match=message):
            getattr(bptt.inspect, name)(cell, x, unit=unit, **more)
    found = bptt.inspect.saturation(cell, x, backend="reference")
    assert found.unit(H - 1).keys() == set(found.names)
    with pytest.raises(ArgumentError, match="from 0 to 3, one of the units"):
        found.unit(H)


@pytest.mark.parametrize("memory", [1, 3000, 5000, 7000])
def test_groups_of_loss_times_and_windows_of_any_size_fit(memory, monkeypatch):
    cell, x = cells.GRU(I, H), torch.randn(11, 2, I)
    whole = bptt.inspect.credit(cell, x, torch.square)
    monkeypatch.setattr("bptt.fused.trails.MEMORY", memory)
    monkeypatch.setattr("bptt.fused.each.ROWS", 8)  # four loss times, four, three
    parts = bptt.inspect.credit(cell, x, torch.square)
    np.testing.assert_allclose(parts.state, whole.state, rtol=1e-5)
    assert parts.check() < 1e-5


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_some_loss_times_are_rows_of_all(backend):
    cell, x = cells.GRU(I, H), torch.randn(9, 2, I)
    given = {"loss": stateful(cell), "backend": backend}
    whole = bptt.inspect.credit(cell, x, **given)
    some = bptt.inspect.credit(cell, x, times=[-1, 2, 2, 5], **given)
    assert some.times.tolist() == [2, 5, 8]
    np.testing.assert_allclose(some.state, whole.state[[2, 5, 8]], rtol=1e-5)
    np.testing.assert_allclose(some.parameters["Ws"], whole.parameters["Ws"][[2, 5, 8]], rtol=1e-4)
    assert some.check() < 1e-5


@pytest.mark.parametrize("course", [{}, {"reverse": True, "lengths": [6, 3, 4]}])
def test_noise_in_a_step_is_the_same_on_both_backends_and_leaves_the_generator_alone(course):
    cell = bptt.remedies.RecurrentDropout(cells.GRU(I, H), 0.5)
    x, before = torch.randn(6, 3, I), torch.get_rng_state()
    a, b = (
        bptt.inspect.credit(cell, x, stateful(cell), backend=backend, **course)
        for backend in ("auto", "reference")
    )
    np.testing.assert_allclose(a.state, b.state, rtol=1e-4)
    assert a.check() < 1e-5
    assert b.check() < 1e-5
    assert torch.equal(torch.get_rng_state(), before)


def test_codes_have_no_gradient_and_are_credited_nothing():
    class Embedded(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.cell = nn.Embedding(5, I), cells.Elman(I, H)

        def initial_state(self, batch_size):
            return self.cell.initial_state(batch_size)

        def forward(self, code, state):
            return self.cell(self.table(code), state)

    model, codes = Embedded(), torch.randint(5, (6, 2))
    found = bptt.inspect.credit(model, codes, lambda s: s.square())
    assert found.inputs is None
    assert found.check() < 1e-5
    assert found.parameters["table.weight"].any()
    with pytest.raises(ArgumentError, match="floating-point numbers"):
        bptt.inspect.memory(model, codes, lambda s: s.square())


def test_a_step_that_torch_cannot_batch_goes_back_row_by_row():
    class Peeks(torch.autograd.Function):
        @staticmethod
        def forward(ctx, s):
            return s.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * (2.0 if gradient.sum().item() > 1e9 else 1.0)

    cell = cells.Elman(I, H)
    step = lambda x, s: Peeks.apply(cell(x, s))  # noqa: E731
    given = torch.randn(5, 2, I), stateful(cell)
    start = {"state": torch.zeros(2, H), "backend": "reference"}
    found = bptt.inspect.credit(step, *given, **start)
    np.testing.assert_allclose(found.state, bptt.inspect.credit(cell, *given, **start).state)


def linear(weight):
    return lambda x, s: s @ weight + x


def test_decay_finds_the_eigenvalue_of_a_linear_cell(double):
    turned = torch.linalg.qr(torch.randn(H, H)).Q
    found = bptt.inspect.decay(
        linear(0.8 * turned), torch.randn(60, 4, H), lambda s: s.square(), state=torch.zeros(4, H)
    )
    assert abs(found.rate - 0.8) < 0.02
    assert found.rate_interval[0] < found.rate < found.rate_interval[1]
    assert abs(found.half_life - np.log(0.5) / np.log(found.rate)) < 1e-12
    assert found.low[3] <= found.norm[3] <= found.high[3]
    # Of sum_j 0.8^j, what lies behind K is below a tenth of the rest less it: 0.8^K < 1 / 12.
    assert found.horizon == pytest.approx(np.ceil(np.log(1 / 12) / np.log(0.8)), abs=1)
    growing = bptt.inspect.decay(
        linear(1.1 * turned), torch.randn(30, 2, H), lambda s: s, state=torch.zeros(2, H)
    )
    assert (growing.rate > 1.05, growing.horizon, growing.half_life) == (True, None, np.inf)


def test_lags_end_where_an_episode_begins(double):
    reset = torch.zeros(12, 1, dtype=torch.bool)
    reset[[4, 8]] = True
    found = bptt.inspect.decay(
        linear(0.5 * torch.eye(1)), torch.ones(12, 1, 1), lambda s: s,
        state=torch.zeros(1, 1), reset=reset, reset_state=torch.zeros(1, 1),
    )  # fmt: skip
    np.testing.assert_allclose(found.norm, 0.5 ** np.arange(4))


@pytest.mark.parametrize("reverse", [False, True])
def test_memory_finds_the_lag_and_the_feature_that_count(reverse, double):
    def delayed(x, s):  # the output is the first feature three steps ago
        return s[:, 2:], torch.cat([x[:, :1], s[:, :2]], 1)

    x, target = torch.randn(20, 2, 2), torch.randn(20, 2, 1)
    found = bptt.inspect.memory(
        delayed, x, targets=target, state=torch.zeros(2, 3), reverse=reverse
    )
    assert np.flatnonzero(found.norm).tolist() == [3]
    assert found.features[3, 0] > 0
    assert found.features[:, 1].max() == 0
    assert found.reach == 3


@pytest.mark.parametrize("k1", [1, 3])
def test_truncation_is_what_cutting_the_loop_by_hand_gives(k1, double):
    cell, x, k2 = cells.Elman(I, H), torch.randn(10, 2, I), 4
    weights = list(cell.parameters())

    def by_hand():
        states = [cell.initial_state(2)]
        for step in x:
            states.append(cell(step, states[-1]))
        states, total = [s.detach() for s in states], [torch.zeros_like(w) for w in weights]
        for end in sorted({*range(k1, 11, k1), 10}):
            first, error = (end - 1) // k1 * k1, 0.0
            state = states[max(end - k2, 0)]
            for t in range(max(end - k2, 0), end):
                state = cell(x[t], state)
                error = error + (state.square().sum() if t >= first else 0.0)
            found = torch.autograd.grad(error, weights)
            total = [a + b for a, b in zip(total, found, strict=True)]
        return torch.cat([g.flatten() for g in total])

    found = bptt.inspect.truncation(cell, x, lambda s: s.square(), k1=k1, k2=[k2, 10])
    outputs, _ = bptt.unroll(cell, x)
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(outputs.square().sum(), weights)])
    cut = by_hand()
    assert found.bias[0] == pytest.approx(float((cut - exact).norm() / exact.norm()))
    assert found.cosine[0] == pytest.approx(float(torch.cosine_similarity(cut, exact, 0)))
    assert found.bias[1] < (1e-13 if k1 == 1 else found.bias[0])
    assert set(found.parameters) == {"Wx", "Ws", "b"}


def test_numbers_that_are_none_are_carried_and_named():
    x = torch.randn(8, 2, I)
    x[5, 1] = float("nan")
    found = bptt.inspect.credit(cells.Elman(I, H), x, lambda s: s.square())
    assert np.isfinite(found.per_sequence[:, :, 0]).all()
    assert np.isnan(found.per_sequence[5, 5, 1])
    assert np.isfinite(found.per_sequence[4]).all()
    assert "no number: first at t = 5" in repr(found)
    assert np.isnan(found.check())
    assert "no number" in repr(bptt.inspect.decay(cells.Elman(I, H), x, lambda s: s.square()))
    growing = linear(1e5 * torch.eye(2))
    found = bptt.inspect.credit(
        growing, torch.zeros(12, 1, 2), lambda s: s, state=torch.zeros(1, 2)
    )
    assert np.isinf(found.state).any()
    assert "no number" in repr(found)


def test_results_are_shown_as_text_tables_and_charts():
    model, x, d = bptt.nn.Network(cells.GRU(I, H), 1), torch.randn(12, 4, I), torch.randn(12, 4, 1)
    results = [
        getattr(bptt.inspect, name)(model, x, targets=d)
        for name in ("credit", "decay", "truncation", "memory")
    ]
    for result in results:
        assert repr(result).startswith(type(result).__name__)
        assert len(result.to_frame()) > 0
        assert "$schema" in result.plot().to_dict()
    frame = results[0].to_frame()
    assert set(frame["of"]) == {"state", "inputs", *(n for n, _ in model.named_parameters())}
    with pytest.raises(ArgumentError, match="of: expected one of state"):
        results[0].plot("states")


def test_charts_of_long_sequences_are_small_enough_to_be_drawn():
    values = np.triu(np.ones((300, 1000)), 700)
    values[3, 999], values[5, 998], values[299, 0] = 7.0, np.inf, np.nan
    chart = map_chart(values, np.arange(300), np.arange(1000), "", ("step", "time", "norm"))
    (cells,) = chart.to_dict()["datasets"].values()
    assert max(cell["norm"] for cell in cells) == 7
    assert max(cells, key=lambda cell: cell["norm"])["step"] == "985 to 999"
    assert len(cells) < 64 * 64
    frame = to_polars({"t": np.tile(np.arange(5000), 2), "v": np.ones(10000), "of": ["a"] * 10000})
    chart = line_chart(frame, "t", "v", "of", "", ("t", "v")).to_dict()
    (points,) = chart["datasets"].values()
    assert (len(points), points[1]["t"]) == (2 * 1667, 3)
    assert chart["title"]["subtitle"] == "one of 3 steps"


WRONG = {
    "beyond the sequence": ({"times": [9]}, "from 0 to 5"),
    "before it": ({"times": [-7]}, "counted from its end"),
    "half a time": ({"times": [0.5]}, "whole numbers"),
    "no time": ({"times": "last"}, "whole numbers"),
    "no function": ({"loss": 3}, "expected a function"),
    "no loss": ({"loss": None}, "neither loss nor targets"),
    "a mean": ({"loss": lambda s: s.square().mean()}, "Leave out the sum or mean"),
    "mixed steps": ({"loss": lambda s: (s - s.mean(0)).square()}, "that step's output alone"),
    "shifted": ({"loss": lambda s: s.roll(1, 0)}, "moves the loss of another step"),
    "no gradient": ({"loss": lambda s: s.detach()}, "without detach"),
    "targets of another shape": ({"loss": None, "targets": torch.zeros(6, 2, 1)}, "squared error"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_mistakes_are_told(mistake):
    given, message = WRONG[mistake]
    arguments = {"loss": lambda s: s, **given}
    with pytest.raises(ArgumentError, match=message):
        bptt.inspect.credit(cells.Elman(I, H), torch.randn(6, 2, I), **arguments)


def test_what_is_asked_of_a_changed_model_is_refused():
    cell = cells.Elman(I, H)
    found = bptt.inspect.credit(cell, torch.randn(4, 1, I), lambda s: s)
    torch.optim.SGD(cell.parameters(), 0.1).zero_grad()
    with torch.no_grad():
        cell.Ws += 1
    with pytest.raises(ArgumentError, match="changed since"):
        found.terms(3)


def test_a_batch_first_model_takes_its_own_layout():
    model = bptt.nn.LSTM(I, H, batch_first=True)
    other = bptt.nn.LSTM(I, H)
    other.load_state_dict(model.state_dict())
    x, d = torch.randn(2, 5, I), torch.randn(2, 5, H)
    start = torch.randn(1, 2, H), torch.randn(1, 2, H)
    a = bptt.inspect.credit(model, x, targets=d, state=start)
    b = bptt.inspect.credit(other, x.transpose(0, 1), targets=d.transpose(0, 1), state=start)
    np.testing.assert_array_equal(a.state, b.state)
    with pytest.raises(ArgumentError, match=r"\(B, T, ...\)"):
        bptt.inspect.credit(model, x[0, 0], targets=d)
