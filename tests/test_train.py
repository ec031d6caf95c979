"""Training: the same numbers however a run was cut up or spread, and files that can be trusted."""

import csv
import errno
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from bptt.errors import ArgumentError, CellError, DataError, RunError
from bptt.folder import files
from bptt.report import write_report
from bptt.tasks import Batch, DataOptions, NetworkShape
from bptt.train import course
from bptt.train.breakdown import Breakdown
from bptt.train.cells import NAMED, make_cell
from bptt.train.checkpoint import load_checkpoint, save_checkpoint
from bptt.train.clipping import Clipping
from bptt.train.config import NetworkOptions, TrainingOptions
from bptt.train.fit import conclude, fit
from bptt.train.interrupt import Stopped
from bptt.train.job import new_job
from bptt.train.lock import Lock
from bptt.train.model import load_model
from bptt.train.network import Network
from bptt.train.resume import resumed_job
from bptt.train.run import Run, make_run
from bptt.train.screen import Screen

STEPS = {"forecast": 13, "classify": 5, "text": 11}  # in two epochs and a part of a third


class Killed(BaseException):
    """Nothing catches it: what is on disk then is what a kill would leave."""


@pytest.fixture
def data(tmp_path):
    """Small files for each task; series and sequences need shuffling, sequences are ragged."""
    generator = torch.Generator().manual_seed(1)
    wave = torch.arange(150).mul(0.4).sin() + 0.3 * torch.randn(150, generator=generator)
    (tmp_path / "forecast.csv").write_text("y\n" + "\n".join(f"{v:.4f}" for v in wave.tolist()))
    rows = ["id,kind,x"]
    for number in range(40):
        rows += [f"{number},{'ab'[number % 2]},{number % 2 + k / 9}" for k in range(3 + number % 5)]
    (tmp_path / "classify.csv").write_text("\n".join(rows))
    (tmp_path / "text.txt").write_text("the cat sat on the mat, and that was that. " * 40)
    return tmp_path


def job_for(data, task, out, **changes):
    options = {
        "forecast": DataOptions(window=12),
        "classify": DataOptions(label="kind", group="id"),
        "text": DataOptions(window=20),
    }[task]
    network = NetworkOptions(cell=changes.pop("cell", "gru"), hidden=5, layers=2, dropout=0.3)
    recipe = {"batch_size": 16, "epochs": 3, "checkpoint_every": 0.0, "clip": 0.5, **changes}
    file = next(data.glob(f"{task}.*"))
    return new_job(str(file), None, options, network, TrainingOptions(**recipe), out=data / out)


def train(job):
    fit(job, Screen(Console(quiet=True)))
    return job.run


def numbers(run):
    """Everything that a run leaves, but for the time it took."""
    rows = [row[:2] + row[3:] for row in csv.reader(run.metrics.read_text().splitlines())]
    last = load_checkpoint(run.checkpoint)
    weights = [*load_file(run.weights).items(), *last["weights"].items()]
    return rows, [(name, tensor.tolist()) for name, tensor in weights]


def call_at_step(monkeypatch, step, what):
    """Call `what` right after the row of a step was written, before its checkpoint."""
    add_step = course.MetricsFile.add_step

    def stopping(self, state, *args):
        add_step(self, state, *args)
        if state.position.done == step:
            what()

    monkeypatch.setattr(course.MetricsFile, "add_step", stopping)


def kill():
    raise Killed


