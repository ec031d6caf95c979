"""Windows of a stream: one long unroll in pieces, and weights that change under it."""

import copy
import io
import os
import runpy
import subprocess
import sys
from pathlib import Path

import lightning
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bptt
from bptt import cells
from bptt.errors import StreamWarning
from bptt.fused import alone
from bptt.remedies import RecurrentDropout, Zoneout
from bptt.streams import alike
from bptt.streams.ring import Reader
from bptt.structure import structure
from bptt.unroll import unroll_window

BACKENDS = ["reference", "cpu"]
CELLS = {
    "Elman": lambda: cells.Elman(2, 4),
    "LSTM": lambda: cells.LSTM(2, 4),
    "torch's GRU": lambda: torch.nn.GRUCell(2, 4),
    "noise": lambda: cells.Leaky(2, 4, noise=0.1),
    "dropout": lambda: RecurrentDropout(cells.GRU(2, 4), 0.3),
    "zoneout": lambda: Zoneout(cells.GRU(2, 4), 0.3),
}


def _windows(total, sizes):
    begin = 0
    while begin < total:
        end = min(total, begin + sizes[begin % len(sizes)])
        yield begin, end
        begin = end


def _weights(*modules):
    return [p for m in modules for p in m.parameters() if p.requires_grad]


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=4, deadline=None, derandomize=True)
@given(
    total=st.integers(1, 40), k1=st.integers(1, 9), more=st.integers(0, 15),
    losses=st.sampled_from(["new", "last"]),
    sizes=st.lists(st.integers(1, 14), min_size=1, max_size=5),
    rule=st.sampled_from(["stale", "recomputed"]), resets=st.booleans(), saved=st.booleans(),
)  # fmt: skip
def test_windows_add_up_to_one_long_unroll(
    backend, cell, total, k1, more, losses, sizes, rule, resets, saved
):
    torch.manual_seed(total)
    cell, encoder, method = (
        CELLS[cell](),
        torch.nn.Linear(3, 2),
        bptt.Truncated(k1, k1 + more, losses),
    )
    x, share = torch.randn(total, 2, 3), torch.randn(total, 2, 4)
    reset = torch.rand(total, 2) < 0.15 if resets else None
    weights = _weights(cell, encoder)

    def stream():
        return bptt.Stream(cell, method, weights=rule, encoder=encoder, backend=backend)

    torch.manual_seed(1)
    one, shown = stream(), []
    for begin, end in _windows(total, sizes):
        window = None if reset is None else reset[begin:end]
        outputs = one(x[begin:end], reset=window, last=end == total)
        (share[begin:end] * outputs).sum().backward()
        shown.append(outputs.detach())
        if saved and end < total:
            one = _reloaded(one, stream())
    found = [w.grad for w in weights]
    torch.manual_seed(1)
    with torch.random.fork_rng():  # what a cell draws once a sequence comes from the stream's seed
        seed = int(torch.empty((), dtype=torch.int64).random_())
    if hasattr(cell, "begin"):
        torch.manual_seed(seed)
        cell.begin(2)
        torch.manual_seed(1)
    given = (Reader(cell, structure(_start(cell))), encoder(x))
    outputs = _long(given, _start(cell), reset, method, backend, seed)
    wanted = torch.autograd.grad((share * outputs).sum(), weights, allow_unused=True)
    torch.testing.assert_close(torch.cat(shown), outputs.detach())
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(torch.zeros_like(b) if a is None else a, b)


def _start(cell):
    return torch.zeros(2, 4) if isinstance(cell, torch.nn.GRUCell) else cell.initial_state(2)


def _long(given, start, reset, method, backend, seed):
    """One unroll, with the stream's own seed for its draws."""
    reader, inputs = given
    leaves = structure(start).flatten(start)
    fresh = None if reset is None else leaves
    asked = (reader, inputs, leaves, None, reset, fresh, False, method, backend)
    (states, *own), _ = unroll_window(asked, method, seed, 0, None)
    return own[0] if own else states[0]


