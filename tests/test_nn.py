"""bptt.nn: the drop-ins against torch.nn itself, Recurrent over any cell, Network's read-out."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils import _pytree as pytree

import bptt
from bptt.cells import GRU, LSTM, Elman
from bptt.errors import ArgumentError, CellError, StructureError
from bptt.nn import Network, Recurrent

I, H, T, B = 3, 5, 6, 4  # noqa: E741
LENGTHS = torch.tensor([2, 6, 1, 4])
KINDS = {
    "tanh": ("RNN", {}),
    "relu": ("RNN", {"nonlinearity": "relu"}),
    "gru": ("GRU", {}),
    "lstm": ("LSTM", {}),
    "projected": ("LSTM", {"proj_size": 2}),
}
STACKED = {"num_layers": 2, "bidirectional": True}
every_kind = pytest.mark.parametrize("kind", KINDS)
every_name = pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def both(kind, **options):
    """torch.nn's module and ours with the same weights."""
    name, own = KINDS.get(kind, (kind, {}))
    theirs = getattr(nn, name)(I, H, **own, **options)
    ours = getattr(bptt.nn, name)(I, H, **own, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def random_state(module, *batch):
    """Initial states for a module of torch.nn."""
    count = module.num_layers * (2 if module.bidirectional else 1)
    h = torch.randn(count, *batch, module.proj_size or H)
    return (h, torch.randn(count, *batch, H)) if isinstance(module, nn.LSTM) else h


def packed(x, batch_first=False, lengths=LENGTHS):
    return pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)


def data(results):
    """Every tensor with numbers in it: of a packed sequence its data, not its indices."""
    plain = [x.data if isinstance(x, PackedSequence) else x for x in results]
    return pytree.tree_leaves(plain)


def values_and_gradients(call, sources):
    """What a call returns, and the gradients of a random function of it with respect to sources."""
    torch.manual_seed(1)
    results = data(call())
    torch.manual_seed(2)
    loss = sum((torch.randn_like(x) * x).sum() for x in results)
    return results, torch.autograd.grad(loss, sources, allow_unused=True)


def assert_same(theirs, ours, feed, x, state):
    """Both modules give the same values and the same gradients of input, state and weights."""
    pair = []
    for module in (theirs, ours):
        own_x, own_state = x.clone().requires_grad_(), None
        if state is not None:
            own_state = pytree.tree_map(lambda s: s.clone().requires_grad_(), state)
        sources = [own_x, *pytree.tree_leaves(own_state), *module.parameters()]
        call = lambda m=module, x=own_x, s=own_state: m(feed(x), s)  # noqa: E731
        pair.append(values_and_gradients(call, [s for s in sources if s is not None]))
    torch.testing.assert_close(pair[1], pair[0], rtol=1e-10, atol=1e-12)


CASES = {
    "plain": ({}, lambda x: x),
    "no bias": ({"bias": False}, lambda x: x),
    "stacked": (STACKED, lambda x: x),
    "batch first": ({**STACKED, "batch_first": True}, lambda x: x.transpose(0, 1)),
    "strided": (STACKED, lambda x: x.repeat_interleave(2, 2)[..., ::2]),
    "dropout": ({**STACKED, "num_layers": 3, "dropout": 0.4}, lambda x: x),
    "dropout of all": ({"num_layers": 2, "dropout": 1.0}, lambda x: x),
    "packed": (STACKED, packed),
    "packed in order": ({}, lambda x: pack_padded_sequence(x, [6, 4, 4, 1])),
    "packed batch first": (
        {"batch_first": True, "bidirectional": True},
        lambda x: packed(x.transpose(0, 1), batch_first=True),
    ),
    "packed dropout": ({**STACKED, "dropout": 0.4}, packed),
}


@every_kind
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("given", [True, False], ids=["hx", "zeros"])
def test_drop_in_is_torch_nn(kind, case, given):
    options, feed = CASES[case]
    theirs, ours = both(kind, **options)
    state = random_state(theirs, B) if given else None
    assert_same(theirs, ours, feed, torch.randn(T, B, I), state)


@settings(max_examples=16, deadline=None)
@given(
    st.sampled_from(["RNN", "GRU", "LSTM"]),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.integers(1, 3),
    st.integers(1, 17),
    st.integers(1, 3),
    st.booleans(),
)
def test_any_size(name, lengths, inputs, hidden, layers, bidirectional):
    theirs = getattr(nn, name)(inputs, hidden, layers, bidirectional=bidirectional)
    ours = getattr(bptt.nn, name)(inputs, hidden, layers, bidirectional=bidirectional)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(max(lengths), len(lengths), inputs)
    assert_same(theirs, ours, lambda x: packed(x, lengths=lengths), x, None)


