"""A trained network on disk: model.json says what it is, model.safetensors holds its numbers."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from bptt.errors import RunError
from bptt.tasks import Task, restore_task
from bptt.train.config import FORMAT, NetworkOptions, check_format
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
        raise RunError(
            f"there is no {path}: training was stopped before the end of its first epoch. "
            f"Go on with it: bptt train --resume {path.parent}"
        ) from error
    except (SafetensorError, RuntimeError, OSError) as error:
        raise RunError(f"{path} is damaged or belongs to another model.json: {error}") from error


def _read_description(path: Path) -> tuple[NetworkOptions, Task]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        check_format(content)
        options = NetworkOptions(**{k: content[k] for k in NetworkOptions.__dataclass_fields__})
        return options, restore_task(content["task"])
    except FileNotFoundError as error:
        raise RunError(f"expected the file {path}, and it is not there") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"{path} cannot be used: {error}") from error
