"""The recurrence compiler: any step by kernels, against the reference backend in float64."""

import copy
import gc
import multiprocessing
import threading
import warnings
import weakref
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import bptt
from bptt import plans
from bptt.backends.cpu import simd
from bptt.compiler import formulas
from bptt.compiler.reuse import Reuse
from bptt.compiler.split import NARROW
from bptt.ready import initial_state
from bptt.testing import assert_close
from steps import INPUTS, STEPS, H, written

T, B = 7, 3


def _case(name: str) -> dict:
    reset = torch.rand(T, B, generator=torch.Generator().manual_seed(1)) < 0.3
    return {
        "plain": {},
        "lengths": {"lengths": [2, T, 4]},
        "all": {"lengths": [T, 3, 0], "reset": reset, "reverse": True},
    }[name]


def _run(cell, x: Tensor, state, backend: str, used=slice(None), **keywords):
    """Outputs, final state and the gradients of a random sum of those `used`."""
    x = x.clone().requires_grad_(x.requires_grad)
    state = pytree.tree_map(lambda s: s.clone().requires_grad_(s.is_floating_point()), state)
    torch.manual_seed(3)  # of the step's draws
    result = bptt.unroll(cell, x, state, backend=backend, **keywords)
    leaves = pytree.tree_leaves(result)
    weigh = torch.Generator().manual_seed(2)
    terms = [
        (leaf * torch.randn(leaf.shape, generator=weigh, dtype=torch.float64).to(leaf)).sum()
        for leaf in leaves[used]
        if leaf.requires_grad
    ]
    targets = [x, *pytree.tree_leaves(state), *cell.parameters()]
    targets = [target for target in targets if target.requires_grad]
    gradients = torch.autograd.grad(sum(terms), targets, allow_unused=True) if terms else []
    return [leaf.detach() for leaf in leaves], list(gradients)


def _agree(cell, x: Tensor, state, **keywords) -> None:
    expected = _run(cell, x, state, "reference", **keywords)
    found = _run(cell, x, state, "cpu", **keywords)
    for kind, ours, theirs in zip(("values", "gradients"), found, expected, strict=True):
        for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert_close(a, b, kind, f"{kind} {index}")


def _arguments(cell, batch: int = B):
    x = torch.randn(T, batch, INPUTS, dtype=torch.float64, requires_grad=True)
    state = initial_state(cell, batch)
    return x, pytree.tree_map(lambda s: torch.rand_like(s) if s.is_floating_point() else s, state)


@pytest.mark.parametrize("name", STEPS)
def test_any_step(name):
    """Padding holds NaN: neither values nor gradients look at it."""
    cell = written(name).double()
    for case in ("plain", "lengths", "all"):
        keywords = _case(case)
        x, state = _arguments(cell)
        with torch.no_grad():
            for b, length in enumerate(keywords.get("lengths", ())):
                x[length:, b] = torch.nan
        _agree(cell, x, state, **keywords)


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize(("steps", "units"), [(1, 1), (3, 17), (6, 33)])
def test_odd_sizes(batch, steps, units):
    for cell in (bptt.cells.LSTM(2, units), nn.GRUCell(2, units)):
        cell = cell.double()
        x = torch.randn(steps, batch, 2, dtype=torch.float64, requires_grad=True)
        _agree(cell, x, pytree.tree_map(torch.rand_like, initial_state(cell, batch)))


@pytest.mark.parametrize("used", [slice(0, 1), slice(1, None), slice(2, None)])
def test_a_loss_may_use_some_results(used):
    """The outputs alone, the final state alone, the memory alone; inputs without gradient."""
    cell = nn.LSTMCell(INPUTS, H).double()
    x, state = _arguments(cell)
    _agree(cell, x, state, used=used)
    _agree(cell, x.detach(), state, used=used)