@every_kind
@pytest.mark.parametrize("batch_first", [False, True])
def test_one_sequence_alone(kind, batch_first):
    theirs, ours = both(kind, **STACKED, batch_first=batch_first)
    assert_same(theirs, ours, lambda x: x, torch.randn(T, I), random_state(theirs))


@every_kind
@pytest.mark.parametrize("batch_first", [False, True])
def test_one_sequence_alone_is_a_batch_of_one(kind, batch_first):
    theirs, ours = both(kind, **STACKED, batch_first=batch_first)
    x, state, starts = torch.randn(T, I), random_state(theirs), torch.arange(T) == 3
    alone = ours(x, state, lengths=5, reset=starts, all_states=True)
    axis = 0 if batch_first else 1
    batch = ours(
        x.unsqueeze(axis),
        pytree.tree_map(lambda s: s.unsqueeze(1), state),
        lengths=[5],
        reset=starts.unsqueeze(axis),
        all_states=True,
    )
    axes = (axis, 1, axis)  # of outputs, final state, all states
    for one, many, axis in zip(alone, batch, axes, strict=True):
        expected = pytree.tree_map(lambda leaf, axis=axis: leaf.squeeze(axis), many)
        torch.testing.assert_close(one, expected, rtol=0, atol=0)


@every_name
def test_packed_sequence_comes_back_as_it_went_in(name):
    theirs, ours = both(name)
    for sequence in (
        packed(torch.randn(T, B, I)),
        pack_padded_sequence(torch.randn(T, 2, I), [6, 1]),
    ):
        expected, found = theirs(sequence)[0], ours(sequence)[0]
        assert isinstance(found, PackedSequence)
        for attribute in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            assert getattr(found, attribute) is getattr(expected, attribute)


@every_name
def test_no_sequences(name):
    theirs, ours = both(name, **STACKED)
    expected, found = (data(module(torch.zeros(T, 0, I))) for module in (theirs, ours))
    assert [x.shape for x in found] == [x.shape for x in expected]


def wrong_calls(name):
    """Calls (input, hx) that torch.nn refuses."""

    def state(*shape, **kind):
        h = torch.zeros(*shape, **kind)
        return (h, h) if name == "LSTM" else h

    x = torch.zeros(T, B, I)
    return {
        "no steps": (torch.zeros(0, B, I), None),
        "no steps alone": (torch.zeros(0, I), None),
        "rank 1": (torch.zeros(I), None),
        "rank 4": (torch.zeros(T, B, I, 1), None),
        "features": (torch.zeros(T, B, 7), None),
        "dtype": (x.float(), None),
        "whole numbers": (x.long(), None),
        "hx layers": (x, state(1, B, H)),
        "hx batch": (x, state(2, B + 1, H)),
        "hx features": (x, state(2, B, H + 1)),
        "hx rank": (x, state(2, H)),
        "hx rank alone": (x[:, 0], state(2, 1, H)),
        "hx device": (x, state(2, B, H, device="meta")),
        "device": (x.to("meta"), None),
    }


@every_name
@pytest.mark.parametrize("wrong", wrong_calls("GRU"))
def test_refuses_what_torch_nn_refuses(name, wrong):
    theirs, ours = both(name, num_layers=2)
    call = wrong_calls(name)[wrong]
    with pytest.raises((ValueError, RuntimeError)) as expected:
        theirs(*call)
    with pytest.raises(expected.type) as found:
        ours(*call)
    assert str(found.value).startswith(str(expected.value))