def _reloaded(stream, into):
    file = io.BytesIO()
    torch.save(stream.state_dict(), file)
    file.seek(0)
    into.load_state_dict(torch.load(file, weights_only=True))
    return into


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rule", ["stale", "recomputed"])
@pytest.mark.parametrize(
    ("k1", "k2", "sizes"), [(3, 7, [2, 5, 4]), (4, 4, [4]), (1, 5, [3]), (5, 6, [2])]
)
def test_weights_that_change_within_the_ring(backend, rule, k1, k2, sizes):
    cell = cells.Elman(2, 3)
    x, share = torch.randn(23, 2, 2), torch.randn(23, 2, 3)
    weights = list(cell.parameters())
    stream = bptt.Stream(cell, bptt.Truncated(k1, k2), weights=rule, backend=backend)
    by_hand = {"stale": _Stale, "recomputed": _Recomputed}[rule](cell, x, share, k1, k2)
    for begin, end in _windows(20, sizes):
        outputs = stream(x[begin:end])
        for w in weights:
            w.grad = None
        (share[begin:end] * outputs).sum().backward()
        expected, wanted = by_hand.window(begin, end)
        torch.testing.assert_close(outputs.detach(), expected)
        for w, b in zip(weights, wanted, strict=True):
            torch.testing.assert_close(torch.zeros_like(b) if w.grad is None else w.grad, b)
        with torch.no_grad():
            for w, b in zip(weights, wanted, strict=True):
                w.add_(torch.randn_like(w), alpha=0.1).sub_(b, alpha=0.01)


class _Stale:
    """Each step differentiated by itself, where its state lies."""

    def __init__(self, cell, x, share, k1, k2):
        self.cell, self.x, self.share, self.k1, self.k2 = cell, x, share, k1, k2
        self.states = [torch.zeros(2, 3)]  # before each step

    def window(self, begin, end):
        for t in range(begin, end):
            self.states.append(self.cell(self.x[t], self.states[t]).detach())
        weights = list(self.cell.parameters())
        total = [torch.zeros_like(w) for w in weights]
        for last in self._ends(begin, end):
            d = torch.zeros(2, 3)
            for t in range(last - 1, max(0, last - self.k2) - 1, -1):
                state = self.states[t].clone().requires_grad_()
                seed = d + (self.share[t] if t >= last - self.k1 else 0)
                step = (self.cell(self.x[t], state) * seed).sum()
                *found, d = torch.autograd.grad(step, [*weights, state])
                total = [a + b for a, b in zip(total, found, strict=True)]
        return torch.stack(self.states[begin + 1 : end + 1]), total

    def _ends(self, begin, end):
        return [e for e in range(begin + 1, end + 1) if e % self.k1 == 0]


class _Recomputed(_Stale):
    """Run again from the oldest state that is reached, and differentiated as a whole."""

    def window(self, begin, end):
        ends = self._ends(begin, end)
        first = min([begin, *(max(0, e - self.k2) for e in ends)])
        self.states = self.states[: first + 1]
        for t in range(first, end):
            self.states.append(self.cell(self.x[t], self.states[t]).detach())
        weights = list(self.cell.parameters())
        total = [torch.zeros_like(w) for w in weights]
        for last in ends:
            start = max(0, last - self.k2)
            state, loss = self.states[start], 0.0
            for t in range(start, last):
                state = self.cell(self.x[t], state)
                loss = loss + ((state * self.share[t]).sum() if t >= last - self.k1 else 0.0)
            found = torch.autograd.grad(loss, weights)
            total = [a + b for a, b in zip(total, found, strict=True)]
        return torch.stack(self.states[begin + 1 : end + 1]), total


class Changing(torch.nn.Module):
    """A cell of many things that somebody may change between windows."""

    strength = 1.0

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(4, 4) / 4)
        self.taken, self.drop = torch.nn.Linear(2, 4), torch.nn.Dropout(0.5).eval()
        self.gains, self.slope = [1.0], 1.0

    def initial_state(self, batch_size):
        return self.weight.new_zeros(batch_size, 4)

    def forward(self, x, state):
        drive = self.taken(x) * self.slope + self.drop(state) @ self.weight
        return torch.tanh(drive * self.gains[0]) * self.strength * GLOBAL


GLOBAL = 1.0


def _rebind(cell):
    cell.weight = torch.nn.Parameter(cell.weight.detach() / 2)


def _freeze(cell):
    cell.weight.requires_grad_(False)


def _hook(cell):
    cell.taken.register_forward_hook(lambda module, args, output: output / 2)


def _another_step(cell):
    cell.forward = lambda x, state: Changing.forward(cell, x, state) / 2