def test_inputs_may_lie_anyhow_and_gradients_be_taken_twice():
    cell = bptt.cells.GRU(INPUTS, H).double()
    x = torch.randn(B, INPUTS, T, dtype=torch.float64).permute(2, 0, 1).requires_grad_()
    _agree(cell, x, torch.zeros(B, H, dtype=torch.float64))
    outputs, _ = bptt.unroll(cell, x, backend="cpu")
    loss = outputs[::2].square().sum()
    first = torch.autograd.grad(loss, [x, *cell.parameters()], retain_graph=True)
    again = torch.autograd.grad(loss, [x, *cell.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_float32_is_as_near_as_the_loop():
    """Geometric mean over seeds of our error against float64, over the eager loop's own."""
    ratios = []
    for seed in range(12):
        torch.manual_seed(seed)
        exact = nn.LSTMCell(INPUTS, 20).double()
        x = torch.randn(30, 4, INPUTS, dtype=torch.float64)
        cell = copy.deepcopy(exact).float()

        def gradient(cell, x, loop):
            if loop:
                h = c = x.new_zeros(4, 20)
                outputs = []
                for row in x:
                    h, c = cell(row, (h, c))
                    outputs.append(h)
                y = torch.stack(outputs)
            else:
                y, _ = bptt.unroll(cell, x, backend="cpu")
            return torch.autograd.grad(y.sin().sum(), [cell.weight_hh])[0].double()

        true = gradient(exact, x, True)
        errors = [(gradient(cell, x.float(), loop) - true).norm() for loop in (False, True)]
        ratios.append((errors[0] / errors[1]).log())
    assert torch.stack(ratios).mean().exp() < 1.5


class Tunable(nn.Module):
    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.randn(H, H, dtype=torch.float64) * 0.3)
        self.alpha, self.act, self.options = 0.5, torch.tanh, {"gain": 1.0}
        self.drop = nn.Dropout(0.5)

    def forward(self, x, h):
        return self.alpha * self.act(x + h @ self.W) * self.options["gain"] + 0 * self.drop(h)


def _freeze(cell):
    cell.W.requires_grad_(False)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: setattr(c, "alpha", 0.25),
        lambda c: setattr(c, "act", torch.sigmoid),
        lambda c: c.options.update(gain=2.0),
        lambda c: c.eval(),
        _freeze,
        lambda c: c.W.data.mul_(2),
        lambda c: setattr(c, "W", nn.Parameter(c.W.detach() * 3)),
    ],
)
def test_a_plan_is_never_stale(change):
    cell = Tunable()
    x = torch.randn(T, B, H, dtype=torch.float64, requires_grad=True)
    _agree(cell, x, torch.rand(B, H, dtype=torch.float64))
    change(cell)
    _agree(cell, x, torch.rand(B, H, dtype=torch.float64))


def test_closed_over_numbers_and_tensors_are_read_anew():
    scale, weight = 0.5, torch.randn(H, dtype=torch.float64, requires_grad=True)

    def step(x, h):
        return torch.tanh(x * weight + h * scale)

    x, h = torch.randn(T, B, H, dtype=torch.float64), torch.rand(B, H, dtype=torch.float64)
    for change in (1, 2, 3):
        scale = scale + 0.1 * change
        weight = (weight.detach() + change).requires_grad_()
        outputs = [bptt.unroll(step, x, h, backend=name)[0] for name in ("cpu", "reference")]
        assert_close(outputs[0], outputs[1], "values", "outputs")
        found = [torch.autograd.grad(o.sum(), [weight])[0] for o in outputs]
        assert_close(found[0], found[1], "gradients", "weight")


def test_the_user_s_own_backward_pass_is_taken():
    """A surrogate gradient, for the state and for a weight."""

    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            ctx.save_for_backward(u)
            return (u > 0).to(u.dtype)

        @staticmethod
        def backward(ctx, gradient):
            (u,) = ctx.saved_tensors
            return gradient / (1 + 10 * u.abs()) ** 2

    class Spiking(nn.Module):
        def __init__(self):
            super().__init__()
            self.W = nn.Parameter(torch.randn(H, H, dtype=torch.float64))

        def forward(self, x, u):
            spikes = Spike.apply(u - 0.2)
            return spikes, 0.9 * u + x + spikes @ Spike.apply(self.W)

    x = torch.randn(T, B, H, dtype=torch.float64, requires_grad=True)
    _agree(Spiking(), x, torch.rand(B, H, dtype=torch.float64))


