"""Ways back through time against gradients found block by block, and forward in time."""

import re
from collections import OrderedDict
from functools import cache
from typing import NamedTuple

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import bptt
from bptt import Full, cells, plans
from bptt.compiler import compiled
from bptt.fused import forward, windows
from bptt.methods import binomial
from bptt.ready import initial_state
from bptt.testing import assert_close
from oracles import forward_mode, truncated

pytestmark = pytest.mark.usefixtures("double")

INPUTS, H = 2, 3


class Pair(NamedTuple):
    h: Tensor
    c: Tensor


class Reader(nn.Module):
    """Two outputs, two leaves of state, a constrained weight, and a start that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.W, self.Wx = nn.Parameter(torch.randn(H, H)), nn.Parameter(torch.randn(INPUTS, H))
        self.start, self.read = nn.Parameter(torch.randn(H)), nn.Linear(H, 2)
        self.register_buffer("mask", (torch.rand(H, H) < 0.7).to(self.W))

    def initial_state(self, batch_size: int) -> Pair:
        zeros = self.W.new_zeros(batch_size, H)
        return Pair(zeros + self.start.tanh(), zeros + 0.5)

    def forward(self, x, state):
        c = 0.6 * state.c + 0.4 * (x @ self.Wx + state.h @ (self.W.abs() * self.mask))
        h = torch.tanh(c) + 0.1 * c
        return {"rate": h, "read": (self.read(h), x * state.c[:, :INPUTS])}, [h, c]


class Function:
    """A step that is a function, with weights in its closure; it may count its steps."""

    def __init__(self, *, counts: bool) -> None:
        self.counts = counts
        self.W = torch.randn(H, H, requires_grad=True)
        self.v = torch.randn(H, requires_grad=True)

    def parameters(self):
        return [self.W, self.v]

    def initial_state(self, batch_size: int):
        h = torch.zeros(batch_size, H)
        return (h, torch.zeros(batch_size, 1, dtype=torch.int64)) if self.counts else h

    def __call__(self, x, state):
        h, count = state if self.counts else (state, None)
        new = torch.tanh(h @ self.W + x[:, :1] * self.v)
        return (torch.where(count % 3 == 2, h, new), count + 1) if self.counts else new


CELLS = {
    "elman": lambda: cells.Elman(INPUTS, H),
    "gru": lambda: cells.GRU(INPUTS, H),
    "torch's gru": lambda: nn.GRUCell(INPUTS, H),
    "lstm": lambda: cells.LSTM(INPUTS, H),
    "lif": lambda: cells.LIF(INPUTS, H, threshold=0.3),
    "reader": Reader,
    "function": lambda: Function(counts=False),
    "counting": lambda: Function(counts=True),
}
BACKENDS = {name: ["reference", "cpu"] for name in CELLS} | {"counting": ["reference"]}


class Poles(nn.Module):
    """No number comes of it where the input or the state is zero, forward or on the way back."""

    def __init__(self) -> None:
        super().__init__()
        self.W, self.V = nn.Parameter(0.1 * torch.randn(H, H)), nn.Parameter(torch.rand(INPUTS, H))

    def initial_state(self, batch_size: int) -> Tensor:
        return self.W.new_ones(batch_size, H)

    def forward(self, x, h):
        h = torch.sigmoid((1 / x) @ self.V + h.abs().log() @ self.W)
        return x.abs().log() @ self.V * h.log(), h


class Clips(torch.autograd.Function):
    """The number itself, whose gradient is kept small: no linear way back."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, adjoint):
        return adjoint.clamp(-0.3, 0.3)


class Clipped(nn.RNNCell):
    def forward(self, x, h):
        return super().forward(x, Clips.apply(h))


LONG = {
    "poles": Poles,
    "normed": lambda: cells.LayerNormLSTM(INPUTS, H),  # several operations before the loop
    "two biases": lambda: nn.RNNCell(INPUTS, H),  # with one gradient
    "clipped": lambda: Clipped(INPUTS, H),
}
with_each_cell = pytest.mark.parametrize("name", CELLS)
everywhere = pytest.mark.parametrize(
    ("name", "backend"), [(name, backend) for name in CELLS for backend in BACKENDS[name]]
)


@cache
def cell_of(name):
    """One cell for all tests: its kernels are made once."""
    torch.manual_seed(1)
    return (CELLS | LONG)[name]()


class Case(NamedTuple):
    """One unroll to differentiate: what it takes, its loss, and what the gradient is wanted of."""

    cell: object
    inputs: Tensor
    state: object
    keywords: dict
    loss: object
    targets: list

    def ours(self, **how):
        outputs, final = bptt.unroll(self.cell, self.inputs, self.state, **self.keywords, **how)
        return outputs, final, self.loss(outputs, final)

    def gradients(self, **how):
        return list(torch.autograd.grad(self.ours(**how)[2], self.targets, allow_unused=True))

    def oracle(self, kind, *given_):
        arguments = self.cell, self.inputs, self.state, self.loss, self.targets
        return kind(*arguments, *given_, **self.keywords)

    def check(self, expected, **how):
        found = self.gradients(**how)
        for i, (ours, right) in enumerate(zip(found, expected, strict=True)):
            assert_close(ours, right, "gradients", f"target {i} of {how}, {self.keywords}")