@pytest.mark.parametrize("name", ["RNN", "GRU"])  # torch.nn.LSTM leaves these to its kernels
def test_refuses_packed_input_as_torch_nn(name):
    theirs, ours = both(name)
    x = torch.zeros(T, B, I)
    for x_, hx in ((x.float(), None), (x.repeat(1, 1, 2), None), (x, torch.zeros(2, B, H))):
        with pytest.raises((ValueError, RuntimeError)) as expected:
            theirs(packed(x_), hx)
        with pytest.raises(expected.type) as found:
            ours(packed(x_), hx)
        assert str(found.value) == str(expected.value)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, x: m(x.tolist()), TypeError, "input should be a tensor, got a list"),
        (lambda m, x: m(x, torch.zeros(1, B, H)), TypeError, "hx should be a pair"),
        (lambda m, x: m(x, [torch.zeros(1, B, H)]), RuntimeError, "hx should be a pair"),
        (lambda m, x: m(x, (x.new_zeros(1, B, H).float(),) * 2), ValueError, "hx is torch.float32"),
        (lambda m, x: m(x, reset=torch.zeros(T, B)), ValueError, "reset should be a bool tensor"),
        (lambda m, x: m(x, reset=torch.zeros(B, T) > 0), ValueError, r"\(T, B\) = \(6, 4\)"),
        (lambda m, x: m(x, reset=[True]), TypeError, "reset should be a tensor, got a list"),
        (lambda m, x: m(x, lengths=[7, 1, 1, 1]), ValueError, "lengths: expected 0 to T = 6"),
        (lambda m, x: m(x, lengths=[1]), ValueError, "lengths: expected one for each of the 4"),
        (lambda m, x: m(packed(x), lengths=[1] * 4), ValueError, "lengths should be None"),
        (lambda m, x: m(x, method="full"), TypeError, "method"),
    ],
)
def test_says_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call(bptt.nn.LSTM(I, H), torch.zeros(T, B, I))


@every_name
def test_is_a_module_of_torch_nn(name):
    theirs, ours = both(name, **STACKED, dropout=0.1)
    assert isinstance(ours, getattr(nn, name))
    assert repr(ours) == repr(theirs)
    theirs.load_state_dict(ours.state_dict())
    torch.manual_seed(3)
    expected = getattr(nn, name)(I, H).state_dict()
    torch.manual_seed(3)
    torch.testing.assert_close(getattr(bptt.nn, name)(I, H).state_dict(), expected, rtol=0, atol=0)


@every_name
def test_copies_and_conversions(name):
    x = torch.randn(T, B, I)
    module = getattr(bptt.nn, name)(I, H, **STACKED)
    expected = data(module(x))
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        found = data(other(x))
        torch.testing.assert_close(found, expected)
        sum(leaf.sum() for leaf in found).backward()
        assert all(weight.grad is not None for weight in other.parameters())
    assert all(weight.grad is None for weight in module.parameters())
    assert all(leaf.dtype == torch.float32 for leaf in data(module.float()(x.float())))


class Half(nn.Module):
    def forward(self, weight):
        return weight / 2


def test_weights_are_read_anew_at_each_call():
    module, x = bptt.nn.GRU(I, H), torch.randn(T, B, I)
    before = module(x)[0]
    module.weight_hh_l0 = nn.Parameter(torch.zeros(3 * H, H))
    assert not torch.equal(module(x)[0], before)
    parametrize.register_parametrization(module, "weight_ih_l0", Half())
    module(x)[0].sum().backward()
    assert module.parametrizations.weight_ih_l0.original.grad.norm() > 0