MADE = {
    "signs": lambda w, v: w.abs() * (v > 0) - 0.1 * torch.sign(v),
    "transposed": lambda w, v: w.t().reshape(H, H) + v.reshape(-1).view(H, H),
    "parts": lambda w, v: torch.cat([w[:2], v[2:]]) * torch.where(v[0] > 0, w[1], v[1]),
    "normed": lambda w, v: w / w.norm(dim=1, keepdim=True) * torch.softmax(v, 1),
    "product": lambda w, v: (w @ v).tanh() * v.prod(1),  # prod's derivative asks for zeros
    "twice": lambda w, v: w.clamp(-0.4, 0.4) + w.exp() * v.mean(),
    "strided": lambda w, v: torch.as_strided(w, (H, H), (1, H)).sigmoid() * v,
}


@pytest.mark.parametrize("made", MADE)
def test_what_weights_are_made_of_gets_its_gradient_at_every_call(made):
    """Also where the way back of the first call is that of the others."""

    class Made(nn.Module):
        def __init__(self):
            super().__init__()
            self.W, self.V = (nn.Parameter(torch.randn(H, H).double().t()) for _ in range(2))

        def forward(self, x, h):
            return torch.tanh(x + h @ MADE[made](self.W, self.V))

    cell, frozen = Made(), Made()
    frozen.V.requires_grad_(False)
    x = torch.randn(T, B, H, dtype=torch.float64, requires_grad=True)
    for _ in range(3):
        for each in (cell, frozen):
            with torch.no_grad():
                each.W.copy_(torch.randn(H, H)).mul_(torch.randn(H, H) > 0)
                each.V.copy_(torch.randn(H, H))
            _agree(each, x, torch.rand(B, H, dtype=torch.float64))


class Bad(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.W, self.f = nn.Parameter(torch.randn(H, H)), f

    def forward(self, x, h):
        return self.f(self, x, h)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (lambda c, x, h: h if h.sum() > 0 else torch.tanh(x), "looks at the data"),
        (lambda c, x, h: torch.tanh(x * c.W[0, 0].item() + h), "looks at the data"),
        (lambda c, x, h: torch.tanh(x + h - h.mean(0)), "over the batch"),
        (lambda c, x, h: F.batch_norm(x + h, None, None, training=True), "batch"),
        (lambda c, x, h: torch.tanh(x + h.sort(-1).values), "torch's sort"),
        (lambda c, x, h: torch.tanh(x + h @ h.t() @ h), "rows of the batch"),
    ],
)
def test_what_cannot_be_compiled_is_named_and_run_step_by_step(step, words):
    cell, x, h = Bad(step), torch.randn(4, 3, H), torch.rand(3, H)
    with pytest.raises(RuntimeError, match=words) as caught:
        bptt.unroll(cell, x, h, backend="cpu")
    assert "test_compiler.py:" in str(caught.value)
    assert words in bptt.plan(cell, x, h).refusal
    with pytest.warns(bptt.errors.BackendWarning, match="reference backend"):
        outputs, _ = bptt.unroll(cell, x, h)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        again, _ = bptt.unroll(cell, x, h)
    expected, _ = bptt.unroll(cell, x, h, backend="reference")
    assert torch.equal(outputs, expected)
    assert torch.equal(again, expected)


