"""Data in: no leak, every value counted once, and one clear message for each thing wrong."""

import json
import math
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bptt.errors import ArgumentError, DataError, DataWarning
from bptt.tasks import (
    Batch,
    DataOptions,
    Task,
    datasets,
    fingerprint,
    open_task,
    restore_task,
    take_rows,
    windows,
)
from bptt.tasks.baselines import CharacterCounts
from bptt.tasks.chance import in_blocks, sign_flip_test
from bptt.tasks.classify import Classify
from bptt.tasks.forecast import Forecast
from bptt.tasks.seasons import following, season_of
from bptt.tasks.text import RowBatches, Text

SHIPPED = {d.name: d for d in datasets()}


def wave(rows: int, period: int = 12, level: float = 5.0) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.1, rows)
    return level + np.sin(np.arange(rows) * 2 * np.pi / period) + noise


def write(path: Path, **columns) -> Path:
    pl.DataFrame(columns).write_csv(path)
    return path


def two_series(path: Path, rows: int = 120, **changed) -> Path:
    """Two series one after the other, two targets, a number and a word beside them."""
    columns = {
        "shop": ["a"] * rows + ["b"] * rows,
        "day": [*range(rows), *range(rows)],
        "sold": np.concatenate([wave(rows), wave(rows, level=500.0)]),
        "price": np.concatenate([wave(rows, 7), wave(rows, 9)]),
        "rain": np.random.default_rng(1).normal(size=2 * rows),
        "sky": ["blue", "grey"] * rows,
    }
    return write(path, **columns | changed)


SHOPS = DataOptions(target=("sold", "price"), group="shop", time="day", horizon=3, window=10)


def zeros(task: Task):
    """A network that has learnt nothing."""

    def forward(batch: Batch, state):
        shape = (
            batch.numeric.shape[:2] if task.shape.read == "every step" else (len(batch.targets),)
        )
        return torch.zeros(*shape, task.shape.outputs), state

    return forward


class Network(nn.Module):
    """Embeddings, torch's GRU and a linear read-out."""

    def __init__(self, task: Task, hidden: int = 32) -> None:
        super().__init__()
        shape = task.shape
        self.last = shape.read == "last step"
        self.tables = nn.ModuleList(nn.Embedding(n, 8, padding_idx=0) for n in shape.categories)
        self.rnn = nn.GRU(shape.numeric + 8 * len(shape.categories), hidden)
        self.out = nn.Linear(hidden, shape.outputs)

    def forward(self, batch: Batch, state):
        words = [table(batch.categorical[..., i]) for i, table in enumerate(self.tables)]
        states, state = self.rnn(torch.cat([batch.numeric, *words], -1), state)
        if self.last:
            states = states[batch.lengths - 1, torch.arange(states.shape[1])]
        return self.out(states), state


def train(task: Task, epochs: int, rate: float) -> Network:
    torch.manual_seed(0)
    network, batches = Network(task), task.batches("train", 32)
    optimiser = torch.optim.Adam(network.parameters(), rate)
    for epoch in range(epochs):
        for step in range(len(batches)):
            batch = batches.batch(0, epoch, step)
            total, count = task.loss(network(batch, None)[0], batch)
            optimiser.zero_grad()
            (total / count).backward()
            optimiser.step()
    return network.eval()


# forecast