def linear(outputs, final):
    """A random sum of all outputs and of the final state."""
    generator = torch.Generator().manual_seed(3)
    leaves = [leaf for leaf in pytree.tree_leaves((outputs, final)) if leaf.is_floating_point()]
    weights = [torch.randn(leaf.shape, generator=generator) for leaf in leaves]
    return sum((w * leaf).sum() for w, leaf in zip(weights, leaves, strict=True))


def bent(outputs, final):
    """Not linear: dE/dy depends on every output, so on what a truncated graph leaves out."""
    leaves = [leaf for leaf in pytree.tree_leaves((outputs, final)) if leaf.is_floating_point()]
    return linear(outputs, final) ** 2 + sum((leaf.sin() * leaf).sum() for leaf in leaves)


def leaf_like(tree):
    return pytree.tree_map(
        lambda leaf: torch.randn_like(leaf).requires_grad_() if leaf.is_floating_point() else leaf,
        tree,
    )


def case_of(name, steps, batch, *, loss=linear, lengths=None, resets=False, reverse=False):
    """A cell with inputs, state and fresh state at random, all of which want their gradient."""
    cell, keywords = cell_of(name), {}
    inputs = torch.randn(steps, batch, INPUTS)
    state = leaf_like(initial_state(cell, batch))
    fresh = leaf_like(state)
    if resets:
        keywords |= {"reset": torch.rand(steps, batch) < 0.3, "reset_state": fresh}
    if lengths is not None:
        keywords["lengths"] = lengths
        inputs[torch.arange(steps)[:, None] >= torch.tensor(lengths)] = torch.nan
    if reverse:
        keywords["reverse"] = True
    leaves = pytree.tree_leaves((state, fresh))
    targets = [
        inputs.requires_grad_(),
        *(leaf for leaf in leaves if leaf.requires_grad),
        *cell.parameters(),
    ]
    return Case(cell, inputs, state, keywords, loss, targets)


@st.composite
def cases(draw, name, steps=9):
    """Any mix of lengths (0 too), resets, direction and loss."""
    torch.manual_seed(draw(st.integers(0, 10**6)))
    steps, batch = draw(st.integers(2, steps)), draw(st.integers(1, 3))
    ragged = st.lists(st.integers(0, steps), min_size=batch, max_size=batch).filter(any)
    return case_of(
        name,
        steps,
        batch,
        loss=draw(st.sampled_from([bent, linear])),
        lengths=draw(ragged) if draw(st.sampled_from([True, True, False])) else None,
        resets=draw(st.booleans()),
        reverse=draw(st.booleans()),
    )


@st.composite
def truncations(draw, steps=9):
    """k1, k2 and which losses: as often as not beyond the sequence."""
    k1 = draw(st.integers(1, steps))
    k2 = draw(st.integers(k1, steps + 2))
    return bptt.Truncated(k1, k2, draw(st.sampled_from(["new", "last"])))


def examples(number):
    """The same in every run; what fails is shown as it is, for making it smaller takes minutes."""
    phases = [Phase.explicit, Phase.generate]
    return settings(max_examples=number, deadline=None, derandomize=True, phases=phases)


# The oracles themselves.


def test_oracle_agrees_with_chunks_cut_by_detach():
    """Where k1 = k2 divides T the definition is the usual recipe; where k2 = T, autograd's."""
    case = case_of("gru", 9, 2, loss=bent)
    for k in (3, 9):
        state, outputs = case.state, []
        for t, x in enumerate(case.inputs):
            state = case.cell(x, state.detach() if t and t % k == 0 else state)
            outputs.append(state)
        value = bent(torch.stack(outputs), state)
        recipe = torch.autograd.grad(value, case.targets, allow_unused=True)
        for i, (found, right) in enumerate(zip(case.oracle(truncated, k, k), recipe, strict=True)):
            assert_close(found, right, "gradients", f"target {i}, k = {k}")


def test_oracle_tells_truncations_apart():
    """One step further back, one step longer blocks, other losses: other gradients."""
    case = case_of("gru", 9, 2)
    found = [case.oracle(truncated, *way) for way in ((2, 4), (2, 5), (3, 4), (2, 4, "last"))]
    for other in found[1:]:
        with pytest.raises(AssertionError, match="relative error"):
            assert_close(found[0][-1], other[-1], "gradients", "another truncation")