def test_the_loop_is_minimal():
    """One product of the state a direction stays in it: no bias, read-out or weight gradient."""

    class Network(bptt.cells.LSTM):
        def __init__(self):
            super().__init__(NARROW + 1, H)
            self.read = nn.Linear(H, 2)

        def forward(self, x, state):
            state = super().forward(x, state)
            return self.read(state.h), state

    plan = bptt.plan(Network(), torch.randn(T, B, NARROW + 1, requires_grad=True))
    for columns in (plan.forward, plan.backward):
        assert sum("matmul" in line for line in columns["loop"]) == 1
        assert not any(word in line for line in columns["loop"] for word in ("outer", "total"))
    assert any("matmul(x0, Wx)" in line for line in plan.forward["before"])
    assert any("matmul" in line for line in plan.forward["after"])
    assert plan.stages == (1, 2)
    narrow = bptt.plan(bptt.cells.LSTM(NARROW, H), torch.randn(T, B, NARROW))
    own = [line for line in narrow.forward["before"] if "matmul(x0" in line]
    assert [line.endswith("(in the kernel)") for line in own] == [True]
    assert all(line.endswith("(in the kernel)") for line in narrow.backward["after"])
    wide = bptt.plan(bptt.cells.LSTM(NARROW, 400), torch.randn(T, B, NARROW)).backward["after"]
    assert all(("total" in line) == line.endswith("(in the kernel)") for line in wide)
    assert not any("x0" in line for line in narrow.forward["loop"])
    joined = bptt.plan(written("cat"), torch.randn(T, B, INPUTS))  # cat(x W, h) V, cut in two
    assert sum("matmul(s0" in line for line in joined.forward["loop"]) == 1
    assert sum("matmul" in line for line in joined.forward["before"]) == 2
    assert "in the loop, step by step" in str(plan)


def test_a_new_batch_or_length_compiles_nothing():
    cell = bptt.cells.MGU(INPUTS, 11)
    for steps, batch in ((4, 3), (9, 3), (4, 8), (1, 1), (2, 6)):
        x = torch.randn(steps, batch, INPUTS, requires_grad=True)
        bptt.unroll(cell, x)[0].sum().backward()
        if (steps, batch) == (4, 3):
            before = simd.compiled()
    assert simd.compiled() == before


@pytest.mark.parametrize("name", ["Elman", "GRU", "LSTM", "MGU"])
@pytest.mark.parametrize("reverse", [False, True])
def test_an_ordinary_call_has_the_bits_of_one_with_lengths(name, reverse):
    """It asks less and runs the same kernels; a bias's gradient alone is added up elsewhere."""
    cell = getattr(bptt.cells, name)(INPUTS, H)
    x = torch.randn(T, B, INPUTS, requires_grad=True)
    state = pytree.tree_map(torch.rand_like, initial_state(cell, B))
    found, expected = (
        _run(cell, x, state, "cpu", reverse=reverse, **keywords)
        for keywords in ({}, {"lengths": [T] * B})
    )
    assert all(map(torch.equal, found[0], expected[0]))
    biases = [parameter.dim() == 1 for parameter in cell.parameters()]
    whole = [False] * (len(found[1]) - len(biases)) + biases
    for bias, ours, theirs in zip(whole, found[1], expected[1], strict=True):
        assert (
            torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)
            if bias
            else torch.equal(ours, theirs)
        )


def test_calls_share_no_memory():
    cell = bptt.cells.LSTM(INPUTS, H).double()
    xs = [torch.randn(T, B, INPUTS, dtype=torch.float64) for _ in range(3)]
    alone = [bptt.unroll(cell, x)[0] for x in xs]
    expected = [torch.autograd.grad(y.square().sum(), cell.Ws)[0] for y in alone]
    together = [bptt.unroll(cell, x)[0] for x in xs]
    found = [torch.autograd.grad(y.square().sum(), cell.Ws)[0] for y in reversed(together)]
    assert all(torch.equal(a, b) for a, b in zip(found[::-1], expected, strict=True))
    with torch.no_grad():
        first, _ = bptt.unroll(cell, xs[0])
        first.fill_(torch.nan)
        assert torch.equal(bptt.unroll(cell, xs[0])[0], alone[0])


class _Normalised(bptt.cells.Elman):
    """Its drive is, and what is shown of its state: both beside the loop."""

    def __init__(self):
        super().__init__(INPUTS, H)
        self.norm = nn.LayerNorm(H)

    def forward(self, x, h):
        h = torch.tanh(self.norm(x @ self.Wx) + h @ self.Ws + self.b)
        return self.norm(h.sigmoid() - h) * h, h


