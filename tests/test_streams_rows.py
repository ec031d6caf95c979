"""Rows of a batch: every step once, in its sequence's order, and the state where it belongs."""

import json
from itertools import islice

import lightning.pytorch as lightning
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

import bptt
from bptt.errors import ArgumentError, StructureError
from bptt.streams import lay


def corpus(lengths):
    """Sequences whose steps are all different numbers."""
    return list(torch.arange(1, sum(lengths) + 1).split(list(lengths)))


def read(windows):
    """What each row holds, live steps alone, as lists of (number, whether it begins afresh)."""
    rows = [[] for _ in windows[0].lengths]
    for window in windows:
        for row, live in enumerate(window.lengths.tolist()):
            pairs = zip(window.inputs[:, row].tolist(), window.reset[:, row].tolist(), strict=True)
            rows[row] += list(pairs)[:live]
    return rows


def pieces(rows):
    """The rows cut where something begins afresh."""
    found = []
    for row in rows:
        for number, fresh in row:
            if fresh:
                found.append([])
            found[-1].append(number)
    return sorted(found)


@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=12).filter(any),
    window=st.integers(1, 9),
    longest=st.none() | st.integers(1, 5),
    shuffle=st.booleans(),
    epoch=st.integers(0, 3),
    data=st.data(),
)
def test_every_step_is_read_once_and_padding_is_at_the_ends(
    lengths, window, longest, shuffle, epoch, data
):
    sequences = corpus(lengths)
    wanted = [p.tolist() for s in sequences if len(s) for p in s.split(longest or len(s))]
    size = data.draw(st.integers(1, len(wanted)))
    given = {"batch_size": size, "window": window, "longest": longest, "shuffle": shuffle}
    laid = lay(sequences, [2 * s for s in sequences], **given)
    laid.set_epoch(epoch)
    windows = list(laid)
    assert len(windows) == len(laid)
    assert pieces(read(windows)) == wanted
    ends = torch.stack([w.lengths for w in windows])
    full = torch.tensor([len(w.reset) for w in windows])[:, None]
    assert (ends[:-1][ends[1:] > 0] == full[:-1].expand_as(ends[1:])[ends[1:] > 0]).all()
    for w in windows:
        assert w.inputs.shape == w.targets.shape == w.reset.shape == w.mask.shape
        assert torch.equal(w.targets, 2 * w.inputs)
        assert torch.equal(w.mask, w.inputs > 0)
        assert not (w.reset & ~w.mask).any()
    assert windows[-1].mask.any()
    assert laid.filled == sum(lengths) / sum(len(w.reset) * size for w in windows)


def test_rows_are_of_about_equal_length():
    lengths = torch.randint(1, 200, (300,)).tolist()
    laid = lay(corpus(lengths), batch_size=16, window=64)
    assert laid.filled > 0.98


def test_the_state_carries_on_and_is_cut_at_borders(double):
    """Window by window, over three epochs, gives what every sequence gives alone."""
    cell = bptt.cells.GRU(2, 3)
    numbers = corpus([5, 1, 14, 3, 0, 9, 2])
    features = [torch.randn(len(n), 2) for n in numbers]
    alone = torch.zeros(sum(map(len, numbers)) + 1, 3)
    for n, x in zip(numbers, features, strict=True):
        alone[n] = bptt.unroll(cell, x[:, None])[0][:, 0]
    laid, state, seen = lay(features, numbers, batch_size=3, window=4), None, []
    for _ in range(3):
        for w in laid:
            outputs, state = bptt.unroll(cell, w.inputs, state, reset=w.reset, lengths=w.lengths)
            torch.testing.assert_close(outputs[w.mask], alone[w.targets[w.mask]])
            seen += w.targets[w.mask].tolist()
    assert sorted(seen) == sorted(3 * list(range(1, len(alone))))


def test_sequences_may_be_pytrees():
    trees = [{"x": torch.randn(n, 2), "day": (torch.arange(n),)} for n in (4, 3)]
    (window,) = lay(trees, batch_size=2, window=9, shuffle=False)
    assert window.inputs["x"].shape == (4, 2, 2)
    assert window.inputs["day"][0].T.tolist() == [[0, 1, 2, 3], [0, 1, 2, 0]]
    assert window.targets is None


def same(some, others):
    return len(some) == len(others) and all(
        all(torch.equal(a, b) for a, b in zip(x, y, strict=True) if a is not None)
        for x, y in zip(some, others, strict=True)
    )


LENGTHS = [7, 3, 30, 12, 5, 5, 21, 8, 1, 16]


def make(**changes):
    return lay(corpus(LENGTHS), **{"batch_size": 3, "window": 6, "seed": 4, **changes})


def test_the_order_is_a_function_of_seed_and_epoch():
    epochs = [[make().at(epoch, p) for p in range(len(make()))] for epoch in range(3)]
    assert not same(epochs[0], epochs[1])
    assert not same(epochs[0], [make(seed=5).at(0, p) for p in range(len(make()))])
    before, laid = torch.get_rng_state(), make()
    assert all(same(list(laid), epoch) for epoch in epochs)
    assert torch.equal(torch.get_rng_state(), before)
    assert pieces(read(list(make(shuffle=False)))) == pieces(read(epochs[2]))


