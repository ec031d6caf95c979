"""Ways back through time against gradients found block by block, and forward in time."""

from functools import cache
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import bptt
from bptt import Full, cells
from bptt.testing import assert_close
from bptt.unroll import initial_state
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
with_each_cell = pytest.mark.parametrize("name", CELLS)
everywhere = pytest.mark.parametrize(
    ("name", "backend"), [(name, backend) for name in CELLS for backend in BACKENDS[name]]
)


@cache
def cell_of(name):
    """One cell for all tests: its kernels are made once."""
    torch.manual_seed(1)
    return CELLS[name]()


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
    steps, batch = draw(st.integers(1, steps)), draw(st.integers(1, 3))
    ragged = st.lists(st.integers(0, steps), min_size=batch, max_size=batch).filter(any)
    return case_of(
        name,
        steps,
        batch,
        loss=draw(st.sampled_from([linear, bent])),
        lengths=draw(st.none() | ragged),
        resets=draw(st.booleans()),
        reverse=draw(st.booleans()),
    )


some = settings(max_examples=8, deadline=None, derandomize=True)


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


@with_each_cell
@some
@given(st.data())
def test_full_is_what_forward_mode_finds(name, data):
    case = data.draw(cases(name, steps=6))
    expected = case.oracle(forward_mode)
    for backend in BACKENDS[name]:
        case.check(expected, method=Full(), backend=backend)
