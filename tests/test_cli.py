"""The command as a user meets it: what it prints, what it exits with, what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from bptt.cli.app import main

QUICK = ["--hidden", "4", "--epochs", "1"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def command(capsys):
    """Run the command here; gives its exit code, and what it said to stdout and stderr."""

    def run(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            main([str(word) for word in words])
        said = capsys.readouterr()
        return exit.value.code, said.out, said.err

    return run


def table(path, rows=60, step=1):
    path.write_text("t,y\n" + "".join(f"{i},{i % 7 + i * step / 50}\n" for i in range(rows)))
    return path


def test_from_data_to_forecast(command, tmp_path):
    file = table(tmp_path / "sales.csv")
    code, out, _ = command("train", file, "--target", "y", "--window", "8", *QUICK)
    assert code == 0
    for said in ("train 42", "train loss", "last value", "naive rule", "sales-gru-1/report.html"):
        assert said in out
    run = tmp_path / "runs" / "sales-gru-1"
    assert {path.name for path in run.iterdir()} == {
        "config.toml",
        "model.json",
        "model.safetensors",
        "metrics.csv",
        "gradient.csv",
        "evaluation.json",
        "report.html",
        "checkpoint",
    }
    code, out, _ = command("predict", run, file)
    assert code == 0
    assert out.startswith("lead,y\n1,")
    for more in [], ["--overwrite"]:
        assert command("predict", run, file, "--out", "f.parquet", *more)[::2] == (0, "")
    assert pl.read_parquet("f.parquet").height == 1
    code, out, _ = command("evaluate", run, file)
    assert code == 0
    assert "the network" in out
    (run / "report.html").unlink()
    assert command("report", run)[:2] == (0, f"{run / 'report.html'}\n")
    code, out, _ = command("train", "--resume", run)
    assert code == 0
    assert "is finished: the limit of 1 epoch." in out


def test_a_text_is_learnt_and_written(command, tmp_path):
    (tmp_path / "song.txt").write_text("row, row, row your boat gently down the stream. " * 30)
    words = ["--window", "16", *QUICK, "--method", "truncated:4,8", "--out", "my [first] song"]
    code, out, _ = command("train", "song.txt", *words)
    assert code == 0
    assert "next    bptt generate 'my [first] song' --prompt row\n" in out
    assert " truncated:4,8\n" in out
    Path("my [first] song").rename("song")
    assert "truncated:4,8" in Path("song", "report.html").read_text()
    first = command("generate", "song", "--prompt", "row", "--length", "20", "--seed", "1")
    assert first[0] == 0
    assert first[1].startswith("row")
    assert len(first[1]) == len("row") + 20 + 1
    assert command("generate", "song", "--prompt", "row", "--length", "20", "--seed", "1") == first
    code, _, err = command("generate", "song", "--prompt", "Row!", "--length", "1")
    assert code == 0
    assert err.startswith("bptt: note: The prompt has '!', 'R', which training never had: 2 of 4")
    assert command("predict", "song", "song.txt")[0] == 2


def test_a_note_names_data_as_the_user_did(command):
    assert command("train", "sunspots", *QUICK, "--window", "8", "--out", "run")[0] == 0
    code, _, err = command("evaluate", "run", "sunspots")
    assert code == 0
    assert err.startswith("bptt: note: sunspots: seasonal naive (11) is left out")


def test_without_data_a_shipped_set_is_taken_and_all_are_listed(command):
    code, out, _ = command("datasets")
    assert code == 0
    assert all(f"\n{name}" in out for name in ("sunspots", "genesis", "japanese-vowels"))
    code, out, err = command("train", "--task", "classify", *QUICK, "--batch-size", "200")
    assert (code, err) == (0, "")
    assert "bptt predict runs/japanese-vowels-gru-1 japanese-vowels" in out


MISTAKES = {
    "train nowhere.csv": "There is no file nowhere.csv",
    "train sunspot": "Did you mean 'sunspots'",
    "train ok.csv --target z": "has no column 'z'",
    "train ok.csv --target y,y": "bptt: ok.csv: --target names 'y' twice",
    "train ok.csv --target y --covariates x --covariates x": "ok.csv: --covariates names 'x' twice",
    "train ok.csv --target y --cell gruu": "Did you mean 'gru'? Expected elman, gru, ",
    "train ok.csv --target y --hidden 1.5": 'Invalid value "1.5" for --hidden',
    "train ok.csv --target y --hidden 0": "expected --hidden to be 1 or more; got 0",
    "train ok.csv --target y --dropout 0.5": "Take --layers 2",
    "train ok.csv --target y --method truncated:9,3": "--method truncated:9,3: k2: expected at",
    "train ok.csv --hiden 3": "Did you mean --hidden?",
    "train ok.csv --target y --out full": "full is not empty and holds no run",
    "train ok.csv --target y --out ok.csv": "expected ok.csv to be a folder; it is a file",
    "train --resume nowhere": "there is no folder nowhere",
    "train --resume full": "holds none of its files",
    "train ok.csv other.csv": "too many words for bptt train: other.csv",
    "datasets x": "too many words for bptt datasets: x",
    "train ok.csv --resume full --hidden 3": "and --hidden, DATA would make it another run",
    "predict full ok.csv": "holds none of its files",
    "predict": "RUN requires an argument",
    "predict full ok.csv --out f.xls": ".csv or .parquet",
    "predict full ok.csv --out ok.csv": "there is ok.csv already",
    "predict full ok.csv --out nowhere/f.csv": "there is no folder nowhere",
    "generate full --prompt a --temperature -1": "temperature of 0 or more",
    "report nowhere": "there is no folder nowhere",
    "trian": "Did you mean",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_gets_one_message_and_leaves_nothing(command, tmp_path, words):
    table(tmp_path / "ok.csv")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    before = sorted(path for path in tmp_path.rglob("*"))
    code, out, err = command(*words.split())
    assert code == 2
    assert err.startswith("bptt: ")
    assert MISTAKES[words] in err.replace("\n", " ")
    assert "Traceback" not in out + err
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_a_run_is_overwritten_only_when_told(command, tmp_path):
    words = ["train", table(tmp_path / "a.csv"), "--target", "y", "--window", "8", *QUICK]
    assert command(*words, "--out", "run")[0] == 0
    first = (tmp_path / "run" / "model.safetensors").read_bytes()
    code, _, err = command(*words, "--seed", "1", "--out", "run")
    assert code == 2
    assert "--overwrite" in err
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == first
    assert command(*words, "--seed", "1", "--out", "run", "--overwrite")[0] == 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() != first


def test_a_run_that_is_a_file_is_told_from_a_folder(command, tmp_path):
    table(tmp_path / "a.csv")
    (tmp_path / "runs").write_text("jogging, mostly")
    code, _, err = command("train", "a.csv", "--target", "y", *QUICK)
    assert code == 2
    assert "expected runs to be a folder; it is a file. Choose another with --out" in err
    code, _, err = command("train", "--resume", "runs")
    assert code == 2
    assert "expected the folder of a run; runs is a file" in err


FRAIL = """
import torch
class Frail(torch.nn.RNNCell):
    def __init__(self, inputs, hidden):
        super().__init__(inputs, hidden)
        self.register_buffer("sequences", torch.tensor(0))
    def begin(self, batch_size):
        self.sequences += self.training
    def forward(self, x, state):
        return torch.where(self.sequences > 8, torch.nan, super().forward(x, state))