@pytest.mark.parametrize("stop", [0, 1, 4, "end", "end and 2"])
def test_a_stopped_reading_goes_on_where_it_stood(stop):
    laid, whole = make(), []
    for _ in range(3):
        whole += list(laid)
    first = make()
    steps = {"end": len(first), "end and 2": len(first) + 2}.get(stop, stop)
    begun = list(islice(first, steps))
    begun += list(islice(first, steps - len(begun)))
    state = json.loads(json.dumps(first.state_dict()))
    torch.save(state, "/dev/null")
    other = make()
    other.load_state_dict(state)
    while len(begun) < len(whole):
        begun += list(other)
    assert same(begun, whole)
    assert other.state_dict() == laid.state_dict()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataloader_gives_the_windows_in_their_order(workers):
    laid = make()
    loader = DataLoader(laid, batch_size=None, num_workers=workers)
    assert len(loader) == len(laid)
    for epoch in range(2):
        laid.set_epoch(epoch)
        assert same(list(loader), [laid.at(epoch, p) for p in range(len(laid))])


def test_processes_share_the_rows():
    shares = [list(make(shard=(rank, 2))) for rank in range(2)]
    for whole, *parts in zip(make(), *shares, strict=True):
        for name in ("inputs", "reset"):
            both = getattr(whole, name)
            for rank, part in enumerate(parts):
                assert torch.equal(getattr(part, name), both[:, rank::2])
        assert torch.equal(parts[1].lengths, whole.lengths[1::2])


class Reader(lightning.LightningModule):
    """Remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(())), []

    def training_step(self, window, index):
        self.seen.append(window)
        return self.weight * window.mask.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters())


def fit(laid, folder, checkpoint=None, **limits):
    """Train for three epochs; what was seen."""
    module = Reader()
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        callbacks=[ModelCheckpoint(folder, "{step}", save_top_k=-1, **limits)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, laid, ckpt_path=checkpoint)
    return module.seen


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_lightning_takes_rows_as_they_are_and_resumes_within_an_epoch(tmp_path):
    laid = make()
    whole = fit(laid, tmp_path, every_n_train_steps=3)
    assert same(whole, [laid.at(e, p) for e in range(3) for p in range(len(laid))])
    assert len(laid) == 7
    for steps in 6, 9:
        assert same(fit(make(), tmp_path, tmp_path / f"step={steps}.ckpt"), whole[steps:])
    fit(make(), tmp_path / "ends", every_n_epochs=1)
    assert same(fit(make(), tmp_path, tmp_path / "ends" / "step=7.ckpt"), whole[7:])


ONE = [torch.zeros(4, 2)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sequences": torch.zeros(4, 2)}, "One sequence alone is a list of one"),
        ({"sequences": []}, "sequences: expected one sequence at least, got none"),
        ({"sequences": [[1, 2]]}, r"sequences\[0\]: expected a tensor .*torch.as_tensor"),
        ({"sequences": [*ONE, torch.zeros(4, 3)]}, r"sequences\[1\]: .*\(T, 2\).*\(T, 3\)"),
        ({"sequences": [*ONE, torch.zeros(4, 2).int()]}, r"float32 .*got .*int32"),
        ({"sequences": [(torch.zeros(3), torch.zeros(2))]}, r"sequences\[0\]: .* one length"),
        ({"targets": []}, "targets: expected one sequence at least"),
        ({"targets": [*ONE, *ONE]}, "targets: expected one for each of 1 sequences, got 2"),
        ({"targets": [torch.zeros(3)]}, r"targets\[0\]: expected as many steps .*, 4, got 3"),
        ({"batch_size": 2}, "at most a row for each of the 1 sequences .*longest="),
        ({"batch_size": 0}, "batch_size: expected 1 or more, got 0"),
        ({"window": 2.5}, "window: expected a whole number, got 2.5"),
        ({"seed": -1}, "seed: expected 0 or more"),
        ({"longest": 0}, "longest: expected 1 or more"),
        ({"shard": (1, 1)}, "shard: expected a rank below world"),
        ({"shard": 3}, r"shard: expected a pair \(rank, world\)"),
    ],
)
def test_a_mistake_names_the_argument(given, message):
    with pytest.raises((ArgumentError, StructureError), match=f"(?s){message}"):
        lay(**{"sequences": ONE, "batch_size": 1, "window": 2, **given})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 7}, "it was made with window 7, and these rows have 6"),
        ({"seed": None}, "seed None, and these rows have 4"),
        ({"position": 99}, "a position up to 7, got 0 and 99"),
    ],
)
def test_a_state_of_other_rows_is_refused(change, message):
    with pytest.raises(ArgumentError, match=message):
        make().load_state_dict({**make().state_dict(), **change})
    with pytest.raises(ArgumentError, match="which has 'batch_size' too"):
        make().load_state_dict({"epoch": 0, "position": 0})