CHANGES = {
    "nothing": lambda cell, patch: None,
    "a weight": lambda cell, patch: _rebind(cell),
    "a weight's numbers": lambda cell, patch: cell.weight.data.mul_(0.5),
    "a weight's memory": lambda cell, patch: setattr(cell.weight, "data", cell.weight.data / 2),
    "which weights learn": lambda cell, patch: _freeze(cell),
    "an attribute": lambda cell, patch: setattr(cell, "slope", 0.5),
    "a list": lambda cell, patch: cell.gains.__setitem__(0, 0.5),
    "a class": lambda cell, patch: patch.setattr(Changing, "strength", 0.5),
    "a global": lambda cell, patch: patch.setitem(Changing.forward.__globals__, "GLOBAL", 0.5),
    "training": lambda cell, patch: cell.drop.train(),
    "a hook": lambda cell, patch: _hook(cell),
    "the step": lambda cell, patch: _another_step(cell),
    "a module": lambda cell, patch: setattr(cell, "taken", torch.nn.Linear(2, 4, bias=False)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_between_windows_that_are_alike_is_seen(change, monkeypatch):
    """As if each window were prepared by itself, and its blocks laid out by themselves."""
    prepared = []

    def watched(*given):
        prepared.append(given)
        return unroll_window(*given)

    def run():
        torch.manual_seed(5)
        cell, x = Changing(), torch.randn(6, 8, 2, 2)
        stream, found = bptt.Stream(cell, bptt.Truncated(4, 4), backend="cpu"), []
        with monkeypatch.context() as patch:
            for number, window in enumerate(x):
                if number == 3:
                    short = len(prepared)
                    CHANGES[change](cell, patch)
                outputs = stream(window)
                outputs.square().sum().backward()
                found.append(outputs.detach())
        return short, [*found, *(w.grad for w in cell.parameters() if w.requires_grad)]

    monkeypatch.setattr(alike, "unroll_window", watched)
    short, found = run()
    assert short == 1
    prepared.clear()
    monkeypatch.setattr(alike, "_asked", lambda given: None)
    monkeypatch.setattr(alone, "_is_one_call", lambda laid: False)
    short, wanted = run()
    assert short == 3
    for ours, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, right)


def test_a_stream_is_copied_in_mid_run():
    stream = bptt.Stream(cells.GRU(2, 4), bptt.Truncated(4, 4), backend="cpu")
    x = torch.randn(4, 8, 2, 2)
    for window in x[:3]:
        stream(window).sum().backward()
    other = copy.deepcopy(stream)
    assert torch.equal(stream(x[3]), other(x[3]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_callers_tensors_get_a_gradient_within_the_window_alone(backend):
    stream = bptt.Stream(cells.Elman(2, 3), bptt.Truncated(4, 8), backend=backend)
    start = torch.randn(1, 3, requires_grad=True)
    first, second = (torch.randn(6, 1, 2, requires_grad=True) for _ in range(2))
    stream(first, start).sum().backward()
    before = first.grad.clone()
    assert before[:4].abs().sum() > 0
    assert start.grad.abs().sum() > 0
    assert before[4:].eq(0).all()  # their block ends in the next window
    stream(second).sum().backward()
    assert torch.equal(first.grad, before)
    assert second.grad[:2].abs().sum() > 0


def test_a_window_goes_back_once_and_before_the_next():
    stream = bptt.Stream(cells.Elman(2, 3), bptt.Truncated(4, 8))
    first = stream(torch.randn(6, 1, 2)).sum()
    second = stream(torch.randn(6, 1, 2)).sum()
    with pytest.raises(bptt.errors.BackendError, match="before the next window"):
        first.backward()
    second.backward(retain_graph=True)
    with pytest.raises(bptt.errors.BackendError, match="goes back once"):
        second.backward()


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rule", ["stale", "recomputed"])
def test_autocast_rounds_what_comes_in_and_nothing_inside(backend, half, rule):
    """A layer before the stream gives half precision; what the stream keeps is the cell's own."""
    torch.manual_seed(3)
    cell, encoder, x = cells.GRU(3, 4), torch.nn.Linear(2, 3), torch.randn(3, 5, 2, 2)
    reset, share = torch.rand(3, 5, 2) < 0.2, torch.randn(3, 5, 2, 4)

    def gradients(before, window_of, encoder=None):
        weights = _weights(cell, torch.nn.Identity())
        for weight in weights:
            weight.grad = None
        stream = bptt.Stream(
            cell, bptt.Truncated(2, 7), weights=rule, encoder=encoder, backend=backend
        )
        shown = []
        for window, mask, adjoint in zip(x, reset, share, strict=True):
            with torch.autocast("cpu", half, enabled=before):
                outputs = stream(window_of(window), reset=mask)
            outputs.backward(adjoint)
            shown.append(outputs.detach())
        assert {leaf.dtype for leaf in stream.get_extra_state()["ring"]["states"]} == {torch.float}
        return [*shown, *(weight.grad for weight in weights)]

    def rounded(window):
        with torch.no_grad(), torch.autocast("cpu", half):
            return encoder(window)

    expected = gradients(False, lambda window: rounded(window).float())
    for found in (gradients(True, rounded), gradients(True, lambda window: window, encoder)):
        for ours, right in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, right)


def test_forward_alone_carries_the_state():
    cell, x = cells.LSTM(2, 3), torch.randn(12, 2, 2)
    stream = bptt.Stream(cell, bptt.Truncated(4, 8))
    with torch.no_grad():
        shown = torch.cat([stream(x[:5]), stream(x[5:6]), stream(x[6:])])
        wanted, state = bptt.unroll(cell, x)
    torch.testing.assert_close(shown, wanted)
    torch.testing.assert_close(tuple(stream.state), tuple(state))


X = torch.zeros(4, 2, 2)
BAD = {
    "method": (TypeError, "goes back so many steps", lambda s: bptt.Stream(s.cell, bptt.Full())),
    "rule": (ValueError, "'stale' or", lambda s: bptt.Stream(s.cell, s.method, weights="o")),
    "encoder": (TypeError, "got int", lambda s: bptt.Stream(s.cell, s.method, encoder=3)),
    "batch": (ValueError, "has 2 sequences, got a window of 3", lambda s: s(torch.randn(4, 3, 2))),
    "dtype": (ValueError, "expected windows as before", lambda s: s(torch.randn(4, 2, 2).double())),
    "features": (ValueError, r"\(W, 2, 2\) .* got \(W, 2, 3\)", lambda s: s(X[..., [0] * 3])),
    "structure": (ValueError, "expected windows as before", lambda s: s((X, X))),
    "state": (ValueError, "carries its own", lambda s: s(X, torch.zeros(2, 3))),
    "reset": (ValueError, r"\(4, 2\)", lambda s: s(X, reset=torch.zeros(3, 2).bool())),
    "no mask": (TypeError, "bool", lambda s: s(X, reset=torch.zeros(4, 2))),
    "no steps' features": (ValueError, "time and batch first", lambda s: s(torch.randn(4))),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_the_stream_goes_on(case):
    kind, said, wrong = BAD[case]
    x = torch.randn(8, 2, 2)
    stream = bptt.Stream(cells.Elman(2, 3), bptt.Truncated(3, 5))
    stream(x[:4])
    with pytest.raises(kind, match=said):
        wrong(stream)
    after = stream(x[4:])
    torch.testing.assert_close(after, bptt.unroll(stream.cell, x)[0][4:])


def test_a_first_window_that_fails_has_not_been_taken():
    stream, start = bptt.Stream(cells.Elman(2, 3), bptt.Truncated(3, 5)), torch.randn(2, 3)
    for wrong in (
        {"reset": torch.zeros(4, 2)},
        {"reset_state": torch.zeros(7), "reset": X[..., 0] > 0},
    ):
        with pytest.raises((TypeError, ValueError)):
            stream(X, start, **wrong)
    assert stream.state is None
    torch.testing.assert_close(stream(X, start), bptt.unroll(stream.cell, X, start)[0])


def test_rows_of_documents_go_through_a_stream_as_each_alone():
    documents = [torch.randn(n, 2) for n in (7, 12, 3, 9)]
    cell = cells.GRU(2, 3)
    rows = bptt.streams.lay(documents, batch_size=2, window=5, shuffle=False)
    stream = bptt.Stream(cell, bptt.Truncated(2, 6))
    shown = []
    for window in rows:
        outputs = stream(window.inputs, reset=window.reset)
        shown += outputs[window.mask].detach().tolist()
    alone = [row for d in documents for row in bptt.unroll(cell, d[:, None])[0][:, 0].tolist()]
    torch.testing.assert_close(torch.tensor(sorted(shown)), torch.tensor(sorted(alone)))


EXAMPLE = Path(__file__).parents[1] / "examples" / "lightning_stream.py"


@pytest.mark.filterwarnings("ignore")
def test_lightning_goes_on_in_mid_epoch_to_the_same_losses(tmp_path):
    """Clipped, two windows to an update: the ring holds what weights of then have left."""
    example = runpy.run_path(str(EXAMPLE))
    documents = [example["document"](40 + 9 * n) for n in range(12)]
    inputs, targets = zip(*documents, strict=True)

    def losses(checkpoint=None):
        torch.manual_seed(1 if checkpoint is None else 2)
        listener = example["Listener"]()
        rows = bptt.streams.lay(inputs, targets, batch_size=4, window=25)
        saving = lightning.pytorch.callbacks.ModelCheckpoint(
            tmp_path, "{step}", every_n_train_steps=3, save_top_k=-1
        )
        trainer = lightning.Trainer(
            max_steps=8, accelerator="cpu", logger=False, enable_progress_bar=False,
            enable_model_summary=False, gradient_clip_val=1.0, accumulate_grad_batches=2,
            callbacks=[saving],
        )  # fmt: skip
        trainer.fit(listener, rows, ckpt_path=checkpoint, weights_only=True)
        return listener.losses

    whole = losses()
    assert losses(tmp_path / "step=3.ckpt") == whole[6:]


PROCESSES = """
import runpy, sys
import lightning, torch
import bptt

example = runpy.run_path(sys.argv[1])
devices, folder, begin = int(sys.argv[2]), sys.argv[3], (*sys.argv[4:], None)[0]
torch.manual_seed(0)
documents = [example["document"](40 + 9 * n) for n in range(12)]
inputs, targets = zip(*documents, strict=True)


class Listener(example["Listener"]):
    def train_dataloader(self):
        shard = self.trainer.global_rank, self.trainer.world_size
        return bptt.streams.lay(inputs, targets, batch_size=4, window=25, shard=shard)

    def training_step(self, window):
        states = self.stream(window.inputs, reset=window.reset)
        error = (self.read(states).squeeze(-1) - window.targets).square()
        return error[window.mask].sum() * self.trainer.world_size / 100


listener = Listener()
trainer = lightning.Trainer(
    max_steps=4, accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto",
    logger=False, enable_progress_bar=False, enable_model_summary=False,
    gradient_clip_val=1.0, accumulate_grad_batches=2, callbacks=[
        bptt.streams.KeepStreams(),
        lightning.pytorch.callbacks.ModelCheckpoint(
            folder, "{step}", every_n_train_steps=2, save_top_k=-1
        ),
    ],
)
trainer.fit(listener, ckpt_path=begin, weights_only=True)
"""


@pytest.mark.filterwarnings("ignore")
def test_processes_hear_rows_of_their_own_and_resume(tmp_path):
    """Two processes, clipped, two windows to an update, resumed half-way: one alone's weights."""
    script = tmp_path / "listen.py"
    script.write_text(PROCESSES)

    def listen(devices, folder, *begin):
        words = [script, EXAMPLE, devices, folder, *begin]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *map(str, words)], check=True, env=environment, timeout=180)
        return torch.load(folder / "step=4.ckpt", weights_only=True)["state_dict"]

    one = listen(1, tmp_path / "one")
    for two in (
        listen(2, tmp_path / "two"),
        listen(2, tmp_path / "again", tmp_path / "two" / "step=2.ckpt"),
    ):
        for name, weight in one.items():
            if not name.endswith("_extra_state"):
                torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-6)


def test_a_stream_of_another_process_starts_afresh(monkeypatch):
    saved, other = (bptt.Stream(cells.Elman(2, 3), bptt.Truncated(3, 5)) for _ in range(2))
    saved(X)
    where = saved.state_dict() | {"_extra_state": saved.get_extra_state() | {"process": (1, 2)}}
    with pytest.warns(StreamWarning, match="process 1 of 2 and is loaded by 0 of 1"):
        other.load_state_dict(where)
    assert other.state is None
