"""States that no loop stores, and other things beside the loop: kernels against the reference."""

import copy

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import bptt
from bptt.compiler import compiled
from bptt.fused import windows
from bptt.testing import assert_close

pytestmark = pytest.mark.usefixtures("double")

INPUTS, H = 3, 4


class Written(nn.Module):
    """A cell whose step is one function, with as many leaves of state as it needs."""

    def __init__(self, step, *leaves):
        super().__init__()
        self.step, self.leaves = step, leaves
        self.W, self.U = nn.Parameter(torch.randn(INPUTS, H)), nn.Parameter(torch.randn(H, H) / 2)
        self.v = nn.Parameter(torch.randn(H))
        self.read = nn.Sequential(nn.LayerNorm(H), nn.Linear(H, 2))

    def initial_state(self, batch_size):
        leaves = tuple(leaf.expand(batch_size, *leaf.shape).clone() for leaf in self.leaves)
        return leaves if len(leaves) > 1 else leaves[0]

    def forward(self, x, state):
        return self.step(self, x, state)


def context(c, x, s):
    """One leaf stays as it is, and every step reads it."""
    h = torch.tanh(x @ c.W + s[0] @ c.U + s[1])
    return h * s[1], (h, s[1])


def turning(c, x, s):
    """Two leaves change places; a third one drives an output."""
    h = torch.tanh(x @ c.W + s[2] @ c.U)
    return s[0] * h, (s[1], s[0], h)


def delayed(c, x, s):
    """A line of three, the first of them made of the input alone."""
    return torch.tanh(s[2] @ c.U) + s[1] * c.v, (x @ c.W, s[0], s[1])


def fired(c, x, s):
    """Whether a unit fired is a leaf of its own."""
    h = torch.where(s[1], 0.1, 0.9) * s[0] + x @ c.W
    return torch.sigmoid(h) * s[1], (h, h > 0.5)


def scored(c, x, h):
    h = torch.tanh(x @ c.W + h @ c.U)
    return c.read(h), h


def counted(c, x, h):
    """The state is one number a sequence."""
    return torch.tanh(x.sum(-1) * c.v[0] + h * c.v[1])


ZEROS, FIRED = torch.zeros(H, dtype=torch.float64), torch.zeros(H, dtype=torch.bool)
CELLS = {
    "context": lambda: Written(context, ZEROS, 1 + ZEROS),
    "turning": lambda: Written(turning, ZEROS, 1 + ZEROS, ZEROS),
    "delayed": lambda: Written(delayed, ZEROS, ZEROS, ZEROS),
    "unchanged": lambda: Written(lambda c, x, h: (x @ c.W, h), ZEROS),
    "fired": lambda: Written(fired, ZEROS, FIRED),
    "scored": lambda: Written(scored, ZEROS),
    "counted": lambda: Written(counted, torch.zeros(())),
}
METHODS = [bptt.Full(), bptt.Truncated(2, 5), bptt.Checkpointed(segments=2)]


def found(cell, backend, method, *, steps, lengths, reverse, resets):
    """Outputs, final state and gradients of everything, with NaN in the padding."""
    torch.manual_seed(1)
    x = torch.randn(steps, 3, INPUTS)
    if lengths is not None:
        x[torch.arange(steps)[:, None] >= torch.tensor(lengths)] = torch.nan
    x.requires_grad_()
    states = [pytree.tree_map(start, cell.initial_state(3)) for _ in range(2)]
    mask = torch.rand(steps, 3) < 0.2 if resets else None
    fresh = states[1] if resets else None
    outputs, final = bptt.unroll(
        cell, x, states[0], lengths=lengths, reverse=reverse, reset=mask, reset_state=fresh,
        method=method, backend=backend,
    )  # fmt: skip
    leaves = [leaf for leaf in pytree.tree_leaves((outputs, final)) if leaf.is_floating_point()]
    loss = sum((leaf * torch.randn_like(leaf)).sum() for leaf in leaves)
    sources = [s for s in pytree.tree_leaves((x, states)) if s.requires_grad]
    gradients = torch.autograd.grad(loss, [*sources, *cell.parameters()], materialize_grads=True)
    return leaves, gradients


def start(leaf):
    if leaf.dtype == torch.bool:
        return torch.rand(leaf.shape) < 0.5
    return torch.randn(leaf.shape, requires_grad=True)