@with_each_cell
@examples(5)
@given(st.data())
def test_full_is_what_forward_mode_finds(name, data):
    case = data.draw(cases(name, steps=6))
    expected = case.oracle(forward_mode)
    for backend in BACKENDS[name]:
        case.check(expected, method=Full(), backend=backend)


# Truncated.


def shrinking(method, steps, backend, t):
    """dE_t/dw of h <- w h, E_t = h_t, from 0.9 with w = 0.2."""
    w = torch.tensor(0.2, requires_grad=True)
    inputs, start = torch.zeros(steps, 1, 1), torch.full((1, 1), 0.9)
    outputs, _ = bptt.unroll(lambda x, h: w * h + x, inputs, start, method=method, backend=backend)
    return float(torch.autograd.grad(outputs[t - 1].sum(), w)[0])


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_the_published_vectors(backend):
    """By hand: d(w^t 0.9)/dw, of which the last k2 factors count."""
    found = [shrinking(bptt.Truncated(1, 3), 4, backend, t) for t in (1, 2, 3, 4)]
    assert found == pytest.approx([0.9, 0.36, 0.108, 0.0216], rel=1e-12)
    assert shrinking(bptt.Truncated(1, 10), 6, backend, 6) == pytest.approx(0.001728, rel=1e-12)
    assert shrinking(bptt.Truncated(2, 4), 4, backend, 4) == pytest.approx(0.0288, rel=1e-12)


@everywhere
@examples(20)
@given(st.data())
def test_truncated_is_the_sum_over_blocks_cut_by_hand(name, backend, data):
    case, method = data.draw(cases(name)), data.draw(truncations())
    expected = case.oracle(truncated, method.k1, method.k2, method.losses)
    case.check(expected, method=method, backend=backend)


@with_each_cell
def test_truncated_over_many_steps(name):
    case = case_of(name, 140, 2, lengths=[140, 97], resets=True, reverse=True)
    case.keywords["reset"] &= torch.rand(140, 1) < 0.1
    expected = case.oracle(truncated, 25, 70)
    for backend in BACKENDS[name]:
        case.check(expected, method=bptt.Truncated(25, 70), backend=backend)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("losses", ["new", "last"])
@pytest.mark.parametrize("reverse", [False, True])
def test_runs_that_may_not_be_added_up_on_the_way(backend, losses, reverse):
    case = case_of("clipped", 40, 3, lengths=[40, 0, 27], resets=True, reverse=reverse)
    case.keywords["reset"] &= torch.rand(40, 1) < 0.1
    method = bptt.Truncated(3, 8, losses=losses)
    case.check(oracle_of(case, method), method=method, backend=backend)


def leaking(w, x, seeds, k1, k2):
    """dE/dw of s <- w s + x, E = sum(seeds * s), from s = 0, all blocks at once."""
    state, before = torch.zeros(x.shape[1:]), []
    for step in x:
        before.append(state)
        state = w * state + step
    padded = torch.cat([torch.zeros(k2, *state.shape), torch.stack(before)])
    seeds = torch.cat([torch.zeros(k2, *state.shape), seeds])
    windows = padded[k1:].unfold(0, k2, k1)  # what each block's k2 steps start from
    weights = seeds[k1:].unfold(0, k2, k1)
    moved, total = torch.zeros(windows.shape[:-1]), 0
    for i in range(k2):
        moved = windows[..., i] + w * moved
        if i >= k2 - k1:
            total = total + (weights[..., i] * moved).sum()
    return total


@pytest.mark.parametrize(
    ("steps", "k1", "k2", "backend"),
    [(1200, 20, 40, "reference"), (30_000, 20, 40, "cpu"), (6000, 1, 300, "cpu")],
)
def test_truncated_over_many_blocks(steps, k1, k2, backend):
    x, seeds = torch.randn(2, steps, 2, 1)
    w = torch.tensor(0.9, requires_grad=True)
    outputs, _ = bptt.unroll(
        lambda x, s: w * s + x, x, torch.zeros(2, 1), method=bptt.Truncated(k1, k2), backend=backend
    )
    (found,) = torch.autograd.grad((seeds * outputs).sum(), w)
    torch.testing.assert_close(found, leaking(w.detach(), x, seeds, k1, k2))


@everywhere
@examples(5)
@given(st.data())
def test_truncated_beyond_the_first_step_is_full(name, backend, data):
    case, k1 = data.draw(cases(name)), data.draw(st.integers(1, 12))
    method = bptt.Truncated(k1, data.draw(st.sampled_from([9, 10, 10**9])) + k1)
    check_like_full(case, method, backend)


def check_like_full(case, method, backend):
    """The same bits forward, the same gradient within rounding."""
    expected, right = values_and_gradients(case, Full(), backend)
    found, gradients = values_and_gradients(case, method, backend)
    assert all(torch.equal(ours, full) for ours, full in zip(found, expected, strict=True))
    for i, (ours, full) in enumerate(zip(gradients, right, strict=True)):
        what = f"target {i} of {method} on {backend}, {tuple(case.inputs.shape)}, {case.keywords}"
        assert_close(ours, full, "gradients", what)