def test_a_value_may_take_the_memory_of_one_that_is_done_with(monkeypatch):
    """Beside the loop, where the bits are those of values that each have their own."""
    cell = _Normalised().double()
    given, place, taken, found = _arguments(cell), Reuse.place, [], []
    for where in (lambda *own: taken.append(place(*own)) or taken[-1], lambda *_: None):
        monkeypatch.setattr(plans, "_ENTRIES", OrderedDict())
        monkeypatch.setattr(Reuse, "place", where)
        found.append(_run(cell, *given, "cpu"))
    assert any(operand is not None for operand in taken)
    for ours, theirs in zip(*found, strict=True):
        assert all(map(torch.equal, ours, theirs))


def test_a_value_that_is_two_outputs_is_two_tensors():
    def step(x, h):
        h = torch.tanh(x + h)
        return (h, h, x), h

    x = torch.randn(T, B, H)
    with torch.no_grad():
        (first, second, third), _ = bptt.unroll(step, x, torch.zeros(B, H))
        kept, given = second.clone(), x.clone()
        first.zero_()
        third.zero_()
    assert torch.equal(second, kept)
    assert torch.equal(x, given)


def test_plans_hold_for_one_default_dtype_and_are_let_go(double):
    def step(x, h):
        return torch.tanh(x.to(torch.get_default_dtype()) + h + torch.ones(1))

    for dtype in (torch.float64, torch.float32):
        torch.set_default_dtype(dtype)
        x, h = torch.randn(T, B, H), torch.zeros(B, H)
        outputs = [bptt.unroll(step, x, h, backend=name)[0] for name in ("cpu", "reference")]
        assert outputs[0].dtype == dtype
        assert_close(outputs[0], outputs[1], "values", "outputs")
    compiled = weakref.ref(next(reversed(plans._ENTRIES.values())).compiled)
    plans._ENTRIES.popitem()
    gc.collect()
    assert compiled() is None


def test_an_output_written_into_spoils_no_gradient():
    """As in torch.nn: what backward needs is missed, never taken wrong."""
    cell = bptt.cells.Elman(INPUTS, H).double()
    y, _ = bptt.unroll(cell, torch.randn(T, B, INPUTS, dtype=torch.float64))
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_gradients_of_gradients():
    cell = bptt.cells.GRU(2, 3).double()
    x = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)
    state = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    run = lambda x, s: bptt.unroll(cell, x, s, backend="cpu")  # noqa: E731
    assert torch.autograd.gradgradcheck(run, (x, state), fast_mode=True)


def test_threads_change_no_bit_and_may_call_at_once():
    cell = bptt.cells.GRU(6, 48)
    x = torch.randn(60, 37, 6)
    runs = []

    def run(threads):
        torch.set_num_threads(threads)
        y, _ = bptt.unroll(cell, x)
        runs.append((y.detach(), *torch.autograd.grad(y.sum(), [cell.Ws])))

    try:
        for threads in (1, 2, 3, 2):
            run(threads)
        assert all(torch.equal(runs[0][0], other[0]) for other in runs)
        torch.set_num_threads(2)
        workers = [threading.Thread(target=run, args=(2,)) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(runs) == 8
        assert all(torch.equal(runs[0][0], other[0]) for other in runs)
    finally:
        torch.set_num_threads(1)


def _in_a_child(queue, cell, x):
    with torch.no_grad():
        queue.put(bptt.unroll(cell, x)[0].numpy().tolist())


def test_a_forked_child_may_call():
    cell, x = bptt.cells.Elman(3, 40), torch.randn(50, 20, 3)
    expected = bptt.unroll(cell, x)[0].detach()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_a_child, args=(queue, cell, x))
    child.start()
    found = queue.get(timeout=60)
    child.join(60)
    assert torch.equal(torch.tensor(found), expected)