@pytest.mark.parametrize(
    ("task", "checkpoint_every", "method"),
    [
        ("forecast", 0.0, "full"),
        ("classify", 0.0, "full"),
        ("text", 0.0, "truncated:3,7"),
        ("text", 1e9, "full"),
    ],
)
def test_a_killed_run_resumes_to_the_numbers_of_an_unbroken_one(
    data, monkeypatch, task, checkpoint_every, method
):
    whole = numbers(train(job_for(data, task, "whole", method=method)))
    with monkeypatch.context() as patch:
        call_at_step(patch, STEPS[task], kill)
        with pytest.raises(Killed):
            train(job_for(data, task, "cut", checkpoint_every=checkpoint_every, method=method))
    resumed = resumed_job(data / "cut", None, None)
    assert resumed.state.position.done == (STEPS[task] - 1 if checkpoint_every == 0 else 0)
    torch.rand(3)  # what the process drew before must not matter
    assert numbers(train(resumed)) == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_after_the_step_and_resuming_goes_on_from_there(data, monkeypatch, number):
    whole = numbers(train(job_for(data, "classify", "whole")))
    with monkeypatch.context() as patch:
        call_at_step(patch, 3, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Stopped) as stopped:
            train(job_for(data, "classify", "cut", checkpoint_every=1e9))
    assert stopped.value.saved
    assert stopped.value.code == 128 + number
    resumed = resumed_job(data / "cut", None, None)
    assert resumed.state.position.done == 3
    assert numbers(train(resumed)) == whole


def test_a_longer_limit_goes_on_as_if_it_had_been_the_limit_from_the_start(data):
    whole = numbers(train(job_for(data, "classify", "whole", epochs=4)))
    train(job_for(data, "classify", "cut", epochs=2))
    assert resumed_job(data / "cut", None, None).ending
    assert numbers(train(resumed_job(data / "cut", 4, None))) == whole