def values_and_gradients(case, method, backend):
    """With the same random numbers whenever it is called."""
    torch.manual_seed(5)
    outputs, final, value = case.ours(method=method, backend=backend)
    found = torch.autograd.grad(value, case.targets, allow_unused=True)
    return pytree.tree_leaves((outputs, final)), found


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_truncated_in_single_precision(backend):
    case = case_of("elman", 40, 3, lengths=[40, 7, 33], resets=True)
    expected = case.oracle(truncated, 3, 8)

    def single(tree):
        return pytree.tree_map(lambda leaf: leaf.detach().float().requires_grad_(), tree)

    cell = cells.Elman(INPUTS, H).float()
    cell.load_state_dict(case.cell.state_dict())
    inputs, state, fresh = single((case.inputs, case.state, case.keywords["reset_state"]))
    keywords = case.keywords | {"reset_state": fresh}
    targets = [inputs, state, fresh, *cell.parameters()]
    Case(cell, inputs, state, keywords, linear, targets).check(
        [g.float() for g in expected], method=bptt.Truncated(3, 8), backend=backend
    )


# Checkpointed.


def least(case, backend):
    """The smallest budget in bytes, as the refusal of a smaller one tells it."""
    with pytest.raises(ValueError, match=r"memory: 1 bytes is not enough.*the least is") as error:
        case.ours(method=bptt.Checkpointed(memory="1 B"), backend=backend)
    return int(re.search(r"the least is (\d+) bytes", str(error.value))[1])


