"""The report: what a user opens after training."""

import csv
import json
import math
import random
from pathlib import Path

import pytest

from bptt.errors import RunError
from bptt.report import write_report

CONFIG = """\
format = 1
command = "bptt train {data} --target <y>"
started = 2026-11-23T04:05:06+00:00

[versions]
bptt = "0.1.0"
python = "3.11.7"
torch = "2.13.0"

[data]
data = {data!r}
task = {task!r}

[data.fingerprint]
files = "data.csv"
bytes = 6543
sha256 = "8f1e02d5c3"

[network]
cell = "gru"
hidden = 48
layers = 1
dropout = 0.0

[training]
epochs = 30
batch_size = 32
learning_rate = 0.003
clip = 1.0
patience = 5
seed = 11
devices = 1
"""
HEADLINES = {"forecast": "mae", "classify": "accuracy", "text": "bits_per_character"}


def forecast() -> dict:
    truth = [50 + 45 * math.sin(i / 1.75) + 10 * math.sin(i) for i in range(120)]
    series = {
        "name": "",
        "target": "sunspots",
        "time": [1888 + i for i in range(120)],
        "truth": truth,
        "forecast": [0.9 * y + 6 * math.sin(3.1 * i) for i, y in enumerate(truth)],
        "baseline": [truth[max(0, i - 11)] for i in range(120)],
        "lead": 1,
    }
    horizon = [
        {"target": "sunspots", "lead": i, "mae": 8.125 + 2 * i, "baseline_mae": 13.0 + 2.3 * i}
        for i in range(1, 7)
    ]
    return {
        "headline": "mae",
        "lower_is_better": True,
        "metrics": {"mae": 14.2117, "rmse": 19.873, "mase": 0.8112},
        "baselines": {
            "last value": {"mae": 25.31, "rmse": 33.2, "mase": 1.42},
            "seasonal naive (11)": {"mae": 22.947, "rmse": 30.1, "mase": 1.3},
        },
        "details": {"series": [series], "horizon": horizon},
    }


def classify() -> dict:
    labels = [f"speaker {i}" for i in range(1, 10)]
    draw = random.Random(3)
    confusion = [[draw.randint(25, 40) if i == j else draw.choice([0, 0, 0, 1, 3]) for j in range(9)] for i in range(9)]
    total = sum(map(sum, confusion))
    return {
        "headline": "accuracy",
        "lower_is_better": False,
        "metrics": {"accuracy": sum(confusion[i][i] for i in range(9)) / total, "cross_entropy": 0.231},
        "baselines": {"majority class": {"accuracy": 0.1189}},
        "details": {"labels": labels, "confusion": confusion},
    }


def text() -> dict:
    samples = [
        {"prompt": "In the beginning ", "text": "of the LORD,\nand the children of Israel said unto him, " * 6},
        {"prompt": "And he said", "text": " unto them, Behold the hand of the king </pre></script> " * 5},
    ]
    return {
        "headline": "bits_per_character",
        "lower_is_better": True,
        "metrics": {"bits_per_character": 2.0514, "perplexity": 4.145},
        "baselines": {
            "unigram": {"bits_per_character": 4.21, "perplexity": 18.5},
            "bigram": {"bits_per_character": 3.33, "perplexity": 10.06},
        },
        "details": {"samples": samples},
    }


MEASURED = {"forecast": forecast, "classify": classify, "text": text}


def make_run(folder: Path, task: str = "forecast", *, steps: int = 300, epochs: int = 12) -> Path:
    """A finished run's folder, as training leaves it."""
    folder.mkdir()
    (folder / "config.toml").write_text(CONFIG.format(data=f"/data/{task}.csv", task=task))
    (folder / "model.json").write_text(json.dumps({"format": 1}))
    write_metrics(folder, task, steps, epochs)
    measured = MEASURED[task]()
    evaluation = {
        "summary": {
            "rows": 309,
            "columns": {"targets": ["sunspots"], "time": "year"},
            "split": [
                {"part": "train", "rows": 216, "from": "1700", "to": "1915"},
                {"part": "validation", "rows": 46, "from": "1916", "to": "1961"},
                {"part": "test", "rows": 47, "from": "1962", "to": "2008"},
            ],
            "normalisation": {"mean": 44.5093, "standard deviation": 36.2, "learnt on": "train"},
        },
        "validation": {"part": "validation"} | measured,
        "test": {"part": "test"} | measured,
    }
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    return folder


def write_metrics(folder: Path, task: str, steps: int, epochs: int) -> None:
    draw = random.Random(0)
    length = max(1, steps // epochs)
    with (folder / "metrics.csv").open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow("step,epoch,seconds,train_loss,gradient_norm,clipped,learning_rate".split(",") + ["validation_loss", f"validation_{HEADLINES[task]}"])
        for step in range(1, steps + 1):
            epoch = (step - 1) // length + 1
            loss = 0.05 + math.exp(-5 * step / steps) * draw.uniform(0.7, 1.3)
            norm = 3 * loss * draw.lognormvariate(0, 0.5)
            out.writerow([step, epoch, f"{step / 40:.3f}", loss, norm, int(norm > 1), 0.003, "", ""])
            if step % length == 0:
                validation = 0.12 + math.exp(-4 * step / steps) + 0.1 * (step / steps) ** 2
                out.writerow([step, epoch, f"{step / 40:.3f}", "", "", "", 0.003, validation, 14 + 30 * validation])