def test_a_derivative_that_is_slightly_wrong_is_caught(monkeypatch):
    """The test of the tests: a thousandth is noticed, by the compiler itself and by the tests."""
    wrong = lambda g, y: g * (1 - y * y) * 1.001  # noqa: E731
    monkeypatch.setitem(formulas.FORMULAS, "tanh_backward", wrong)
    monkeypatch.setattr(plans, "_ENTRIES", OrderedDict())
    cell = bptt.cells.Elman(INPUTS, H, torch.tanh).double()
    x = torch.randn(T, B, INPUTS, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="other numbers than torch"):
        bptt.unroll(cell, x, backend="cpu")
    monkeypatch.setattr("bptt.compiler.verify.TOLERANCE", {torch.float64: 1.0})
    monkeypatch.setattr(plans, "_ENTRIES", OrderedDict())
    with pytest.raises(AssertionError, match="relative error"):
        _agree(cell, x, torch.zeros(B, H, dtype=torch.float64))


# Random cells: point-wise operations, products, slices and reductions, put together by hypothesis.

UNARY = ("tanh", "sigmoid", "sin", "relu", "abs", "neg", "softplus", "elu", "silu", "gelu")


@st.composite
def expressions(draw, depth: int):
    """A function of (x, h, weights) that gives H features, as a tree of names."""
    if depth == 0:
        return draw(st.sampled_from(["x", "h", "v", "c"]))
    kind = draw(st.sampled_from(["unary", "unary", "add", "mul", "sub", "matmul", "matmul", "where",
                                 "norm", "softmax", "roll", "halves", "mean", "max"]))  # fmt: skip
    one = draw(expressions(depth - 1))
    if kind == "unary":
        return (draw(st.sampled_from(UNARY)), one)
    if kind in ("add", "mul", "sub", "where", "halves", "max"):
        return (kind, one, draw(expressions(depth - 1)))
    return (kind, one)


def _evaluate(cell, tree, x: Tensor, state: tuple) -> Tensor:
    if isinstance(tree, str):
        return {"x": x @ cell.W, "h": state[0], "c": state[1], "v": cell.v.expand(len(x), H)}[tree]
    op, *given = tree
    a, *rest = (_evaluate(cell, branch, x, state) for branch in given)
    if op in UNARY:
        return (getattr(torch, op, None) or getattr(F, op))(a)
    b = rest[0] if rest else None
    return {
        "add": lambda: a + b,
        "sub": lambda: a - b,
        "mul": lambda: torch.tanh(a) * b,
        "max": lambda: torch.maximum(a, b),
        "where": lambda: torch.where(a > 0.1, b, a),
        "matmul": lambda: torch.tanh(a @ cell.U),
        "norm": lambda: cell.norm(a),
        "softmax": lambda: torch.softmax(a, -1),
        "roll": lambda: torch.roll(a, 2, -1),
        "halves": lambda: torch.cat([a[:, :2], b[:, 2:]], 1),
        "mean": lambda: a - a.mean(-1, keepdim=True),
    }[op]()


class Random(nn.Module):
    def __init__(self, trees):
        super().__init__()
        self.trees = trees
        self.W, self.U = nn.Parameter(torch.randn(INPUTS, H)), nn.Parameter(torch.randn(H, H) * 0.4)
        self.v, self.norm = nn.Parameter(torch.randn(H)), nn.LayerNorm(H, eps=0.1)

    def initial_state(self, batch_size):
        return self.W.new_zeros(batch_size, H), self.W.new_zeros(batch_size, H)

    def forward(self, x, state):
        y, h, c = (_evaluate(self, tree, x, state) for tree in self.trees)
        return y, (torch.tanh(h), torch.sigmoid(c))


def _check_random(trees, data) -> None:
    torch.manual_seed(data.draw(st.integers(0, 99)))
    cell = Random(trees).double()
    x, state = _arguments(cell)
    _agree(cell, x, state, **_case(data.draw(st.sampled_from(["plain", "lengths", "all"]))))


TREES = st.tuples(expressions(2), expressions(3), expressions(2))


@settings(max_examples=24, deadline=None, derandomize=True)  # `-m long` tries others
@given(TREES, st.data())
def test_random_cells(trees, data):
    _check_random(trees, data)


@pytest.mark.long
@settings(max_examples=2000, deadline=None)
@given(TREES, st.data())
def test_many_random_cells(trees, data):
    _check_random(trees, data)