@every_kind
def test_lengths_are_packing(kind):
    theirs, ours = both(kind, **STACKED)
    x = torch.randn(T, B, I)
    outputs, state = theirs(packed(x))
    expected = data([pad_packed_sequence(outputs, total_length=T)[0], state])
    for b, length in enumerate(LENGTHS):
        x[length:, b] = torch.nan
    x.requires_grad_()
    found = data(ours(x, lengths=LENGTHS))
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(sum(leaf.sum() for leaf in found), [x, *ours.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert ours(x, lengths=torch.tensor([0, 6, 0, 1]))[0][:, [0, 2]].abs().sum() == 0


@every_kind
@pytest.mark.parametrize("batch_first", [False, True])
def test_resets_part_episodes(kind, batch_first):
    """Rows of several episodes, run at once, are the episodes run one by one by torch.nn."""
    theirs, ours = both(kind, **STACKED)
    ours.batch_first = batch_first
    x, state = torch.randn(T, 2, I), random_state(theirs, 2)
    starts = torch.zeros(T, 2, dtype=torch.bool)
    starts[[2, 3], 0] = starts[4, 1] = True
    starts[5, 1] = True  # at the sequence's length, hence no start
    expected = torch.zeros(T, 2, 2 * (theirs.proj_size or H))
    for b, spans in enumerate(([(0, 2), (2, 3), (3, 6)], [(0, 4), (4, 5)])):
        for span in spans:
            # Forward directions enter the first episode with their state, reverse ones the last.
            enters = torch.tensor([span == spans[0], span == spans[-1]] * 2)[:, None]
            own = pytree.tree_map(lambda s, b=b, e=enters: s[:, b] * e, state)
            expected[slice(*span), b] = theirs(x[slice(*span), b], own)[0]
    swap = (lambda y: y.transpose(0, 1)) if batch_first else (lambda y: y)
    found = swap(ours(swap(x), state, lengths=[6, 5], reset=swap(starts))[0])
    torch.testing.assert_close(found, expected)
    if not batch_first:
        sequence = ours(packed(x, lengths=[6, 5]), state, reset=starts)[0]
        torch.testing.assert_close(pad_packed_sequence(sequence)[0], expected)


@every_kind
def test_all_states(kind):
    ours = both(kind, **STACKED)[1]
    x = torch.randn(T, B, I)
    outputs, state, states = ours(x, lengths=LENGTHS, all_states=True)
    torch.testing.assert_close((outputs, state), ours(x, lengths=LENGTHS))
    top = pytree.tree_leaves(states[1])[0]
    torch.testing.assert_close(top.flatten(2), outputs)
    for layer in range(2):
        for seen, final in zip(*map(pytree.tree_leaves, (states[layer], state)), strict=True):
            assert seen.shape == (T, B, 2, final.shape[-1])
            last = seen[LENGTHS - 1, range(B)]
            torch.testing.assert_close(
                torch.stack([last[:, 0], seen[0, :, 1]]), final[2 * layer :][:2]
            )
    sequence, _, padded = ours(packed(x), all_states=True)
    torch.testing.assert_close(padded, states)
    assert isinstance(sequence, PackedSequence)
    ours.batch_first = True
    swapped = ours(x.transpose(0, 1), lengths=LENGTHS, all_states=True)[2]
    torch.testing.assert_close(pytree.tree_map(lambda s: s.transpose(0, 1), swapped), states)


TORCH_CELLS = {"RNN": nn.RNNCell, "GRU": nn.GRUCell, "LSTM": nn.LSTMCell}


@every_name
def test_recurrent_of_torch_cells_is_torch_nn(name):
    options = {**STACKED, "dropout": 0.3, "batch_first": True}
    theirs = getattr(nn, name)(I, H, **options)
    ours = Recurrent(lambda size: TORCH_CELLS[name](size, H), input_size=I, **options)
    for cell, weights in zip(ours.cells, theirs.all_weights, strict=True):
        cell.load_state_dict(
            {n: w for (n, _), w in zip(cell.named_parameters(), weights, strict=True)}
        )
    for feed in (lambda x: x.transpose(0, 1), lambda x: packed(x.transpose(0, 1), True)):
        assert_same(theirs, ours, feed, torch.randn(T, B, I), random_state(theirs, B))
        assert_same(theirs, ours, feed, torch.randn(T, B, I), None)


class Counter(nn.Module):
    """A cell of the second protocol: pytrees in and out, a whole number carried beside a tensor."""

    def __init__(self, size):
        super().__init__()
        self.cell, self.size = GRU(size, H), size

    def initial_state(self, batch_size):
        count = torch.zeros(batch_size, dtype=torch.int64)
        return {"h": self.cell.initial_state(batch_size), "count": count}

    def forward(self, x, state):
        h = self.cell(x, state["h"])
        return 2 * h[:, :2], {"h": h, "count": state["count"] + 1}


def test_recurrent_of_a_cell_with_outputs():
    net = Recurrent(Counter, input_size=I, num_layers=2, bidirectional=True)
    assert [cell.size for cell in net.cells] == [I, I, 4, 4]
    x = torch.randn(T, B, I)
    outputs, state, states = net(x, lengths=LENGTHS, all_states=True)
    assert outputs.shape == (T, B, 4)
    assert state["count"].tolist() == [LENGTHS.tolist()] * 4
    assert states[1]["h"].shape == (T, B, 2, H)
    torch.testing.assert_close(2 * states[1]["h"][..., :2].flatten(2), outputs)
    again, _ = net(x, pytree.tree_map(torch.zeros_like, state), lengths=LENGTHS)
    torch.testing.assert_close(again, outputs)


class Sum(nn.Module):
    def forward(self, x, state):
        total = state + x["a"] + x["b"].sum(-1)
        return {"total": total}, total

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, 2)


def test_recurrent_of_pytrees_batch_first():
    inputs = {"a": torch.randn(B, T, 2), "b": torch.randn(B, T, 2, 3)}
    outputs, state = Recurrent(Sum(), batch_first=True)(inputs)
    expected = (inputs["a"] + inputs["b"].sum(-1)).cumsum(1)
    torch.testing.assert_close(outputs, {"total": expected})
    torch.testing.assert_close(state, expected[:, -1][None])


class Pair(nn.Module):
    def forward(self, x, state):
        return (x, state), state

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, H)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Recurrent(GRU(I, H), num_layers=2), ArgumentError, "num_layers=2 .* need 2 of"),
        (lambda: Recurrent(GRU(I, H), bidirectional=True), ArgumentError, "give a factory"),
        (lambda: Recurrent(lambda size: GRU(size, H)), ArgumentError, "input_size should be given"),
        (lambda: Recurrent(GRU, input_size=I), CellError, "hidden_size"),
        (lambda: Recurrent(lambda size: None, input_size=I), CellError, "should return a module"),
        (lambda: Recurrent(7, input_size=I), CellError, "a module or a factory"),
        (lambda: Recurrent(nn.LSTM(I, H)), CellError, "use torch.nn.LSTMCell or bptt.cells.LSTM"),
        (lambda: Recurrent(GRU(I, H), batch_first="no"), ArgumentError, "batch_first should be T"),
        (lambda: Recurrent(GRU(I, H), dropout=1.5), ArgumentError, "dropout should be a number"),
        (lambda: Recurrent(GRU(I, H), num_layers=0), ArgumentError, "num_layers"),
        (lambda: Recurrent(GRU(I, H), input_size=-1), ArgumentError, "input_size"),
        (
            lambda: Recurrent(lambda size: Pair(), input_size=I, num_layers=2),
            CellError,
            "output should be one tensor",
        ),
    ],
)
def test_recurrent_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, x: m(x[..., :2]), ValueError, "input_size = 3 features"),
        (lambda m, x: m(x[0, 0]), ValueError, r"inputs should be a tensor \(T, B"),
        (lambda m, x: m(x.float()), ValueError, "inputs: expected float64"),
        (lambda m, x: m(x, torch.zeros(B, H)), ValueError, r"\(2, 4, \.\.\.\), got \(4, 5\)"),
        (lambda m, x: m(x, torch.zeros(2, B, 7)), ValueError, "state: expected 5 features"),
        (lambda m, x: m(x, (torch.zeros(2, B, H),) * 2), TypeError, "state should have the struct"),
        (lambda m, x: m(x, 0), TypeError, "state should be a tensor"),
    ],
)
def test_recurrent_says_what_is_wrong(call, error, message):
    net = Recurrent(lambda size: GRU(size, H), input_size=I, num_layers=2)
    with pytest.raises(error, match=message):
        call(net, torch.zeros(T, B, I))