@pytest.mark.parametrize("name", CELLS)
def test_states_that_no_loop_stores(name):
    torch.manual_seed(0)
    cell = CELLS[name]()
    for steps, lengths in ((7, None), (20, [20, 17, 18])):
        for reverse, resets in ((False, False), (False, True), (True, False), (True, True)):
            case = {"steps": steps, "lengths": lengths, "reverse": reverse, "resets": resets}
            for method in METHODS:
                expected = found(cell, "reference", method, **case)
                ours = found(cell, "cpu", method, **case)
                pairs = zip(pytree.tree_leaves(ours), pytree.tree_leaves(expected), strict=True)
                for number, (one, right) in enumerate(pairs):
                    assert_close(one, right, "gradients", f"{name}, {number} of {case}, {method}")


def test_segments_of_a_cell_whose_way_back_reads_its_read_out():
    torch.manual_seed(0)
    cell, case = CELLS["scored"](), {"lengths": None, "reverse": False, "resets": False}
    ours, expected = (
        found(cell, "cpu", method, steps=200, **case)
        for method in (bptt.Checkpointed(segments=3), bptt.Full())
    )
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_inference_mode(backend):
    torch.manual_seed(0)
    cell, x = (
        Written(lambda c, x, h: torch.tanh(x @ c.W + h @ c.U * 1.5), ZEROS),
        torch.randn(4, 2, 3),
    )
    with torch.inference_mode():  # the first call that this cell sees, and one of a cell made here
        found, state = bptt.unroll(cell, x, backend=backend)
        made = Written(lambda c, x, h: torch.tanh(x @ c.W + h @ c.U / 1.5), ZEROS)
        again = bptt.unroll(made, x, state, backend=backend)[0]
    with torch.no_grad():
        torch.testing.assert_close(found, bptt.unroll(cell, x, backend=backend)[0])
        torch.testing.assert_close(again, bptt.unroll(made, x, state, backend=backend)[0])
    bptt.unroll(cell, x, backend=backend)[0].sum().backward()
    assert cell.U.grad.norm() > 0


T, B = 9, 3
ORDINARY = {
    "Elman": lambda: bptt.cells.Elman(INPUTS, H),
    "GRU": lambda: bptt.cells.GRU(INPUTS, H),
    "LSTM": lambda: bptt.cells.LSTM(INPUTS, H),
    "scored": CELLS["scored"],
}


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize("reverse", [False, True])
def test_masks_change_no_bit_of_the_steps_that_they_leave_alone(name, reverse):
    """The last steps are padding, or an episode of their own; they hold no numbers."""
    torch.manual_seed(0)
    cell, x = ORDINARY[name](), torch.randn(T, B, INPUTS)
    none = torch.full((2, B, INPUTS), torch.nan)
    expected = _unrolled(cell, x, reverse=reverse)
    padded = _unrolled(cell, torch.cat([x, none]), lengths=[T] * B, reverse=reverse)
    _same_bits(padded, expected)
    reset = torch.zeros(T + 2, B, dtype=torch.bool)
    reset[1 if reverse else T] = True
    both = torch.cat([none, x] if reverse else [x, none])
    outputs, _ = _unrolled(cell, both, reset=reset, reverse=reverse)
    own = slice(2, None) if reverse else slice(T)
    _same_bits(([leaf[own] for leaf in outputs], []), (expected[0], []))


def _unrolled(cell, x, **keywords):
    outputs, final = bptt.unroll(cell, x.clone().requires_grad_(), **keywords)
    return pytree.tree_leaves(outputs), pytree.tree_leaves(final)


def _same_bits(found, expected):
    for ours, right in zip(found[0], expected[0], strict=True):
        assert torch.equal(ours[: len(right)], right)
        assert not ours[len(right) :].any()  # outputs of padding
    assert all(map(torch.equal, found[1], expected[1]))


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize("reverse", [False, True])
def test_how_tensors_lie_and_who_keeps_them_changes_no_bit(name, reverse):
    """Calls whose tensors are not contiguous, or kept by hooks, go another way than those written
    out for a plan.
    """
    torch.manual_seed(0)
    cell, x = ORDINARY[name](), torch.randn(T, B, INPUTS)
    expected = _trained(cell, x, reverse=reverse)
    _all_equal(_trained(cell, _turned(x), reverse=reverse), expected)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), _turned):
        _all_equal(_trained(cell, x, reverse=reverse), expected)
    for weight in cell.parameters():
        weight.data = _turned(weight.data)
    _all_equal(_trained(cell, x, reverse=reverse), expected)
    _all_equal(_trained(copy.deepcopy(cell), x, reverse=reverse), expected)


