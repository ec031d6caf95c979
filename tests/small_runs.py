"""Runs of each task, begun and not trained: small data, and a network that says something."""

import torch

from bptt.tasks import DataOptions
from bptt.train.config import NetworkOptions, TrainingOptions
from bptt.train.job import new_job


def panel(path):
    """Two series, words, a column known ahead and one whose name is markup."""
    rows = ["day,shop,price,<b>,y"]
    level = torch.arange(90).mul(0.4).sin().tolist()
    for shop in ("north", "south"):
        rows += [
            f"2024-{1 + k // 28:02}-{1 + k % 28:02},{shop},{k % 5},{'wet' if k % 3 else 'dry'},{v}"
            for k, v in enumerate(level)
        ]
    path.write_text("\n".join(rows))


def sequences(path):
    rows = ["id,kind,x"]
    for number in range(40):
        rows += [f"s{number},{'ab'[number % 2]},{number % 2 + k}" for k in range(3 + number % 5)]
    path.write_text("\n".join(rows))


DATA = {
    "forecast": (
        panel,
        "a.csv",
        DataOptions(
            target=("y",), group="shop", time="day", known=("price",), horizon=2, window=12
        ),
    ),
    "classify": (sequences, "a.csv", DataOptions(label="kind", group="id")),
    "text": (
        lambda path: path.write_text("the cat sat on the mat, and that was that. " * 30),
        "a.txt",
        DataOptions(window=20),
    ),
}


def begun(task, folder):
    """A run that was begun: its network untrained, but for a read-out that says something."""
    write, name, options = DATA[task]
    write(folder / name)
    torch.manual_seed(0)
    network = NetworkOptions(cell="elman", hidden=5, layers=2, dropout=0.3)
    job = new_job(str(folder / name), None, options, network, TrainingOptions(), out=folder / "run")
    torch.nn.init.normal_(job.network.read_out.weight)
    job.network.eval()
    job.run.write_weights(job.network.state_dict())
    job.run.release()
    return job