def test_recurrent_refuses_states_of_unlike_layers():
    net = Recurrent(lambda size: Elman(size, size + 1), input_size=I, num_layers=2)
    with pytest.raises(StructureError, match="same hidden size"):
        net(torch.zeros(T, B, I))


def test_recurrent_copies():
    net = Recurrent(lambda size: LSTM(size, H), input_size=I, num_layers=2)
    x = torch.randn(T, B, I)
    expected = net(x)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(other(x), expected)
    assert net.float()(x.float())[0].dtype == torch.float32
    assert "num_layers=2" in repr(net)


def test_recurrent_of_no_steps():
    net = Recurrent(lambda size: LSTM(size, H), input_size=I, num_layers=2, bidirectional=True)
    outputs, state = net(torch.zeros(0, B, I))
    assert outputs.shape == (0, B, 2 * H)
    assert state.c.shape == (4, B, H)


def network(output="linear", **options):
    return Network(Elman(I, H, bias=False), 2, output=output, **options)


@pytest.mark.parametrize("output", ["linear", "softmax"])
@pytest.mark.parametrize("at", [None, 3, -1, [0, 2]])
def test_network_is_the_lesson(output, at):
    """Scores, outputs and E as written out, and gradients as autograd's through the loop."""
    net = network(output, bias=True)
    x = torch.randn(T, B, I)
    linear = output == "linear"
    d = torch.randn(T, B, 2) if linear else torch.randint(2, (T, B))
    cell, s, errors, ys = net.cell, torch.zeros(B, H), [], []
    for t in range(T):
        s = torch.tanh(x[t] @ cell.Wx + s @ cell.Ws)
        y = s @ net.Wy + net.by
        y = y if linear else y.softmax(-1)
        ys.append(y)
        errors.append(((d[t] - y) ** 2).sum() if linear else -y[range(B), d[t]].log().sum())
    chosen = range(T) if at is None else [at] if isinstance(at, int) else at
    expected = sum(errors[t] for t in chosen) / B
    scores, final = net(x)
    found = net.loss(scores, d, at=at)
    torch.testing.assert_close((net.outputs(scores), final, found), (torch.stack(ys), s, expected))
    gradients = (torch.autograd.grad(e, list(net.parameters())) for e in (found, expected))
    torch.testing.assert_close(*gradients)