def _turned(tensor):
    """The same numbers, column by column."""
    return tensor.mT.clone().mT if tensor.dim() > 1 else tensor.clone()


def _trained(cell, x, **keywords):
    """Outputs, final state, and every gradient of both, twice from one graph."""
    x = x.detach().requires_grad_()
    leaves = pytree.tree_leaves(bptt.unroll(cell, x, **keywords))
    loss = sum((leaf * leaf).sum() for leaf in leaves)
    targets = [x, *cell.parameters()]
    both = [torch.autograd.grad(loss, targets, retain_graph=True, allow_unused=True) for _ in "ab"]
    return [*leaves, *(gradient for each in both for gradient in each if gradient is not None)]


def _all_equal(found, expected):
    assert len(found) == len(expected)
    assert all(map(torch.equal, found, expected))


WIDE = {
    "scored": CELLS["scored"],
    "layer-norm LSTM": lambda: bptt.cells.LayerNormLSTM(INPUTS, H),
    "peephole LSTM": lambda: bptt.cells.PeepholeLSTM(INPUTS, H),
}


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("memory", [1, windows.MEMORY])
def test_all_but_products_done_in_the_loop(name, memory, monkeypatch):
    """As where weights' gradients are too large for the loop: what they are made of is not."""
    monkeypatch.setattr(compiled, "NEAR", 0)
    monkeypatch.setattr(windows, "MEMORY", memory)
    torch.manual_seed(0)
    cell = WIDE[name]()
    for lengths, resets in ((None, False), ([T, 0, T - 4], False), ([T - 1, T, 2], True)):
        case = {"steps": T, "lengths": lengths, "reverse": False, "resets": resets}
        for method in METHODS:
            ours, expected = (
                pytree.tree_leaves(found(cell, backend, method, **case))
                for backend in ("cpu", "reference")
            )
            for one, right in zip(ours, expected, strict=True):
                assert_close(one, right, "gradients", f"{name}, {case}, {method}")


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize("seed", range(6))
def test_ordinary_cells_under_any_masks(name, seed):
    torch.manual_seed(seed)
    cell = ORDINARY[name]()
    lengths = [None, [T, T - 1, T], torch.randint(0, T + 1, (B,)).tolist()][seed % 3]
    case = {"steps": T, "lengths": lengths, "reverse": seed % 2 == 1, "resets": seed > 1}
    for method in METHODS:
        ours, expected = (
            pytree.tree_leaves(found(cell, backend, method, **case))
            for backend in ("cpu", "reference")
        )
        for number, (one, right) in enumerate(zip(ours, expected, strict=True)):
            assert_close(one, right, "gradients", f"{name}, {number} of {case}, {method}")


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize("reverse", [False, True])
def test_masks_where_not_all_is_as_usual(name, reverse):
    """Strided inputs, one state for all sequences to start afresh from, a loss of the last leaf
    alone or of the outputs alone, and one sequence without a step.
    """
    torch.manual_seed(0)
    cell, mask = ORDINARY[name](), torch.rand(T, B) < 0.3
    x = torch.randn(B, T, INPUTS).transpose(0, 1)
    x[torch.arange(T)[:, None] >= torch.tensor([T, 0, 4])] = torch.inf
    fresh = pytree.tree_map(lambda leaf: torch.randn_like(leaf[:1]), cell.initial_state(B))
    leaves = [leaf.requires_grad_() for leaf in (x, *pytree.tree_leaves(fresh))]
    targets = [*leaves, *cell.parameters()]

    def gradients(backend, part, **keywords):
        found = pytree.tree_leaves(
            bptt.unroll(cell, x, reverse=reverse, backend=backend, **keywords)
        )
        return torch.autograd.grad(found[part].sum(), targets, materialize_grads=True)

    lengths, reset = {"lengths": [T, 0, 4]}, {"reset": mask, "reset_state": fresh}
    for part in (0, -1):
        for masks in (lengths, {**lengths, **reset}):
            ours, expected = (gradients(backend, part, **masks) for backend in ("cpu", "reference"))
            for one, right in zip(ours, expected, strict=True):
                assert_close(one, right, "gradients", f"{name}, {part}, {list(masks)}")
