"""What of a run's files a report needs, as shapes."""

from datetime import datetime
from numbers import Real

from bptt.folder.shape import ANY

NUMBER = Real | None
CONFIG = {
    "command": str,
    "started": datetime,
    "versions": dict,
    "data": {"data": str, "task": str, "fingerprint": dict},
    "network": {"cell": str, "hidden": int, "layers": int},
    "training": {"epochs": int, "clip": Real, "method": str, "patience": int, "seed": int},
}
MODEL = {"shape?": {"numeric": int, "categories": [int], "outputs": int, "read": str}}
CURVES = ("truth", "forecast", "baseline")
SERIES = {"name": str, "target": str, "lead": int, "time": list}
PART = {
    "headline": str,
    "lower_is_better": bool,
    "metrics": {ANY: NUMBER},
    "baselines": {ANY: {ANY: NUMBER}},
    "chance?": NUMBER,
    "details": {
        "baseline?": str,
        "series?": [SERIES | {curve: [NUMBER] for curve in CURVES}],
        "horizon?": [{"target": str, "lead": int, "mae": Real, "baseline_mae": Real}],
        "labels?": [str],
        "confusion?": [[int]],
        "samples?": [{"prompt": str, "text": str}],
    },
}
EVALUATION = {"summary": {"split?": {ANY: Real}}, "validation": PART, "test": PART}
