"""Finished runs, made up: the folders that training leaves behind."""

import json
import math
import random
from pathlib import Path
from typing import Any

CONFIG = """\
format = 2
command = {command}
started = 2026-11-23T04:05:06+00:00

[versions]
bptt = "0.1.0"
torch = "2.13.0"

[data]
data = "/data/{task}.csv"
task = "{task}"

[data.fingerprint]
files = "{task}.csv"
bytes = 6543
sha256 = "8f1e02d5c3"

[network]
cell = "gru"
hidden = 48
layers = 1
dropout = 0.0

[training]
method = "full"
epochs = 30
batch_size = 32
learning_rate = 0.003
clip = 1.0
patience = 5
seed = 11
devices = 1
"""
HOSTILE = "</script><script>alert('1')</script><img src=x onerror=\"alert(2)\">{{ 7 * 6 }}"


def forecast(target: str = "sunspots") -> dict[str, Any]:
    truth = [50 + 45 * math.sin(i / 1.75) + 10 * math.sin(i) for i in range(120)]
    series = {
        "name": "",
        "target": target,
        "time": [1888 + i for i in range(120)],
        "truth": truth,
        "forecast": [0.9 * y + 6 * math.sin(3.1 * i) for i, y in enumerate(truth)],
        "baseline": [None, *truth[:-1]],
        "lead": 1,
    }
    horizon = [
        {"target": target, "lead": i, "mae": 8.125 + 2 * i, "baseline_mae": 13.0 + 2.3 * i}
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
        "details": {"series": [series], "horizon": horizon, "baseline": "seasonal naive (11)"},
    }


def classify(names: str = "speaker", classes: int = 9) -> dict[str, Any]:
    confusion = [
        [30 + i if i == j else (i * j) % 3 for j in range(classes)] for i in range(classes)
    ]
    right = sum(confusion[i][i] for i in range(classes))
    accuracy = right / sum(map(sum, confusion))
    return {
        "headline": "accuracy",
        "lower_is_better": False,
        "metrics": {"accuracy": accuracy, "macro_f1": 0.7731},
        "baselines": {"majority class": {"accuracy": 0.1189, "macro_f1": 0.0213}},
        "details": {"labels": [f"{names} {i}" for i in range(classes)], "confusion": confusion},
    }


def text(prompt: str = "And he said") -> dict[str, Any]:
    samples = [{"prompt": prompt, "text": " unto them, Behold the hand of the king.\n" * 9}] * 2
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


def make_run(
    folder: Path,
    measured: dict[str, Any] | None = None,
    *,
    task: str = "forecast",
    steps: int = 60,
    epochs: int = 12,
    spoilt: dict[int, float] | None = None,
) -> Path:
    """A finished run's folder, as training leaves it; `spoilt` losses by their steps."""
    folder.mkdir()
    measured = measured or MEASURED[task]()
    config = CONFIG.format(
        task=task, command=json.dumps(f"bptt train {task}.csv --target {HOSTILE}")
    )
    (folder / "config.toml").write_text(config)
    (folder / "model.json").write_text(json.dumps({"format": 2, "parameters": 9169}))
    write_metrics(folder / "metrics.csv", measured, steps, epochs, spoilt or {})
    write_evaluation(folder, measured)
    return folder


def write_evaluation(folder: Path, measured: dict[str, Any]) -> None:
    summary = {
        "rows": 309,
        "columns": {"targets": [HOSTILE], "group": None},
        "split": {"train": 216, "validation": 46, "test": 47},
        "vocabulary": "\n abc",
        "normalisation": {HOSTILE: {"mean": 44.5093, "deviation": 36.2}},
    }
    content = {"summary": summary, "validation": measured, "test": measured}
    (folder / "evaluation.json").write_text(json.dumps(content))


def several_targets() -> dict[str, Any]:
    """A forecast of two targets, one of which the network forecasts worse than a naive rule."""
    scores = {"network": (0.5, 0.2, 0.9), "last value": (0.8, 0.3, 0.7)}
    figures = {
        name: {"mase": mase, "mase[wind_speed]": wind, "mase[solar irradiance]": sun}
        for name, (mase, wind, sun) in scores.items()
    }
    own = figures.pop("network")
    return forecast() | {"headline": "mase", "metrics": own, "baselines": figures}


def write_metrics(
    path: Path, measured: dict[str, Any], steps: int, epochs: int, spoilt: dict[int, float]
) -> None:
    draw, length = random.Random(0), steps // epochs
    headline, aim = measured["headline"], measured["metrics"][measured["headline"]]
    lines = [
        "step,epoch,seconds,train_loss,gradient_norm,clipped,learning_rate,"
        f"validation_loss,validation_{headline}"
    ]
    for step in range(1, steps + 1):
        epoch, left = (step - 1) // length + 1, math.exp(-5 * step / steps)
        loss = spoilt.get(step, 0.05 + left * draw.uniform(0.7, 1.3))
        norm = 3 * (0.05 + left) * draw.lognormvariate(0, 0.5)
        start = f"{step},{epoch},{step / 40:.3f}"
        lines.append(f"{start},{loss:.9g},{norm:.9g},{norm > 1:d},0.003,,")
        if step % length == 0:
            validation = 0.12 + left + 0.1 * (step / steps) ** 2
            lines.append(f"{start},,,,0.003,{validation:.9g},{aim * (1 + left):.9g}")
    path.write_text("\n".join(lines) + "\n")