def test_network_with_lengths_and_batch_first():
    body = bptt.nn.GRU(I, H, bidirectional=True, batch_first=True)
    net = Network(body, 2, output="softmax")
    x, lengths = torch.randn(B, T, I), torch.tensor([2, 6, 0, 4])
    scores, _ = net(x, lengths=lengths)
    d = torch.randint(2, (B, T))
    losses = nn.functional.cross_entropy(scores.transpose(1, 2), d, reduction="none")
    live = torch.arange(T) < lengths[:, None]
    torch.testing.assert_close(net.loss(scores, d, lengths=lengths), losses[live].sum() / B)
    last = losses[[0, 1, 3], lengths[[0, 1, 3]] - 1].sum() / B
    torch.testing.assert_close(net.loss(scores, d, at=-1, lengths=lengths), last)
    labels = d.gather(1, (lengths - 1).clamp(0)[:, None])[:, 0]
    torch.testing.assert_close(net.loss(scores, labels, at=-1, lengths=lengths), last)
    probabilities = nn.functional.one_hot(d, 2).double()
    torch.testing.assert_close(net.loss(scores, probabilities, at=-1, lengths=lengths), last)


def test_network_ignores_padding():
    net, x, d = network(), torch.randn(T, B, I), torch.randn(T, B, 2)
    for b, length in enumerate(LENGTHS):
        x[length:, b] = d[length:, b] = torch.nan
    scores, _ = net(x, lengths=LENGTHS)
    net.loss(scores, d, lengths=LENGTHS).backward()
    assert all(weight.grad.isfinite().all() for weight in net.parameters())


def test_network_loss_is_stable():
    net = network("softmax")
    scores = torch.tensor([[[1000.0, -1000.0]]], requires_grad=True)
    loss = net.loss(scores, torch.tensor([[1]]))
    loss.backward()
    assert loss == 2000
    assert scores.grad.tolist() == [[[1, -1]]]


@pytest.mark.parametrize("batch_first", [False, True])
def test_network_of_layers(batch_first):
    options = {"input_size": I, **STACKED, "batch_first": batch_first}
    net = Network(Recurrent(lambda size: LSTM(size, H), **options), 3)
    assert net(torch.randn(T, B, I))[0].shape == (T, B, 3)
    assert net.Wy.shape == (2 * H, 3)
    assert Network(Recurrent(GRU(I, H), batch_first=batch_first), 3).Wy.shape == (H, 3)


class Own(nn.Module):
    def forward(self, x, state):
        return torch.tanh(x + state)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: network("logistic"), ArgumentError, "'linear' or 'softmax', got 'logistic'"),
        (lambda: Network(Elman(I, H), 0), ArgumentError, "output_size"),
        (lambda: Network(Own(), 2), ArgumentError, "hidden_size should be given"),
        (lambda: Network(nn.GRU(I, H), 2), CellError, "GRU runs a whole sequence"),
        (lambda: loss(at=T), ArgumentError, "at should be whole numbers from -6 to 5, got 6"),
        (lambda: loss(at=0.5), ArgumentError, "at should be whole numbers"),
        (lambda: loss(torch.zeros(T, B)), ArgumentError, r"shape \(6, 4, 2\) .* got \(6, 4\)"),
        (lambda: loss(torch.zeros(T, B, 1)), ArgumentError, "targets should have shape"),
        (lambda: loss([1, 2]), StructureError, "targets should be a tensor, got a list"),
        (lambda: loss(lengths=[1]), ArgumentError, "lengths: expected one for each of the 4"),
        (lambda: loss(torch.full((T, B), 2), "softmax"), ArgumentError, "from 0 to 1, got 2 to 2"),
    ],
)
def test_network_says_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


def loss(targets=None, output="linear", **options):
    net = network(output)
    targets = torch.zeros(T, B, 2) if targets is None else targets
    return net.loss(net(torch.zeros(T, B, I))[0], targets, **options)