@everywhere
@examples(4)
@given(st.data())
def test_checkpointed_is_full(name, backend, data):
    """Lengths that no border divides, one segment, a border at every 64 steps, tight budgets."""
    torch.manual_seed(data.draw(st.integers(0, 10**6)))
    steps, batch = data.draw(st.sampled_from([150, 129, 66, 128])), data.draw(st.integers(1, 2))
    case = case_of(
        name,
        steps,
        batch,
        loss=data.draw(st.sampled_from([bent, linear])),
        lengths=data.draw(st.sampled_from([None, [steps, steps // 3][:batch], [steps, 0][:batch]])),
        resets=data.draw(st.booleans()),
        reverse=data.draw(st.booleans()),
    )
    if data.draw(st.booleans()):
        method = bptt.Checkpointed(segments=data.draw(st.sampled_from([2, 3, 1, 1000])))
    else:
        room = data.draw(st.sampled_from([1, 1.2, 100]))
        method = bptt.Checkpointed(memory=int(room * least(case, backend)))
    check_like_full(case, method, backend)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("room", [1, 1.1, 1.5, 3])
def test_states_are_run_again_as_often_as_memory_asks(room, backend):
    """A dozen segments and room for few: states are held, let go and made again."""
    case = case_of("gru", 12 * 64 - 5, 1, loss=bent, resets=True)
    method = bptt.Checkpointed(memory=int(room * least(case, backend)))
    check_like_full(case, method, backend)


@cache
def fewest_runs(segments, slots):
    """By trying every place for the next state that is held."""
    if slots == 0 or segments < 2:
        return segments * (segments - 1) // 2
    return min(
        begin + fewest_runs(segments - begin, slots - 1) + fewest_runs(begin, slots)
        for begin in range(1, segments)
    )


@pytest.mark.parametrize("slots", [0, 1, 2, 3, 7, 30])
def test_no_schedule_runs_fewer_segments(slots):
    """Followed step by step: every state is there when it is wanted, and no more are held."""
    for segments in range(1, 31):
        there, held = segments - 1, [0, *binomial.way_out(segments, slots)]
        runs, visited = there, []
        for what in binomial.way_back(segments, slots):
            if isinstance(what, binomial.Advance):
                assert what.begin == held[-1]
                runs += what.end - what.begin
                there = what.end
                held += [what.end] * what.hold
            else:
                assert what.segment == (held.pop() if what.release else there)
                visited.append(what.segment)
            assert len(set(held) - {0, there}) <= slots
        assert visited == [*reversed(range(segments))]
        assert runs == binomial.advances(segments, slots) == fewest_runs(segments, slots)


REMEDIES = {
    "noise and dropout": lambda: noisy(),
    "recurrent dropout": lambda: bptt.remedies.RecurrentDropout(cells.GRU(INPUTS, H), 0.3),
    "zoneout": lambda: bptt.remedies.Zoneout(cells.Elman(INPUTS, H), 0.3),
    "noisy rates": lambda: cells.Leaky(INPUTS, H, tau=3.0, noise=0.5, activation=torch.tanh),
}


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("name", REMEDIES)
def test_what_is_drawn_is_drawn_again(name, backend):
    """Whatever the segments: operation i of steps [64 j, 64 j + 64) has numbers of its own."""
    torch.manual_seed(4)
    cell, inputs = REMEDIES[name](), torch.randn(150, 2, INPUTS, requires_grad=True)
    state = torch.randn(2, H, requires_grad=True)
    keywords = {"lengths": [150, 101], "reverse": name != "zoneout"}
    weights = [weight for weight in cell.parameters() if weight.requires_grad]
    case = Case(cell, inputs, state, keywords, bent, [inputs, state, *weights])
    check_like_full(case, bptt.Checkpointed(memory=least(case, backend)), backend)
    check_like_full(case, bptt.Truncated(50, 200), backend)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("wanted", [[0], [1], [6, 8], [5]])
def test_checkpointed_where_few_gradients_are_wanted(backend, wanted):
    """Of inputs alone, of a state, of some weights, of one."""
    case = case_of("reader", 130, 2, loss=bent, lengths=[130, 70])
    for i, target in enumerate(case.targets):
        target.requires_grad_(i in wanted)
    try:
        few = case._replace(targets=[case.targets[i] for i in wanted])
        check_like_full(few, bptt.Checkpointed(segments=3), backend)
    finally:
        for target in case.targets:
            target.requires_grad_()


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_checkpointed_twice_and_differentiated(backend):
    case = case_of("gru", 130, 2, loss=bent, lengths=[130, 97], resets=True)
    method = bptt.Checkpointed(segments=3)
    value = case.ours(method=method, backend=backend)[2]
    first, again = (torch.autograd.grad(value, case.targets, retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    weights = [torch.randn_like(target) for target in case.targets]
    found = twice(case, method, backend, weights)
    for i, (a, b) in enumerate(zip(found, twice(case, Full(), backend, weights), strict=True)):
        assert_close(a, b, "gradients", f"target {i}")


# What holds of every method.

METHODS = {
    "full": lambda: Full(),
    "truncated": lambda: bptt.Truncated(2, 3),
    "last": lambda: bptt.Truncated(3, 4, losses="last"),
    "checkpointed": lambda: bptt.Checkpointed(segments=2),
}
for_each_method = pytest.mark.parametrize("way", METHODS)


def oracle_of(case, method):
    if isinstance(method, bptt.Truncated):
        return case.oracle(truncated, method.k1, method.k2, method.losses)
    steps = len(pytree.tree_leaves(case.inputs)[0])
    return case.oracle(truncated, steps, steps)


@for_each_method
@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("used", ["final state", "one output", "sums", "last output"])
def test_losses_that_use_a_part(way, backend, used):
    """Gradients that are missing, zero, or views of one number arrive as well as others."""
    losses = {
        "final state": lambda y, s: s.c.square().sum(),
        "one output": lambda y, s: y["read"][1].square().sum(),
        "sums": lambda y, s: y["rate"].sum() + s.h.sum(),
        "last output": lambda y, s: y["read"][0][-1].square().sum(),
    }
    case = case_of("reader", 7, 3, loss=losses[used], lengths=[7, 4, 0], resets=True)
    case.check(oracle_of(case, METHODS[way]()), method=METHODS[way](), backend=backend)


@for_each_method
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_start_that_is_learned(way, backend):
    """state=None and reset_state=None stand for the cell's own, which has a weight."""
    case, cell = (
        case_of("reader", 7, 3, loss=bent, lengths=[7, 4, 2], resets=True),
        cell_of("reader"),
    )
    start = cell.initial_state(3)
    given_ = case.keywords | {"reset_state": start}
    expected = oracle_of(case._replace(state=start, keywords=given_), METHODS[way]())
    keywords = {name: case.keywords[name] for name in ("lengths", "reset")}
    found = case._replace(state=None, keywords=keywords)
    found.check(expected, method=METHODS[way](), backend=backend)


@for_each_method
@everywhere
def test_backward_twice_gives_the_same(way, name, backend):
    case = case_of(name, 8, 3, loss=bent, lengths=[8, 3, 5], resets=True)
    *_, value = case.ours(method=METHODS[way](), backend=backend)
    other = case.ours(method=Full(), backend=backend)[2]  # a call between must not touch the first
    first, second = (
        torch.autograd.grad(value, case.targets, retain_graph=True, allow_unused=True)
        for _ in range(2)
    )
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(first, second, strict=True))
    torch.autograd.grad(other, case.targets, allow_unused=True)


@for_each_method
@pytest.mark.parametrize(("name", "reverse"), [("gru", False), ("reader", True)])
def test_the_gradient_can_be_differentiated(way, name, reverse):
    """Against differences of the oracle: a state that is constant going back still moves.

    The loss is linear where the gradient is truncated: what the second pass sends back through the
    outputs is truncated as well.
    """
    method, loss = METHODS[way](), linear if "Truncated" in str(METHODS[way]()) else bent
    case = case_of(name, 6, 2, loss=loss, lengths=[6, 4], resets=True, reverse=reverse)
    weights = [torch.randn_like(target) for target in case.targets]
    directions = [torch.randn_like(target) for target in case.targets]
    expected = [
        differences(case, method, weights, target, direction)
        for target, direction in zip(case.targets, directions, strict=True)
    ]
    for backend in BACKENDS[name]:
        for i, (found, right) in enumerate(
            zip(twice(case, method, backend, weights), expected, strict=True)
        ):
            ours = torch.zeros(()) if found is None else (found * directions[i]).nansum()
            assert_close(ours, right, "differences", f"target {i} of {method} on {backend}")


def twice(case, method, backend, weights):
    """The gradient of a weighed sum of the gradients."""
    value = case.ours(method=method, backend=backend)[2]
    first = torch.autograd.grad(value, case.targets, create_graph=True, allow_unused=True)
    weighed = sum((w * g).sum() for w, g in zip(weights, first, strict=True) if g is not None)
    return torch.autograd.grad(weighed, case.targets, allow_unused=True)


def differences(case, method, weights, target, direction):
    """The same, along a direction of one target, by a central difference."""

    def moved(distance):
        with torch.no_grad():
            target.add_(distance * direction)
        gradients = oracle_of(case, method)
        with torch.no_grad():
            target.sub_(distance * direction)
        return sum((w * g).sum() for w, g in zip(weights, gradients, strict=True))

    return (moved(1e-5) - moved(-1e-5)) / 2e-5


@for_each_method
@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize(("steps", "lengths"), [(0, None), (4, [0, 0])])
def test_no_step_to_run(way, backend, steps, lengths):
    """The final state is the first one, and the outputs are empty or zero."""
    inputs, state = torch.randn(steps, 2, INPUTS), torch.randn(2, H, requires_grad=True)
    how = {"method": METHODS[way](), "backend": backend, "lengths": lengths}
    outputs, final = bptt.unroll(cell_of("elman"), inputs, state, **how)
    assert not outputs.any()
    (found,) = torch.autograd.grad(outputs.sum() + (2 * final).sum(), state)
    torch.testing.assert_close(found, torch.full_like(state, 2))


@for_each_method
@everywhere
def test_no_gradient_no_difference(way, name, backend):
    case = case_of(name, 8, 2, lengths=[8, 3])
    with torch.no_grad():
        values = case.ours(method=METHODS[way](), backend=backend)
    expected = case.ours(method=Full(), backend=backend)
    for a, b in zip(pytree.tree_leaves(values), pytree.tree_leaves(expected), strict=True):
        assert torch.equal(a, b)


class Noisy(nn.Module):
    """Noise and dropout within the step, told as outputs; or taken from the inputs."""

    def __init__(self, *, draws: bool) -> None:
        super().__init__()
        self.draws = draws
        self.W = nn.Parameter(0.4 * torch.randn(H, H))  # not so large that rounding would grow
        self.Wx = nn.Parameter(torch.randn(INPUTS, H))

    def forward(self, x, s):
        if self.draws:
            noise, kept = torch.randn_like(s), nn.functional.dropout(torch.ones_like(s), 0.4)
        else:
            x, noise, kept = x
        new = torch.tanh(x @ self.Wx + s @ self.W + 0.3 * noise * s) * kept
        return (new, noise, kept), new


@cache
def noisy():
    torch.manual_seed(2)
    return Noisy(draws=True)


@for_each_method
@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("reverse", [False, True])
def test_draws_on_the_way_back_are_those_of_the_way_there(way, backend, reverse):
    steps, cell, given_ = 100, noisy(), Noisy(draws=False)
    given_.load_state_dict(cell.state_dict())
    inputs, state = torch.randn(steps, 2, INPUTS, requires_grad=True), torch.randn(2, H)
    keywords = {"lengths": [steps, 97], "reverse": reverse}

    def loss(outputs, final):
        return linear(outputs[0], final)

    case = Case(cell, inputs, state, keywords, loss, [inputs, *cell.parameters()])
    outputs, _, value = case.ours(method=METHODS[way](), backend=backend)
    found = torch.autograd.grad(value, case.targets)
    told = Case(
        given_,
        (inputs, *(leaf.detach() for leaf in outputs[1:])),
        state,
        keywords,
        loss,
        [inputs, *given_.parameters()],
    )
    for ours, right in zip(found, oracle_of(told, METHODS[way]()), strict=True):
        assert_close(ours, right, "gradients", f"{way}, drawn")


@for_each_method
@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("what", ["a weight", "an input", "the state", "an output"])
def test_what_is_written_over_before_the_way_back_is_noticed(way, backend, what):
    """Or does not matter; what must not be is another gradient."""
    cell, inputs, state = cells.GRU(INPUTS, H), torch.randn(130, 2, INPUTS), torch.randn(2, H)
    case = Case(cell, inputs, state, {}, linear, [*cell.parameters()])
    expected = case.gradients(method=METHODS[way](), backend=backend)
    outputs, _, value = case.ours(method=METHODS[way](), backend=backend)
    written = {"a weight": cell.Ws, "an input": inputs, "the state": state, "an output": outputs}
    written[what].detach()[...] = 0.5
    found = found_or_refused(value, case.targets, "modified by an inplace")
    assert found is None or all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def found_or_refused(value, targets, words):
    """The gradient, or None where it is refused in these words."""
    try:
        return torch.autograd.grad(value, targets)
    except (RuntimeError, TypeError) as error:
        if words not in str(error):
            raise
        return None


class Leaking(nn.Module):
    """A cell whose equations an attribute of Python's changes."""

    def __init__(self) -> None:
        super().__init__()
        self.leak, self.W = 0.5, nn.Parameter(0.4 * torch.randn(H, H))

    def forward(self, x, s):
        return (1 - self.leak) * s + self.leak * torch.tanh(x + s @ self.W)


@for_each_method
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_cell_that_has_changed_before_the_way_back_is_noticed(way, backend):
    cell = Leaking()
    case = Case(cell, torch.randn(130, 2, H), torch.randn(2, H), {}, linear, [cell.W])
    expected = case.gradients(method=METHODS[way](), backend=backend)
    *_, value = case.ours(method=METHODS[way](), backend=backend)
    cell.leak = 0.9
    found = found_or_refused(value, case.targets, "gives other numbers")
    assert found is None or torch.equal(found[0], expected[0])


@for_each_method
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_layers_and_directions_pass_the_method_on(way, backend, monkeypatch):
    """Against the same cells unrolled one by one: the second layer reads both directions."""
    monkeypatch.setitem(bptt.unroll.__kwdefaults__, "backend", backend)
    method = METHODS[way]()
    net = bptt.nn.GRU(INPUTS, H, num_layers=2, bidirectional=True)
    x, lengths = torch.randn(9, 2, INPUTS), [9, 5]

    def by_hand():
        y, ends = x, []
        for layer in range(2):
            both = []
            for ending in ("", "_reverse"):
                cell = nn.GRUCell(y.shape[-1], H)
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    setattr(cell, name, getattr(net, f"{name}_l{layer}{ending}"))
                how = {"lengths": lengths, "reverse": bool(ending), "method": method}
                outputs, final = bptt.unroll(cell, y, **how)
                both.append(outputs)
                ends.append(final)
            y = torch.cat(both, -1)
        return y, torch.stack(ends)

    weights = [*net.parameters()]
    found = torch.autograd.grad(bent(*net(x, lengths=lengths, method=method)), weights)
    expected = torch.autograd.grad(bent(*by_hand()), weights)
    for ours, right in zip(found, expected, strict=True):
        assert_close(ours, right, "gradients", way)


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((3, 2), "k2: expected at least k1 = 3"),
        ((0, 2), "k1: .*at least 1.*0"),
        ((-1, 2), "k1: .*at least 1.*-1"),
        ((1, 0), "k2: "),
        ((1.0, 2), "k1: .*integer.*1.0"),
        ((1, 2.5), "k2: .*integer.*2.5"),
        ((True, 2), "k1: .*integer.*True"),
        ((1, "2"), "k2: .*integer.*'2'"),
        ((1, None), "k2: .*integer.*None"),
        ((1, 2, "all"), "losses: .*'new'.*'last'.*'all'"),
        ((1, 2, None), "losses: .*'new'.*'last'.*None"),
        ((torch.tensor(1), 2), "k1: .*integer"),
    ],
)
def test_a_truncation_that_makes_no_sense(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        bptt.Truncated(*arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, r"either memory.*or segments.*neither"),
        ({"memory": "64MB", "segments": 3}, r"either memory.*or segments.*both"),
        ({"memory": "64 apples"}, r"memory: .*kB.*'64 apples'"),
        ({"memory": "MB"}, r"memory: .*'MB'"),
        ({"memory": ""}, r"memory: .*''"),
        ({"memory": "-3MB"}, r"memory: .*'-3MB'"),
        ({"memory": "0MB"}, r"memory: .*more than nothing.*'0MB'"),
        ({"memory": "nanMB"}, r"memory: .*'nanMB'"),
        ({"memory": "64"}, r"memory: .*'64'"),
        ({"memory": 0}, r"memory: .*at least 1.*0"),
        ({"memory": 1e6}, r"memory: .*1000000.0"),
        ({"memory": True}, r"memory: .*True"),
        ({"memory": b"64MB"}, r"memory: .*b'64MB'"),
        ({"segments": 0}, r"segments: .*at least 1.*0"),
        ({"segments": -2}, r"segments: .*at least 1.*-2"),
        ({"segments": 2.0}, r"segments: .*integer.*2.0"),
        ({"segments": True}, r"segments: .*integer.*True"),
        ({"segments": "3"}, r"segments: .*integer.*'3'"),
    ],
)
def test_a_budget_that_makes_no_sense(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        bptt.Checkpointed(**arguments)


@pytest.mark.parametrize("method", ["full", Full, None, 3, bptt.nn.GRU])
def test_a_method_that_is_none(method):
    with pytest.raises(TypeError, match=r"method: expected .*bptt\.Full"):
        bptt.unroll(cell_of("elman"), torch.randn(3, 1, INPUTS), method=method)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("steps", [1, 63, 66, 129, 300])
def test_the_least_budget_is_told_to_the_byte(steps, backend):
    case = case_of("lstm", steps, 2)
    enough = least(case, backend)
    case.ours(method=bptt.Checkpointed(memory=f"{enough} B"), backend=backend)[2].backward()
    with pytest.raises(ValueError, match=f"is not enough .*the least is {enough} bytes"):
        case.ours(method=bptt.Checkpointed(memory=enough - 1), backend=backend)


@for_each_method
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_no_row_to_run(way, backend):
    """Weights get zeros, as from an empty batch of any module."""
    cell, inputs = cell_of("elman"), torch.randn(4, 0, INPUTS)
    outputs, _ = bptt.unroll(cell, inputs, method=METHODS[way](), backend=backend)
    for found, weight in zip(
        torch.autograd.grad(outputs.sum(), [*cell.parameters()]), cell.parameters(), strict=True
    ):
        assert torch.equal(found, torch.zeros_like(weight))


# Long sequences, which go back window by window and have their columns computed by parts.


@pytest.fixture
def few_at_once(monkeypatch):
    """Windows of a few steps, parts of 64: returns where each window began and ended."""
    return watched_windows(monkeypatch, 6000)


def watched_windows(monkeypatch, memory):
    seen = []

    class Watched(windows.Stretch):
        def __init__(self, course, start, stop):
            seen.append((start, stop))
            super().__init__(course, start, stop)

    monkeypatch.setattr(windows, "MEMORY", memory)
    monkeypatch.setattr(windows, "Stretch", Watched)
    # as where weights' gradients are too large for the loop to add up
    monkeypatch.setattr(compiled, "NEAR", 0)
    monkeypatch.setattr(plans, "_ENTRIES", OrderedDict())  # what was found out about that
    monkeypatch.setattr(forward, "PART", 1)
    return seen


MASKS = {
    "none": {},
    "lengths": {"lengths": [200, 0, 77]},
    "resets": {"resets": True},
    "both": {"lengths": [150, 199, 200], "resets": True},
}


@pytest.mark.parametrize(
    "method",
    [bptt.Full(), bptt.Truncated(5, 12), bptt.Truncated(3, 7, losses="last")],
    ids=["full", "truncated", "last"],
)
@pytest.mark.parametrize("name", ["reader", *LONG])
@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("reverse", [False, True])
def test_windows_change_no_gradient(method, name, masks, reverse, few_at_once, monkeypatch):
    torch.manual_seed(2)
    case = case_of(name, 200, 3, loss=bent, reverse=reverse, **MASKS[masks])
    found, gradients = values_and_gradients(case, method, "cpu")
    assert len(few_at_once) > 3
    assert {0, 200} <= {edge for window in few_at_once for edge in window}
    monkeypatch.undo()
    expected, right = values_and_gradients(case, method, "cpu")
    assert all(torch.equal(ours, whole) for ours, whole in zip(found, expected, strict=True))
    for ours, whole in zip(gradients, right, strict=True):
        assert_close(ours, whole, "gradients", name)


@pytest.mark.parametrize("name", [name for name in CELLS if "cpu" in BACKENDS[name]])
@examples(15)
@given(st.data())
def test_windows_of_a_step_or_a_few_against_the_oracle(name, data):
    case = data.draw(cases(name))
    method = data.draw(truncations() | st.just(Full()))
    memory = data.draw(st.sampled_from([1, 1, 1500]))
    expected = oracle_of(case, method)
    with pytest.MonkeyPatch.context() as patch:
        seen = watched_windows(patch, memory)
        case.check(expected, method=method, backend="cpu")
    assert seen or memory > 1


@for_each_method
@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [[10, 10, 9], [10, 3, 2], [10, 0, 9]])
def test_padding_meets_no_pole(way, backend, reverse, lengths):
    """Where sequences have ended stand zeros, whose logarithm times zero is no number."""
    case, method = case_of("poles", 10, 3, lengths=lengths, reverse=reverse), METHODS[way]()
    case.check(oracle_of(case, method), method=method, backend=backend)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_segments_leave_two_biases_their_one_gradient(backend):
    check_like_full(case_of("two biases", 200, 2), bptt.Checkpointed(segments=3), backend)