def test_nothing_after_the_training_part_reaches_what_is_learnt_or_trained_on(tmp_path):
    rows, end = 120, 84  # 70 %
    late = np.arange(2 * rows) % rows >= end
    rng = np.random.default_rng(2)
    changed = {
        "sold": np.where(late, rng.normal(size=2 * rows), np.concatenate([wave(rows)] * 2)),
        "rain": np.where(late, 1e3, 0.5 * np.arange(2 * rows)),
        "sky": np.where(late, "green", np.array(["blue", "grey"] * rows)).tolist(),
    }
    same = {"sold": np.concatenate([wave(rows)] * 2), "rain": 0.5 * np.arange(2 * rows)}
    one = Forecast.open(two_series(tmp_path / "a.csv", **same), SHOPS)
    two = Forecast.open(two_series(tmp_path / "b.csv", **changed), SHOPS)
    assert one.describe() == two.describe()
    for step in range(len(one.batches("train", 32))):
        mine, theirs = (t.batches("train", 32).batch(0, 0, step) for t in (one, two))
        torch.testing.assert_close(mine.numeric, theirs.numeric, rtol=0, atol=0)
        torch.testing.assert_close(mine.targets, theirs.targets, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(mine.categorical, theirs.categorical)


def test_a_forecast_depends_on_no_later_row(tmp_path):
    rows, cut = 120, 110
    plain = wave(rows)
    bent = np.where(np.arange(rows) > cut, 99.0, plain)
    options = DataOptions(target=("y",), horizon=2, window=10)
    tasks = [
        Forecast.open(write(tmp_path / f"{i}.csv", y=y), options)
        for i, y in enumerate((plain, bent))
    ]
    torch.manual_seed(0)
    network = Network(tasks[0])
    drawn = [t.evaluate(network, "test", 7).details["series"][0] for t in tasks]
    known = [i for i, row in enumerate(drawn[0]["time"]) if row <= cut + 1]  # made at row cut
    assert known
    assert len(known) < len(drawn[0]["time"])
    for i in known:
        assert drawn[0]["forecast"][i] == drawn[1]["forecast"][i]
    assert drawn[0]["forecast"][-1] != drawn[1]["forecast"][-1]


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_network_that_learnt_nothing_is_the_last_value_rule(tmp_path, part):
    task = Forecast.open(two_series(tmp_path / "a.csv"), SHOPS)
    verdict = task.evaluate(zeros(task), part, 16)
    assert verdict.metrics == pytest.approx(verdict.baselines["last value"])
    # what has a unit is not averaged over targets
    assert list(verdict.metrics) == ["mase"] + [
        f"{figure}[{name}]" for name in ("sold", "price") for figure in ("mae", "rmse", "mase")
    ]
    assert verdict.headline == "mase"


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(40, 90),
    window=st.integers(1, 12),
    horizon=st.integers(1, 6),
    batch=st.integers(1, 50),
    most=st.sampled_from([5, 40, 8192]),
    part=st.sampled_from(["validation", "test"]),
)
def test_each_value_of_a_part_is_forecast_once_from_each_lead(
    tmp_path_factory, rows, window, horizon, batch, most, part
):
    path = tmp_path_factory.mktemp("rolling") / "a.csv"
    number = np.arange(2 * rows)
    write(path, g=["a"] * rows + ["b"] * rows, y=number**2.0, i=number)
    options = DataOptions(
        target=("y",), group="g", window=window, horizon=horizon, covariates=("i",)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "MOST_WINDOWS", most)
        task = Forecast.open(path, options)
        batches = task.batches(part, batch)
        steps = [batches.batch(0, 0, step) for step in range(len(batches))]
        verdict = task.evaluate(lambda b, s: (b.targets.flatten(2).nan_to_num(7.0), s), part, batch)
    size = task.summary()["split"][part]
    counted = sum(int((~b.targets.isnan()).sum()) for b in steps)
    assert counted == size * horizon
    assert verdict.metrics["mae"] < 1e-3  # the network was told the answers, in float32
    start = rows - (rows - math.floor(0.7 * rows) if part == "validation" else size // 2)
    drawn = verdict.details["series"][0]
    assert drawn["time"] == list(range(start, start + size // 2))
    assert drawn["truth"] == [time**2 for time in drawn["time"]]


def test_changes_of_every_series_target_and_lead_are_of_unit_size_in_training(tmp_path):
    task = Forecast.open(two_series(tmp_path / "a.csv"), SHOPS)
    batches = task.batches("train", 10_000)
    size = batches.batch(0, 0, 0).targets.square().nanmean((0, 1)).sqrt()  # (H, K)
    torch.testing.assert_close(size, torch.ones(3, 2), atol=0.1, rtol=0)


def test_figures_and_baselines_by_hand(tmp_path):
    values = np.tile([1.0, 2.0, 4.0], 40)
    task = Forecast.open(write(tmp_path / "a.csv", y=values), DataOptions(horizon=2, window=6))
    verdict = task.evaluate(zeros(task), "test", 8)
    assert task.learnt.season == 3
    assert verdict.baselines["seasonal naive (3)"]["mae"] == 0
    # 18 values, each 1 and 2 steps ahead; the changes are 1, 2, 3 and 3, 2, 1 in turn
    assert verdict.baselines["last value"]["mae"] == 2.0
    assert verdict.baselines["last value"]["rmse"] == pytest.approx(math.sqrt(14 / 3))
    change = np.abs(np.diff(values[:84])).mean()
    assert verdict.baselines["last value"]["mase"] == pytest.approx(2 / change)
    assert [row["baseline_mae"] for row in verdict.details["horizon"]] == [0, 0]


def test_a_lead_over_the_naive_rule_is_weighed_against_chance(tmp_path):
    values = np.arange(40.0) + np.tile([0.0, 0.5], 20)
    task = Forecast.open(write(tmp_path / "a.csv", y=values), DataOptions(horizon=2, window=6))

    def oracle(batch, state):
        return batch.targets.flatten(2).nan_to_num(7.0), state

    found = [task.evaluate(forward, "test", 8) for forward in (oracle, zeros(task))]
    # seven forecasts from seven origins, the last of a single step: four blocks of two rows
    assert [verdict.chance for verdict in found] == [1 / 2**4, 1.0]
    assert sign_flip_test(np.array([1.0, 1.0, -1.0])) == 0.5
    assert sign_flip_test(np.array([])) == 1.0
    assert math.isnan(sign_flip_test(np.array([1.0, np.nan])))
    rng = np.random.default_rng(0)
    for gains in rng.normal(0.2, 1.0, (5, 12)):  # exact, beside the normal approximation of more
        assert sign_flip_test(gains) == pytest.approx(
            sign_flip_test(np.concatenate([gains, [1e-9]])), abs=0.03
        )
    assert in_blocks(np.ones(7), 2, np.array([0, 0, 0, 1, 1, 1, 1])).tolist() == [2, 1, 2, 2]


@pytest.mark.filterwarnings("error")
def test_a_network_that_gives_nan_is_measured_as_such(tmp_path):
    task = Forecast.open(two_series(tmp_path / "a.csv"), SHOPS)

    def broken(batch, state):
        return zeros(task)(batch, state)[0] * math.nan, state

    verdict = task.evaluate(broken, "test", 16)
    assert verdict.chance is not None
    assert math.isnan(verdict.metrics["mase"])
    assert math.isnan(verdict.chance)
    assert all(math.isnan(row["mae"]) for row in verdict.details["horizon"])
    assert not any(math.isnan(row["baseline_mae"]) for row in verdict.details["horizon"])


def test_the_order_of_windows_is_a_function_of_seed_and_epoch(tmp_path):
    task = Forecast.open(two_series(tmp_path / "a.csv"), SHOPS)

    def epoch(seed, number):
        batches = task.batches("train", 32)
        return torch.cat([batches.batch(seed, number, i).numeric for i in range(len(batches))], 1)

    first, other = epoch(0, 0), epoch(0, 1)
    assert torch.equal(first, epoch(0, 0))
    assert not torch.equal(first, other)
    assert not torch.equal(first, epoch(1, 0))
    by_value = [sorted(e.sum((0, 2)).tolist()) for e in (first, other)]
    assert by_value[0] == pytest.approx(by_value[1])  # the same windows


def test_missing_values_are_dropped_or_filled_and_never_counted(tmp_path):
    values = wave(120)
    values[[90, 115]] = np.nan
    path = write(tmp_path / "a.csv", y=values)
    kinds = {kind: Forecast.open(path, DataOptions(missing=kind)) for kind in ("drop", "fill")}
    assert kinds["drop"].summary()["rows"] == 118
    filled = kinds["fill"]
    assert filled.summary()["rows"] == 120
    assert filled.data.panel.values[115] == values[114]
    drawn = filled.evaluate(zeros(filled), "test", 16).details["series"][0]
    assert 115 not in drawn["time"]
    assert None not in drawn["truth"]


def test_a_restored_forecast_predicts_new_series_and_words(tmp_path):
    path = two_series(tmp_path / "a.csv")
    task = Forecast.open(path, SHOPS)
    torch.manual_seed(0)
    network = Network(task)
    restored = restore_task(json.loads(json.dumps(task.describe())))
    assert isinstance(restored, Forecast)
    assert restored.shape == task.shape
    ahead = restored.predict(network, path)
    assert ahead.columns == ["shop", "day", "lead", "sold", "price"]
    assert ahead["day"].to_list() == [120, 121, 122] * 2
    new = two_series(tmp_path / "b.csv", rows=40, sky=["green"] * 80, shop=["a"] * 40 + ["z"] * 40)
    with pytest.warns(DataWarning, match="'sky' has 'green', which .*: 80 of 80 rows are read as"):
        assert restored.predict(network, new)["shop"].to_list() == ["a"] * 3 + ["z"] * 3
    with pytest.warns(DataWarning):
        loaded = restored.load(new)
    assert loaded.data.rows.categorical.unique().tolist() == [0]
    verdict = loaded.evaluate(zeros(loaded), "test", 16)
    assert verdict.metrics == pytest.approx(verdict.baselines["last value"])
    with pytest.raises(DataError, match="restored without data"):
        restored.summary()


def test_a_horizon_longer_than_what_it_is_measured_on_is_said(tmp_path):
    path = write(tmp_path / "a.csv", y=wave(200))
    task = open_task(path, options=DataOptions(horizon=31, window=25))
    assert "horizon of 31 rows is longer than the 30 rows to measure" in task.summary()["note"]
    assert open_task(path, options=DataOptions(horizon=30, window=25)).summary()["note"] is None
    path = write(tmp_path / "b.csv", y=wave(30))
    with pytest.warns(DataWarning, match=r"b\.csv: a horizon of 31 rows is longer than the 5 rows"):
        task.load(path)


def promotions(path: Path, rows: int, ahead: int) -> Path:
    """Two series that follow a promotion, which is known `ahead` rows farther than they are."""
    promotion = np.random.default_rng(3).random(2 * (rows + ahead)) < 0.3
    sold = wave(len(promotion), 7) + 9.0 * promotion
    here = np.arange(len(promotion)) % (rows + ahead) < rows
    return write(
        path,
        shop=np.repeat(["7", "8"], rows + ahead),
        day=np.tile(np.arange(rows + ahead), 2),
        promotion=promotion.tolist(),
        rain=[str(i % 5) if h else "" for i, h in enumerate(here)],
        sold=[f"{y:.3f}" if h else "" for y, h in zip(sold, here, strict=True)],
    )


PROMOTED = DataOptions(target=("sold",), group="shop", time="day", horizon=3, window=10)


def test_what_is_known_ahead_is_read_at_the_rows_that_are_forecast(tmp_path):
    path, options = promotions(tmp_path / "a.csv", 120, 3), DataOptions(known=("promotion",))
    task = Forecast.open(path, options.over(PROMOTED))
    assert task.summary()["rows"] == 240
    assert task.summary()["columns"]["known"] == ("promotion",)
    table = pl.read_csv(path)
    known = (table["promotion"] - task.learnt.scale.mean[1]) / task.learnt.scale.deviation[1]
    read = task.data.rows.numeric[:, -3:]
    for lead in (1, 2, 3):
        assert read[:120, lead - 1].tolist() == pytest.approx(known.shift(-lead)[:120].to_list())
    network = Network(task)
    assert network(task.batches("train", 8).batch(0, 0, 0), None)[0].shape[-1] == 3
    ahead = task.predict(network, path)
    assert ahead["day"].to_list() == [120, 121, 122] * 2
    assert task.load(path).summary()["split"]["test"] == 240
    with pytest.raises(DataError, match=r"promotion at .* 3 rows must .*; series '7' has 2"):
        task.predict(network, promotions(tmp_path / "b.csv", 50, 2))
    with pytest.raises(DataError, match="column 'sold' has no value in row 121"):
        open_task(path, options=PROMOTED)


def test_knowing_what_is_ahead_helps(tmp_path):
    path = promotions(tmp_path / "a.csv", 100, 0)
    errors = []
    for known in ((), ("promotion",)):
        task = Forecast.open(path, DataOptions(known=known).over(PROMOTED))
        errors.append(task.evaluate(train(task, epochs=12, rate=1e-2), "test", 256).metrics["mae"])
    assert errors[1] < 0.5 * errors[0]


def test_the_calendar_and_the_group_are_inputs_where_asked_for(tmp_path):
    hours = pl.datetime_range(date(2024, 1, 1), date(2024, 1, 31), "1h", eager=True)
    path = tmp_path / "a.csv"
    pl.DataFrame({"at": hours, "y": wave(len(hours), 24)}).write_csv(path)
    task = Forecast.open(path, DataOptions(calendar=True))
    assert task.summary()["calendar"] == ("time of day", "weekday")
    assert task.shape.numeric == 2 + 4
    angle = np.arctan2(*task.data.rows.numeric[:, -4:].numpy().T[[0, 1]]) / (2 * np.pi)
    assert (angle[:30] % 1 * 24).round(3).tolist() == [i % 24 for i in range(30)]
    assert restore_task(json.loads(json.dumps(task.describe()))).shape == task.shape
    task = Forecast.open(
        two_series(tmp_path / "b.csv"), DataOptions(covariates=("shop",)).over(SHOPS)
    )
    assert task.shape.categories == (3,)
    assert task.data.rows.categorical.unique().tolist() == [1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": "rain"}, r"no column 'rain' \(which the model was trained on\)"),
        ({"drop": "sold"}, "no column 'sold'"),
        (
            {"rows": 7},
            r"10 rows of each series are needed.*window of 10; series 'a' has 7 \(1 more",
        ),
    ],
)
def test_new_data_that_do_not_fit_the_model(tmp_path, change, message):
    task = Forecast.open(two_series(tmp_path / "a.csv"), SHOPS)
    path = two_series(tmp_path / "b.csv", rows=change.get("rows", 60))
    pl.read_csv(path).drop(change.get("drop", [])).write_csv(path)
    with pytest.raises(DataError, match=message):
        task.predict(zeros(task), path)


@pytest.mark.parametrize(
    ("every", "season"), [("1h", 24), ("1d", 7), ("1w", 52), ("1mo", 12), ("3mo", 4), ("15m", 96)]
)
def test_the_calendar_tells_the_season_and_what_comes_next(every, season):
    whole = pl.datetime_range(date(2020, 1, 1), date(2030, 1, 1), every, eager=True)
    times, ahead = whole[:30], whole[30:33]
    assert season_of(times, [np.zeros((30,))])[0] == season
    assert following(times, 3).to_list() == ahead.to_list()


def test_irregular_times_have_no_following_ones():
    assert following(pl.Series([1, 2, 4]), 2).to_list() == [None, None]


def test_month_ends_follow_month_ends():
    ends = pl.date_range(date(2023, 1, 1), date(2024, 5, 1), "1mo", eager=True).dt.month_end()
    assert following(ends[:-3], 3).to_list() == ends[-3:].to_list()


# classify


def labelled(path: Path, members: dict[str, int], **more) -> Path:
    """Sequences of 3 to 6 steps of each class."""
    names = [f"{label}{i}" for label, count in members.items() for i in range(count)]
    steps = [3 + i % 4 for i in range(len(names))]
    rows = {
        "id": [n for n, size in zip(names, steps, strict=True) for _ in range(size)],
        "x": [float(i) for size in steps for i in range(size)],
        "kind": [n[0] for n, size in zip(names, steps, strict=True) for _ in range(size)],
    }
    return write(path, **rows | more)


BY_KIND = DataOptions(group="id", label="kind")


def test_each_class_is_in_each_part_and_the_seed_decides_who(tmp_path):
    path = labelled(tmp_path / "a.csv", {"a": 40, "b": 20, "c": 3})
    task, again, other = (Classify.open(path, BY_KIND, seed) for seed in (0, 0, 1))
    assert task.summary()["split"] == {"train": 43, "validation": 10, "test": 10}
    for part in ("train", "validation", "test"):
        assert set(task.data.labels[task.data.parts == part].tolist()) == {0, 1, 2}
    assert (task.data.parts == again.data.parts).all()
    assert (task.data.parts != other.data.parts).any()


def test_batches_are_padded_with_zeros_beyond_their_lengths(tmp_path):
    task = Classify.open(labelled(tmp_path / "a.csv", {"a": 20, "b": 20}), BY_KIND)
    batch = task.batches("train", 8).batch(0, 0, 0)
    lengths = batch.lengths
    assert lengths is not None
    assert batch.numeric.shape == (int(lengths.max()), 8, 1)
    scale = task.learnt.scale
    for b, length in enumerate(lengths.tolist()):
        mine = batch.numeric[:, b, 0] * scale.deviation.item() + scale.mean.item()
        torch.testing.assert_close(mine[:length], torch.arange(length).double(), check_dtype=False)
        assert (batch.numeric[length:, b] == 0).all()


def test_a_published_split_is_kept():
    task = open_task("japanese-vowels")
    split = task.summary()["split"]
    assert split["train"] + split["validation"] == 270
    assert split["test"] == 370
    assert open_task("japanese-vowels", seed=3).summary()["split"] == split


def archive(path: Path, lines: list[str], labels: str = "1 2", **header) -> Path:
    head = {"univariate": "true", "equalLength": "false", "classLabel": f"true {labels}"} | header
    path.write_text("\n".join([*(f"@{k} {v}" for k, v in head.items()), "@data", *lines]))
    return path


def test_archive_files_of_unequal_length_come_in_pairs(tmp_path):
    lines = [",".join("1234"[: 2 + i % 3]) + f":{1 + i % 2}" for i in range(20)]
    path = archive(tmp_path / "A_TRAIN.ts", lines)
    archive(tmp_path / "A_TEST.ts", lines[:7])
    task = open_task(path)
    assert task.name == "classify"
    assert task.summary()["split"] == {"train": 16, "validation": 4, "test": 7}
    assert task.summary()["lengths"] == {"shortest": 2, "longest": 4}
    assert fingerprint(path)["files"] == "A_TRAIN.ts, A_TEST.ts"
    assert fingerprint(path) == fingerprint(tmp_path / "A_TEST.ts")
    restored = restore_task(json.loads(json.dumps(task.describe())))
    loaded = restored.load(tmp_path / "A_TEST.ts")
    assert loaded.summary()["split"]["test"] == 7


def test_a_restored_classifier_needs_no_labels_to_predict(tmp_path):
    path = labelled(tmp_path / "a.csv", {"a": 10, "b": 20})
    task = Classify.open(path, BY_KIND)
    restored = restore_task(json.loads(json.dumps(task.describe())))
    assert isinstance(restored, Classify)
    verdict = restored.load(path).evaluate(zeros(task), "test", 4)
    assert verdict.details == {"labels": ["a", "b"], "confusion": [[10, 0], [20, 0]]}
    assert verdict.metrics["accuracy"] == pytest.approx(1 / 3)
    assert verdict.chance == pytest.approx(1.0, abs=0.1)
    assert verdict.baselines["majority class"]["accuracy"] == pytest.approx(2 / 3)
    pl.read_csv(path).drop("kind").write_csv(tmp_path / "new.csv")
    answer = restored.predict(zeros(task), tmp_path / "new.csv")
    assert answer.columns == ["id", "label", "p[a]", "p[b]"]
    assert answer["p[a]"].to_list() == [0.5] * 30


# text


@settings(max_examples=40, deadline=None)
@given(size=st.integers(2, 300), rows=st.integers(1, 40), window=st.integers(1, 50))
def test_rows_go_on_from_window_to_window_and_each_character_is_a_target_once(size, rows, window):
    codes = np.arange(size)
    batches = RowBatches(codes, rows, window)
    parts = [batches.batch(0, 0, step) for step in range(len(batches))]
    inputs = torch.cat([b.categorical[..., 0] for b in parts])
    targets = torch.cat([b.targets for b in parts])
    live = targets >= 0
    assert sorted(targets[live].tolist()) == list(range(1, size))
    assert (targets[live] == inputs[live] + 1).all()  # the next character
    assert (inputs[1:][live[1:]] == inputs[:-1][live[1:]] + 1).all()  # across windows too
    assert live[0].all()
    assert [b.reset is not None and bool(b.reset[0].all()) for b in parts] == [
        step == 0 for step in range(len(parts))
    ]


def test_text_figures_by_hand(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("ab" * 100 + "é")
    task = Text.open(path, DataOptions(window=8))
    assert task.learnt.vocabulary.characters == "ab"  # é is in the test part alone
    verdict = task.evaluate(zeros(task), "test", 4)
    assert verdict.metrics["bits_per_character"] == pytest.approx(math.log2(3))
    assert verdict.metrics["perplexity"] == pytest.approx(3)
    uniform = CharacterCounts.learn(np.array([1, 2, 1, 2, 1]), 3)
    assert uniform.unigram(np.arange(3)).tolist() == pytest.approx([1 / 8, 4 / 8, 3 / 8])
    after_a = uniform.bigram(np.full(3, 1), np.arange(3))
    assert after_a.sum() == pytest.approx(1.0, abs=0.05)
    assert after_a[2] == pytest.approx((2 + 20 * 3 / 8) / (3 + 20))


def test_a_text_is_shown_by_samples_that_go_on_from_its_test_part(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("to be or not to be é " * 40)
    task = Text.open(path, DataOptions(window=8))
    samples = task.evaluate(zeros(task), "test", 4).details["samples"]
    assert [len(s["text"]) for s in samples] == [240] * 3
    assert all(s["prompt"] and s["prompt"] in path.read_text() for s in samples)
    assert len({s["text"] for s in samples}) == 3
    assert task.evaluate(zeros(task), "validation", 4).details == {}
    path.write_text("b ")  # a prompt is never empty
    assert len(task.load(path).evaluate(zeros(task), "test", 4).details["samples"]) == 3


def test_what_cannot_be_written_is_not_drawn():
    task = open_task("genesis")
    assert isinstance(task, Text)
    scores = torch.zeros(1, 1, task.shape.outputs)
    scores[..., 0], scores[..., 5] = 100.0, 50.0  # unknown first, then the fifth character
    for temperature in (0.0, 1.0):
        written = task.generate(lambda batch, state: (scores, state), "a", 8, temperature)
        assert written == task.learnt.vocabulary.characters[4] * 8


def test_generation_follows_seed_and_temperature(tmp_path):
    task = open_task("genesis")
    assert isinstance(task, Text)
    torch.manual_seed(0)
    network = Network(task)
    restored = restore_task(json.loads(json.dumps(task.describe())))
    assert isinstance(restored, Text)
    one = restored.generate(network, "And God", 30, 1.0, seed=1)
    assert len(one) == 30
    assert one == task.generate(network, "And God", 30, 1.0, seed=1)
    assert one != task.generate(network, "And God", 30, 1.0, seed=2)
    greedy = [task.generate(network, "And God", 30, 0.0, seed=seed) for seed in (1, 2)]
    assert greedy[0] == greedy[1]
    with pytest.warns(DataWarning, match="prompt has '日', '本', .*: 2 of 3 characters"):
        assert len(task.generate(network, "日本 ", 5)) == 5
    with pytest.raises(ArgumentError, match="at least one character"):
        task.generate(network, "", 5)


# all tasks


@pytest.mark.parametrize("name", ["sunspots", "japanese-vowels", "genesis"])
@pytest.mark.parametrize("world", [2, 5, 40])
def test_the_shares_of_a_batch_are_the_batch(name, world):
    task = open_task(name)
    batch = task.batches("train", 32).batch(0, 0, 0)
    torch.manual_seed(0)
    network = Network(task)
    whole, count = task.loss(network(batch, None)[0], batch)
    sums, counts, rows = 0.0, 0, 0
    for rank in range(world):
        share = take_rows(batch, rank, world)
        rows += share.numeric.shape[1]
        if share.numeric.shape[1]:
            total, terms = task.loss(network(share, None)[0], share)
        else:
            empty = torch.zeros(0, task.shape.outputs)
            every = torch.zeros(len(share.numeric), 0, task.shape.outputs)
            total, terms = task.loss(empty if task.shape.read == "last step" else every, share)
            assert (float(total), terms) == (0.0, 0)
        sums, counts = sums + float(total.detach()), counts + terms
    assert rows == batch.numeric.shape[1]
    assert counts == count
    assert sums == pytest.approx(float(whole.detach()), rel=1e-5)


def test_a_network_beats_the_naive_rules():
    forecast = open_task("elnino")
    verdict = forecast.evaluate(train(forecast, epochs=8, rate=1e-2), "test", 256)
    assert len(verdict.baselines) == 2
    assert verdict.metrics["mae"] < 0.85 * min(rule["mae"] for rule in verdict.baselines.values())
    vowels = open_task("japanese-vowels")
    verdict = vowels.evaluate(train(vowels, epochs=12, rate=1e-2), "test", 256)
    assert verdict.metrics["accuracy"] > 0.9 > verdict.baselines["majority class"]["accuracy"]


@pytest.mark.parametrize("name", SHIPPED)
def test_each_shipped_data_set_opens_and_says_where_it_is_from(name):
    shipped = SHIPPED[name]
    task = open_task(name)
    assert task.name == shipped.task
    assert min(task.summary()["split"].values()) > 0
    json.dumps(task.summary())
    assert any(word in shipped.provenance for word in ("public domain", "CC BY"))
    assert shipped.file.stat().st_size < 300_000


def test_without_data_the_default_of_the_task_is_opened():
    assert open_task().summary()["data"] == "elnino.csv"
    assert open_task(task="classify").summary()["data"] == "japanese-vowels.parquet"


def test_a_fingerprint_tells_changed_data(tmp_path):
    path = write(tmp_path / "a.csv", y=wave(50))
    before = fingerprint(path)
    assert before == fingerprint(path)
    write(path, y=wave(50) + 1e-9)
    assert fingerprint(path) != before


# what is wrong with the data

NUMBERS = {"t": [str(i) for i in range(100)], "y": [f"{v:.3f}" for v in wave(100)]}
Y = DataOptions(target=("y",), time="t")
YEARS = [f"{1900 + i}-01-01" for i in range(100)]
TWO = ["a"] * 85 + ["b"] * 15
DAYS = pl.date_range(date(2020, 1, 1), date(2020, 4, 9), eager=True).cast(pl.String).to_list()


def spoilt(column: str, row: int, cell: str) -> dict[str, list[str]]:
    """NUMBERS with one cell (rows count from 1) put wrong."""
    cells = list(NUMBERS[column])
    cells[row - 1] = cell
    return {**NUMBERS, column: cells}


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (NUMBERS, {"target": ("Y",)}, r"no column 'Y' \(--target\). Did you mean 'y'"),
        (NUMBERS, {"target": ("sold",)}, r"no column 'sold' \(--target\). It has 't', 'y'"),
        (NUMBERS, {"target": ("t",)}, "'t' cannot be --target and --time at once"),
        (NUMBERS, {"window": 90}, "there are 70; a window of 90 .* take --window 69 or less"),
        (NUMBERS, {"horizon": 80}, "smaller --horizon"),
        (NUMBERS, {"known": ("y",)}, "'y' cannot be --target and --known at once"),
        (NUMBERS, {"covariates": ("y",)}, "'y' cannot be --target and --covariates at once"),
        (NUMBERS, {"calendar": True}, "--calendar needs dates, .* ordered by numbers"),
        ({"t": YEARS, "y": NUMBERS["y"]}, {"calendar": True}, "nothing to tell: .* 25202 days"),
        (NUMBERS, {"label": "t"}, "--target means nothing to a classify task"),
        ({k: v[:8] for k, v in NUMBERS.items()}, {}, "too few rows.* there are 5; .*need 9"),
        ({k: [] for k in NUMBERS}, {}, "a header but no rows"),
        (spoilt("y", 7, "abc"), {}, "target 'y' must hold numbers, .*; row 7 holds 'abc'"),
        (spoilt("y", 7, ""), {}, "column 'y' has no value in row 7.*--missing fill"),
        (spoilt("y", 7, "NA"), {}, "column 'y' has no value in row 7"),
        (spoilt("y", 7, "nan"), {}, "column 'y' has no value in row 7"),
        (spoilt("y", 7, "inf"), {}, "column 'y' has inf in row 7"),
        (spoilt("y", 7, "1e200"), {}, r"column 'y' has 1e\+200, which is too large, in row 7"),
        ({**NUMBERS, "w": [""] * 100}, {}, "column 'w' holds nothing. .*--covariates"),
        ({**NUMBERS, "g": NUMBERS["t"]}, {"group": "g"}, "each row is a series of its own"),
        (spoilt("t", 7, "x"), {}, "time column 't' holds numbers, but row 7 holds 'x'"),
        ({**NUMBERS, "w": ["rain"] * 100}, {"target": ("w",)}, "none, but 'rain' .*: 'y'. "),
        (spoilt("t", 7, ""), {}, "column 't' has no value in row 7"),
        (spoilt("t", 7, "5"), {}, "row 7 has 5 again.*duplicate"),
        (spoilt("t", 7, "99"), {}, "row 8 has 7 after 99. Sort the file"),
        ({**NUMBERS, "t": ["01/02/2020"] * 100}, {}, "dates such as 2024-01-31"),
        ({**NUMBERS, "c": [*NUMBERS["t"][:-1], "?"]}, {}, "column 'c' .* row 100 holds"),
        ({k: v * 2 for k, v in NUMBERS.items()}, {}, "row 101 has 0 after 99"),
        ({"g": TWO, **NUMBERS}, {"group": "g", "window": 20}, "series 'b' has 10"),
        ({"g": ["a", "b"] * 50, **spoilt("t", 7, "4")}, {"group": "g"}, "of g 'a'; row 7 has 4"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_forecast_says_why(tmp_path, columns, options, message):
    path = write(tmp_path / "a.csv", **columns)
    options = DataOptions(**options).over(Y)
    with pytest.raises(DataError, match=message):
        open_task(path, options=options)


OTHER_DATES = ["31.12.2020 17:00"] * 100


@pytest.mark.parametrize(
    ("dates", "named", "unnamed"),
    [
        ([*DAYS[:6], "2020-02-30", *DAYS[7:]], "row 7 holds '2020-02-30'. Mend", "but row 7 holds"),
        ([*DAYS[:6], "2020-1-7", *DAYS[7:]], "'d' holds dates, but row 7 holds", "but row 7 holds"),
        (OTHER_DATES, "dates such as 2024-01-31", "looks like dates .* Write it as 2024-01-31"),
    ],
)
def test_cells_that_are_no_dates_are_named_and_no_others(tmp_path, dates, named, unnamed):
    path = write(tmp_path / "a.csv", d=dates, y=NUMBERS["y"])
    for time, message in (("d", named), (None, unnamed)):
        with pytest.raises(DataError, match=message):
            open_task(path, options=DataOptions(target=("y",), time=time))


def test_what_a_spreadsheet_leaves_in_a_file_does_no_harm(tmp_path):
    days = [day.replace("-", "") for day in DAYS]  # dates as whole numbers
    rows = [f"{i},{day},{y}," for i, (day, y) in enumerate(zip(days, NUMBERS["y"], strict=True))]
    (tmp_path / "a.csv").write_text("\ufeff,day , y,\r\n" + "\r\n".join(rows) + "\r\n\r\n,,,\r\n")
    task = open_task(tmp_path / "a.csv")
    assert task.summary()["rows"] == 100
    assert task.summary()["columns"] == {"targets": ("y",), "time": "day"}
    assert task.learnt.season_from == "the time step of a day"


def test_the_target_is_asked_for_only_where_there_is_a_choice(tmp_path):
    path = write(tmp_path / "a.csv", **NUMBERS)
    with pytest.raises(DataError, match=r"with --target\. Numeric columns: 't', 'y'"):
        open_task(path)
    assert open_task(path, options=DataOptions(time="t")).summary()["columns"]["targets"] == ("y",)
    path = write(tmp_path / "a.csv", y=["1", "2", "three", "4"] * 25)
    with pytest.raises(DataError, match="target 'y' must hold numbers"):
        open_task(path)
    path = write(tmp_path / "a.csv", y=["$1.50"] * 100)
    with pytest.raises(DataError, match=r"no column holds any: 'y' holds '\$1.50' and the like"):
        open_task(path)


def test_covariates_may_be_chosen_with_commas_or_none_at_all(tmp_path):
    notes = [f"note {i}" for i in range(240)]
    path = two_series(tmp_path / "a.csv", note=notes)
    with pytest.raises(DataError, match=r"240 different words in 240 rows.*--covariates"):
        open_task(path, options=SHOPS)
    some = open_task(path, options=DataOptions(covariates=("rain,sky",)).over(SHOPS))
    assert (some.shape.numeric, some.shape.categories) == (5, (3,))
    none = open_task(path, options=DataOptions(covariates=("none",)).over(SHOPS))
    assert (none.shape.numeric, none.shape.categories) == (4, ())


SEQUENCES = {
    "id": [f"{i // 4}" for i in range(80)],
    "x": [f"{i % 7}" for i in range(80)],
    "kind": ["ab"[i // 4 % 2] for i in range(80)],
}


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        ({}, {"label": "kin"}, r"no column 'kin' \(--label\). Did you mean 'kind'"),
        ({}, {"group": None}, "tells the sequences apart with --group; a row is one step of one"),
        ({}, {"group": "kind"}, "'kind' cannot be --group and --label at once"),
        ({"kind": ["a"] * 80}, {}, "two classes at least"),
        ({"kind": ["c"] * 4 + SEQUENCES["kind"][4:]}, {}, "class 'c' has a single sequence"),
        ({"kind": ["b", *SEQUENCES["kind"][1:]]}, {}, "id '0' begins with 'b' .* 'a' in row 2"),
        ({"kind": ["", *SEQUENCES["kind"][1:]]}, {}, "column 'kind' has no value in row 1"),
        ({"p": ["test"] * 80}, {"split": "p"}, "marks no sequence as train"),
        ({"p": ["tran"] * 80}, {"split": "p"}, "must hold train, validation, test; .*'tran'"),
    ],
)  # fmt: skip
def test_sequences_that_cannot_be_classified_say_why(tmp_path, changed, options, message):
    path = write(tmp_path / "a.csv", **SEQUENCES | changed)
    options = {"group": "id", "label": "kind"} | options
    with pytest.raises(DataError, match=message):
        open_task(path, options=DataOptions(**options))


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        (
            ["1,2:3,4:1", "1,2:3:2"],
            {"univariate": "false"},
            "line 6: .* dimension 1 has 2, dimension 2 has 1",
        ),
        (["1,2:3,4:1", "1,2:2"], {"univariate": "false"}, "line 6: expected 2 dimensions .* got 1"),
        (["1,x:1"], {}, "line 5: dimension 1 must hold numbers.*'x'"),
        (["1,2:7"], {}, "line 5: the label '7' is not among"),
        (["1,2"], {}, "line 5: .*found no colon"),
        ([], {}, "no sequence after its @data"),
        (["1,2:1", "1:2"], {"equalLength": "true"}, "line 6: .*@equalLength true.* has 1"),
        (["1,2:3,4:1"], {}, "line 5: .*@univariate true.* has 2 dimensions"),
        (["1,2:1"], {"dimensions": "3"}, "line 6: .*@dimensions 3.* has 1 of them"),
        (["1,2:1"], {"dimension": "two"}, "line 6: .*@dimension two.* has 1 of them"),
        (["1,2:1"], {"equalLength": "true", "seriesLength": "9"}, "@serieslength 9.* has 2 steps"),
        (["1,?:1", "1,2:2"], {}, "column 'dimension_1' has no value in line 5"),
        (["1,2:1"], {"clasLabel": "true"}, "line 4: .*Did you mean '@classlabel'"),
        (["(0,1):1"], {"timeStamps": "true"}, "@timeStamps true is not read"),
        (["1,2:1"], {"classLabel": "false"}, "has no class labels"),
    ],
)
def test_a_broken_archive_names_the_line(tmp_path, lines, header, message):
    path = archive(tmp_path / "a.ts", lines, **header)
    with pytest.raises(DataError, match=message):
        open_task(path)


@pytest.mark.parametrize(
    ("name", "content", "task", "message"),
    [
        ("a.csv", None, None, "There is no file .*a.csv"),
        ("a.csv", b"", None, "is empty"),
        ("a.csv", b"t,y\n1,\xff\n", None, "not UTF-8: byte 6 .* line 2"),
        ("a.csv", b"t,y\n1,2\n3,4,5\n", None, "line 3 has 3 fields, the header has 2"),
        ("a.csv", b"t;y\n1;2\n", None, "separated by ';'"),
        ("a.csv", b"t;y\n1;2,5\n", None, "separated by ';'"),
        ("a.csv", b"2024-01-01,2.5\n2024-01-02,3\n", None, "line 1; it holds 2024-01-01, 2.5"),
        ("a.csv", b't,y\n1,2\n2,"3\n3,4\n', None, "a quotation mark on line 3 stands within"),
        ("a.csv", b"t,y,\n1,2,\n3,4,5\n", None, "column 3 has no name in the header"),
        ("a.csv", b"t,y,y\n1,2,3\n", None, "columns 2 and 3 of the header are both called 'y'"),
        ("a.parquet", b"not parquet at all", None, "not a readable Parquet file"),
        ("a.xlsx", b"PK", None, "got .xlsx. To read any file as a text, add --task text"),
        ("a.ts", b"@data", "forecast", "a forecast task reads .csv"),
        ("a.txt", b"abc\xff" * 50, None, "not UTF-8: byte 3"),
        ("a.txt", b"abc", None, "has 3 characters; 100 are needed"),
        ("a.csv", b"t,y\n", "gues", "--task must be one of"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, name, content, task, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_task(tmp_path / name, task)


def test_what_is_neither_file_nor_data_set(tmp_path):
    with pytest.raises(DataError, match="is a directory"):
        open_task(tmp_path)
    with pytest.raises(DataError, match="Did you mean 'sunspots'"):
        open_task("sunspot")
    (tmp_path / "weather.csv").write_text("y")
    for name, hint in (
        ("weathr.csv", "weather.csv'"),
        ("weather", "weather.csv'"),
        ("xyz.csv", ""),
    ):
        with pytest.raises(DataError) as error:
            open_task(tmp_path / name)
        assert str(error.value).count("Did you mean") == bool(hint)
        assert hint in str(error.value)
    with pytest.raises(DataError, match="sunspots is for --task forecast"):
        open_task("sunspots", "text")


@pytest.mark.parametrize(
    ("option", "value"), [("horizon", 0), ("window", -1), ("season", 0), ("missing", "ignore")]
)
def test_options_out_of_range(option, value):
    with pytest.raises(DataError, match=f"--{option} must be .*; got"):
        DataOptions(**{option: value})