@pytest.mark.parametrize(
    ("file", "columns", "words", "method"),
    [
        ("classify.csv", {"label": "kind", "group": "id"}, "--label kind --group id", "full"),
        ("text.txt", {"window": 20}, "--task text --window 20", "truncated:7,13"),
    ],
)
def test_two_processes_give_the_gradients_and_weights_of_one(data, file, columns, words, method):
    """The last batch of sequences has one, so that a process gets none; a text's state carries."""
    words = f"train {data / file} {words} --hidden 5 --epochs 2 --seed 3 --method {method}"
    options = TrainingOptions(epochs=2, seed=3, batch_size=9, method=method)
    network, path = NetworkOptions(hidden=5), str(data / file)
    one = new_job(path, None, DataOptions(**columns), network, options, out=data / "one")
    assert file == "text.txt" or len(one.task.batches("train", 1)) % 9 == 1
    train(one)
    command = [sys.executable, "-m", "bptt", *words.split(), "--batch-size", "9", "--devices", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--out", data / "two"], check=True, env=environment, timeout=120)
    first, second = (load_checkpoint(Run(data / name).checkpoint) for name in ("one", "two"))
    # Adam's first moment is a weighted sum of the gradients themselves.
    for index, moments in first["optimizer"]["state"].items():
        other = second["optimizer"]["state"][index]
        torch.testing.assert_close(other["exp_avg"], moments["exp_avg"], rtol=1e-4, atol=1e-7)
    for name, weight in first["weights"].items():
        torch.testing.assert_close(second["weights"][name], weight, rtol=1e-4, atol=1e-6)


def test_resuming_with_other_processes_is_refused(data, monkeypatch):
    run = train(job_for(data, "classify", "run", epochs=1))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(RunError, match="begun with --devices 1, and torchrun started 4"):
        resumed_job(run.folder, 2, None)


def test_the_best_epochs_weights_are_kept_and_patience_ends_training(data):
    job = job_for(data, "forecast", "run", epochs=60, patience=2, learning_rate=0.1)
    run = train(job)
    losses = [float(r["validation_loss"]) for r in rows_of(run) if r["validation_loss"]]
    assert job.ending == "no lower validation loss for 2 epochs"
    assert losses.index(min(losses)) == len(losses) - 3 == job.state.best.epoch
    found = conclude(job, run)
    epoch = [r for r in rows_of(run) if r["validation_loss"]][job.state.best.epoch]
    assert found["validation"].metrics["mae"] == pytest.approx(float(epoch["validation_mae"]))
    assert json.loads(run.evaluation.read_text())["test"]["baselines"].keys() >= {"last value"}


def rows_of(run):
    return list(csv.DictReader(run.metrics.read_text().splitlines()))


@pytest.mark.parametrize("task", ["forecast", "classify", "text"])
def test_the_gradient_goes_back_as_the_method_says(data, task):
    """A window is 12 or 20 steps long, or a sequence at most 7."""

    def weights(method):
        job = job_for(data, task, method.replace(":", "-"), epochs=1, method=method)
        assert job.run.read_config().training.method == method
        return torch.cat([w.flatten() for w in load_file(train(job).weights).values()])

    full = weights("full")
    for exact in "truncated:20,20", "checkpointed:64MB":
        torch.testing.assert_close(weights(exact), full, rtol=1e-4, atol=1e-5)
    assert (weights("truncated:2") - full).abs().max() > 1e-3


def test_clipping_is_by_the_norm_and_told_for_each_step(data):
    run = train(job_for(data, "classify", "run", clip=0.1))
    rows = [row for row in rows_of(run) if row["train_loss"]]
    clipped = [row["clipped"] == "1" for row in rows]
    assert clipped == [float(row["gradient_norm"]) > 0.1 for row in rows]
    assert 0 < sum(clipped) == Clipping(**load_checkpoint(run.checkpoint)["clipping"]).clipped


def test_a_gradient_that_is_no_number_stops_training_before_a_weight_is_lost(data):
    job = job_for(data, "forecast", "run", learning_rate=1e30)
    with pytest.raises(Breakdown, match=r"at step 2, going .*--learning-rate"):
        train(job)
    assert all(p.isfinite().all() for p in job.network.parameters())
    last = rows_of(job.run)[-1]  # the bad step's, so that the report can tell why training ended
    assert last["step"] == "2"
    assert not math.isfinite(float(last["train_loss"]) + float(last["gradient_norm"]))


def spoil(path, where=0.5):
    """Flip a bit."""
    raw = bytearray(path.read_bytes())
    raw[int(where * len(raw))] ^= 1
    path.write_bytes(raw)


class Hostile:
    """A pickle of it runs a command when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_hostile_checkpoint_is_refused_and_runs_nothing(tmp_path, as_zip):
    path, mark = tmp_path / "state.pt", tmp_path / "ran"
    torch.save({"format": 2, "x": Hostile(mark)}, path, _use_new_zipfile_serialization=as_zip)
    with pytest.raises(RunError, match=r"was not read|is damaged: .*zip"):
        load_checkpoint(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "cannot go on without it; what it has learnt is in"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (spoil, "damaged"),
        (lambda path: save_checkpoint(path, {"format": 99}), "reads format 2"),
        (lambda path: save_checkpoint(path, {"weights": {}}), "damaged: it lacks 'metrics_bytes'"),
        (lambda path: torch.save([1, 2], path), "no checkpoint of a run"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_says_so(data, damage, message):
    train(job_for(data, "classify", "run", epochs=1))
    state = data / "run" / "checkpoint" / "state.pt"
    save_checkpoint(state, {"weights": {"x": torch.zeros(1000)}})
    damage(state)
    with pytest.raises(RunError, match=message):
        resumed_job(data / "run", None, None)


def test_resuming_refuses_changed_data_and_a_cut_metrics_file(data):
    run = train(job_for(data, "classify", "run", epochs=1))
    whole = run.metrics.read_text()
    for cut, what in (
        (whole[: len(whole) // 2], "had .* at the last"),
        ("step,epoch\n", "columns"),
    ):
        run.metrics.write_text(cut)
        with pytest.raises(RunError, match=f"metrics.csv is damaged: .*{what}"):
            resumed_job(run.folder, 3, None)
    run.metrics.unlink()
    with pytest.raises(RunError, match=r"metrics.csv is missing. Put it back"):
        resumed_job(run.folder, 3, None)
    run.metrics.write_text(whole)
    with (data / "classify.csv").open("a") as file:
        file.write("\n77,a,3")
    with pytest.raises(RunError, match="have changed since"):
        resumed_job(run.folder, None, None)
    (data / "classify.csv").unlink()
    with pytest.raises(RunError, match="begun with are not there: There is no file"):
        resumed_job(run.folder, None, None)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.toml", None, "config.toml is missing. Put it back"),
        ("config.toml", "format = ", r"config.toml is damaged: Invalid value .*Put it back"),
        ("config.toml", "format = 2\n[versions]\nbptt = '1'", "is damaged: it lacks 'data'"),
        ("config.toml", "format = 3\n[versions]\nbptt = '9'", "reads format 2"),
        ("model.json", None, r"missing. `bptt train --resume \S+/run` writes it anew"),
        ("model.json", "{", r"damaged: .*line 1.*`bptt train --resume \S+/run` writes it anew"),
        ("model.json", '{"format": 1}', "reads format 2"),
        ("model.json", '{"format": 2, "cell": "gru"}', "damaged: it lacks 'hidden'"),
        ("model.safetensors", None, r"missing. .*`bptt train --resume \S+/run` writes it anew"),
        ("model.safetensors", "no numbers", r"damaged: .*`bptt train --resume \S+/run` writes"),
    ],
)
def test_a_broken_older_or_newer_run_is_refused(data, file, content, message):
    run = train(job_for(data, "classify", "run", epochs=1))
    _, (network, task) = read_all(run.folder)
    assert not network.training
    assert task.name == "classify"
    path = run.folder / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(RunError, match=message):
        read_all(run.folder)


def read_all(folder):
    run = Run.open(folder)
    return run.read_config(), load_model(run)


def test_only_a_run_is_ever_overwritten_and_only_its_own_files_go(data):
    home = data / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="holds no run"):
        make_run(home, "x", overwrite=True)
    run = train(job_for(data, "classify", "run", epochs=1))
    (run.folder / "notes.txt").write_text("keep")
    with pytest.raises(RunError, match="--overwrite"):
        make_run(run.folder, "x", overwrite=False)
    assert run.weights.exists()
    make_run(run.folder, "x", overwrite=True)
    left = {path.name for path in run.folder.iterdir()}
    assert left == {"notes.txt", "checkpoint"}


def test_runs_are_numbered_and_nothing_is_made_when_the_data_are_no_good(data, monkeypatch):
    monkeypatch.chdir(data)
    assert [make_run(None, "a-gru", overwrite=False).folder.name for _ in range(3)] == [
        "a-gru-1",
        "a-gru-2",
        "a-gru-3",
    ]
    (data / "forecast.csv").write_text("y\n1\nx\n")
    with pytest.raises(DataError):
        job_for(data, "forecast", "never")
    assert not (data / "never").exists()


def test_a_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "model.json"
    files.write_atomically(path, b"old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(RunError, match=r"disk is full.*model\.json.*--resume"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_config_comes_back_from_its_file(data):
    job = job_for(data, "forecast", "run", patience=9)
    assert job.run.read_config() == job.config
    assert job.config.options == DataOptions(window=12, horizon=1)


def test_a_config_says_what_was_chosen_for_the_user(data, monkeypatch):
    monkeypatch.chdir(data)
    job = new_job("elnino", None, DataOptions(), NetworkOptions(hidden=4), TrainingOptions())
    options = job.run.read_config().options
    assert (options.window, options.horizon, options.target) == (64, 6, ("temperature",))
    (data / "two.csv").write_text("a,b\n" + "1,2\n3,4\n5,7\n" * 20)
    job = new_job(
        "two.csv", None, DataOptions(target=("a, b",)), NetworkOptions(hidden=4), TrainingOptions()
    )
    assert job.run.read_config().options.target == ("a", "b")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "--epochs to be 1 or more; got 0"),
        ({"learning_rate": float("nan")}, "--learning-rate"),
        ({"clip": -1.0}, "--clip"),
        ({"batch_size": 0}, "--batch-size"),
        ({"method": "trunc:3"}, r"--method to be full, or truncated:K1,K2 .*; got 'trunc:3'"),
        ({"method": "truncated:2.5"}, r"--method to be full, .*; got 'truncated:2.5'"),
        ({"method": "checkpointed"}, r"or checkpointed:MEMORY, such .*; got 'checkpointed'"),
        ({"method": "checkpointed:64XB"}, "--method checkpointed:64XB: memory: expected a number"),
        ({"method": "truncated:9,3"}, "--method truncated:9,3: k2: expected at least k1 = 9"),
        ({"method": "truncated:0"}, "--method truncated:0: k1: expected a block of at least 1"),
    ],
)
def test_options_out_of_range_name_themselves(options, message):
    with pytest.raises(ArgumentError, match=message):
        TrainingOptions(**options)


def test_the_last_live_step_is_read_and_an_untrained_network_says_nothing():
    shape = NetworkShape(numeric=2, categories=(4,), outputs=3, read="last step")
    network = Network(shape, NetworkOptions(hidden=5))
    codes = torch.tensor([0, 1, 2, 3, 1, 2]).reshape(3, 2, 1)
    batch = Batch(torch.randn(3, 2, 2), codes, torch.zeros(2), lengths=torch.tensor([3, 2]))
    outputs, _ = network(batch)
    assert outputs.tolist() == [[0.0] * 3] * 2
    torch.nn.init.normal_(network.read_out.weight)
    alone = Batch(batch.numeric[:2, 1:], codes[:2, 1:], torch.zeros(1))
    torch.testing.assert_close(network(batch)[0][1:], network(alone)[0])
    unknown = network.embeddings[0](torch.tensor(0))
    assert unknown.tolist() == [0.0, 0.0]


CELLS = """
import torch
class Odd(torch.nn.RNNCell):
    def forward(self, x, state): return [state, state], super().forward(x, state)
class Fussy(torch.nn.RNNCell):
    def __init__(self, inputs, hidden): raise KeyError("no such unit")
class Clumsy(torch.nn.RNNCell):
    def forward(self, x, state): return state @ x
class Idle(torch.nn.RNNCell):
    def __init__(self, inputs, hidden):
        super().__init__(inputs, hidden + 1)
        self.unused = torch.nn.Parameter(torch.ones(3))
class Lost(torch.nn.Module):
    def __init__(self, inputs, hidden): super().__init__()
class Empty(torch.nn.RNNCell):
    def forward(self, x, state): return super().forward(x, state) / 0 * 0
class Sharp(torch.nn.RNNCell):
    def __init__(self, inputs, hidden):
        super().__init__(inputs, hidden)
        self.w = torch.nn.Parameter(torch.zeros(()))
    def forward(self, x, state): return super().forward(x, state) + self.w.abs().sqrt()
number = 3
"""


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (
            "gruu",
            "no cell 'gruu'. Did you mean 'gru'.* elman, gru, .*layer-norm-lstm, .*module:Class",
        ),
        ("nowhere:Cell", "there is no module nowhere"),
        ("some/nowhere.py:Cell", "there is no file some/nowhere.py"),
        (
            "broken:Cell",
            r"importing broken failed with SyntaxError: .*\n  \S+/broken.py, line 2:  1 +",
        ),
        ("own_cells:Missing", "found nothing of that name"),
        ("own_cells:Clumzy", "Did you mean 'Clumsy'"),
        ("own_cells:Lost", "does not say what it starts from. Give Lost a method"),
        ("own_cells:Empty", "step 1, going forward.*No weight has been changed.*own_cells:Empty"),
        (
            "own_cells:Sharp",
            "step 1, going back.*of recurrent.cells.0.w, .* is nan.*own_cells:Sharp",
        ),
        ("own_cells:number", "derived from torch.nn.Module"),
        ("own_cells.py:Fussy", r"Fussy\(2, 5\) failed.* with KeyError: .*\n.*own_cells.py, line 6"),
        ("own_cells:Clumsy", "own_cells.py, line 8"),
        ("own_cells:Odd", "expected the cell own_cells:Odd to give one tensor"),
    ],
)
def test_an_own_cell_that_cannot_be_used_is_explained(data, monkeypatch, cell, message):
    (data / "own_cells.py").write_text(CELLS)
    (data / "broken.py").write_text("import torch\n1 +\n")
    monkeypatch.chdir(data)
    with pytest.raises((CellError, Breakdown), match=f"(?s){message}"):
        job_for(data, "forecast", "run", cell=cell)
    assert not (data / "run").exists()


def test_an_own_cell_is_trained_and_found_again(data, monkeypatch):
    (data / "own_cells.py").write_text(CELLS)
    monkeypatch.chdir(data)
    job = job_for(data, "forecast", "run", cell="own_cells:Idle", epochs=1)
    assert not job.every_parameter_used
    network, _ = load_model(train(job))
    assert type(network.recurrent.cells[0]).__name__ == "Idle"
    assert network.read_out.in_features == 6


def test_every_cell_that_fits_is_had_by_name():
    """A new cell appears by itself; GRU-D, which takes more than a tensor at a step, does not."""
    assert {"elman", "gru", "lstm", "leaky", "mgu", "layer-norm-lstm", "peephole-lstm"} <= set(
        NAMED
    )
    assert "grud" not in NAMED
    for name in NAMED:
        cell = make_cell(name, 5)(3)
        assert cell(torch.zeros(2, 3), cell.initial_state(2)) is not None


def test_a_run_that_is_being_trained_is_left_alone_and_free_again_afterwards(data):
    job = job_for(data, "classify", "run", epochs=1)
    at_once = f"run is being trained at this moment, by process {os.getpid()} on"
    with pytest.raises(RunError, match=at_once):
        resumed_job(data / "run", None, None)
    with pytest.raises(RunError, match=at_once):
        make_run(data / "run", "x", overwrite=True)
    assert job.run.config.exists()
    train(job)
    assert resumed_job(data / "run", None, None).ending


def test_a_killed_process_locks_nobody_out(tmp_path):
    path = tmp_path / "lock"
    code = f"""
import time
from pathlib import Path
from bptt.train.lock import Lock
lock = Lock(Path({str(path)!r}))
print("held", flush=True)
time.sleep(60)"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RunError, match=f"by process {holder.pid} on"):
        Lock(path)
    holder.kill()
    holder.communicate()
    Lock(path).release()


@pytest.mark.parametrize("file", ["model.json", "model.safetensors", "evaluation.json"])
def test_what_a_finished_run_has_lost_is_written_anew(data, file):
    run = train(job_for(data, "classify", "run", epochs=1))
    conclude(resumed_job(run.folder, None, None), run)
    assert not resumed_job(run.folder, None, None).concluded
    write_report(run.folder)
    assert resumed_job(run.folder, None, None).concluded
    lost = run.folder / file
    before = lost.read_bytes()
    lost.write_bytes(before[:40])
    job = resumed_job(run.folder, None, None)
    assert job.ending
    assert not job.concluded
    conclude(job, run)
    assert lost.read_bytes() == before


def test_a_run_killed_before_its_first_step_begins_anew(data):
    whole = numbers(train(job_for(data, "classify", "whole", epochs=1)))
    job_for(data, "classify", "cut", epochs=1).run.release()
    assert numbers(train(resumed_job(data / "cut", None, None))) == whole
