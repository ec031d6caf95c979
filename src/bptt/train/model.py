"""A trained network on disk: model.json says what it is, model.safetensors holds its numbers."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from bptt.folder.damage import FORMAT, check_format, damaged, missing, read_table, taken_apart
from bptt.tasks import Task, restore_task
from bptt.train.config import NetworkOptions
from bptt.train.network import Network
from bptt.train.run import Run
from bptt.version import __version__


def describe_model(network: Network, task: Task, options: NetworkOptions) -> dict[str, Any]:
    """What model.json says: enough to make the network again and to read new data for it."""
    return {
        "format": FORMAT,
        "bptt": __version__,
        **asdict(options),
        "parameters": sum(p.numel() for p in network.parameters()),
        "shape": asdict(task.shape),
        "task": task.describe(),
    }


def load_model(run: Run) -> tuple[Network, Task]:
    """The network of a run with its best weights, and its task without data.

    Raises:
        RunError: the run has no weights yet, or its files are damaged, of a newer version or do not
            fit each other.
    """
    options, task = _read_description(run.model)
    network = Network(task.shape, options)
    load_weights(network, run.weights)
    return network.eval(), task


def load_weights(network: Network, path: Path) -> None:
    """Put the weights of model.safetensors into the network. Raises `RunError` as `load_model`."""
    try:
        network.load_state_dict(load_file(path))
    except FileNotFoundError as error:
        raise missing(path) from error
    except (SafetensorError, OSError) as error:
        raise damaged(path, error) from error
    except RuntimeError as error:
        why = "its weights have other names or sizes than model.json says"
        raise damaged(path, why) from error


def _read_description(path: Path) -> tuple[NetworkOptions, Task]:
    content = read_table(path, json.loads)
    check_format(path, content)
    with taken_apart(path):
        options = NetworkOptions(**{k: content[k] for k in NetworkOptions.__dataclass_fields__})
        return options, restore_task(content["task"])