"""


def test_a_run_that_breaks_down_says_why_everywhere(command, tmp_path):
    """The cell gives numbers for an epoch of five steps, and some."""
    (tmp_path / "own.py").write_text(FRAIL)
    words = f"train {table(tmp_path / 'a.csv', 200)} --target y --window 8 --cell own:Frail".split()
    code, _, err = command(*words, "--hidden", "4", "--out", "run")
    assert code == 2
    assert "broke down at step 8, going forward: the loss is nan" in err
    assert "How far it came: run/report.html" in err
    page = (tmp_path / "run" / "report.html").read_text()
    assert "The training broke down" in page
    code, _, err = command("predict", "run", "a.csv")
    assert code == 0
    assert "note: run has not been trained to its end" in err


def start(words, run, rows):
    """Start the command in a process of its own and wait until it has done some steps."""
    command = [sys.executable, "-m", "bptt", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    deadline = time.monotonic() + 60
    while len(steps(run)) < rows:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def steps(run):
    """Rows of metrics.csv without the seconds."""
    try:
        lines = (run / "metrics.csv").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [line.split(",")[:2] + line.split(",")[3:] for line in lines]


def test_kill_9_then_ctrl_c_then_the_end_as_if_nothing_had_been(command, tmp_path):
    words = f"train {table(tmp_path / 'a.csv', 400)} --target y --window 24 --layers 2".split()
    words += ["--hidden", "4", "--dropout", "0.2", "--epochs", "6", "--checkpoint-every", "0"]
    assert command(*words, "--out", "whole")[0] == 0
    cut = tmp_path / "cut"
    killed = start([*words, "--out", str(cut)], cut, 12)
    killed.kill()
    killed.communicate()
    stopped = start(["train", "--resume", str(cut)], cut, 30)
    stopped.send_signal(signal.SIGINT)
    said = stopped.communicate(timeout=60)[0]
    assert stopped.returncode == 130, said
    assert f"Go on with:  bptt train --resume {cut}" in said
    assert "Traceback" not in said
    assert command("train", "--resume", cut)[0] == 0
    assert steps(cut) == steps(tmp_path / "whole")
    verdicts = [
        json.loads((run / "evaluation.json").read_text()) for run in (cut, tmp_path / "whole")
    ]
    assert verdicts[0] == verdicts[1]


def test_help_does_not_wait_for_what_the_verbs_need():
    code = """
import sys
from bptt.cli.verbs import VERBS, app
for words in ["--version"], ["--help"], *([verb, "--help"] for verb in VERBS):
    app(words, result_action="return_value")
print([m for m in ("torch", "numpy", "polars", "lightning", "altair") if m in sys.modules])"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.endswith("[]\n")
    assert all(verb in said.stdout for verb in ("train", "predict", "generate", "explain"))


def test_ctrl_c_during_an_import_ends_the_command_in_one_line(tmp_path):
    """numpy, for one, goes on in pieces where torch swallowed the interrupt."""
    (tmp_path / "torch.py").write_text(
        "import os, signal\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt:\n    pass\n"
        "raise RuntimeError('half of it is missing')\n"
    )
    command = [sys.executable, "-m", "bptt", "train", "sunspots"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (130, "", "bptt: stopped.\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("verb", ["datasets", "--version"])
def test_output_to_a_full_disk_is_told_in_one_line(verb):
    with open("/dev/full", "w") as full:
        said = subprocess.run(
            [sys.executable, "-m", "bptt", verb], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert said.returncode == 2
    assert said.stderr.startswith("bptt: the disk is full where the output goes")
    assert said.stderr.count("\n") == 1
