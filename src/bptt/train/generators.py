"""Every random generator that training may draw from: seeding, saving, restoring."""

import random
from typing import Any

import numpy as np
import torch

from bptt.errors import RunError


def seed_generators(seed: int, rank: int) -> None:
    """Seed Python's, numpy's and torch's generators, each process with numbers of its own."""
    torch_seed, numpy_seed, python_seed = np.random.SeedSequence([seed, rank]).generate_state(3)
    torch.manual_seed(int(torch_seed))
    np.random.seed(int(numpy_seed))  # noqa: NPY002 - the one that a user's cell may draw from
    random.seed(int(python_seed))


def generator_states() -> dict[str, Any]:
    """The states of this process's generators, as numbers and tensors only."""
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "python": [version, list(internal), gauss],
    }


def restore_generators(states: dict[str, Any]) -> None:
    """Put the generators where `generator_states` found them.

    Raises:
        RunError: they are those of a process with a GPU, and this one has none, or the reverse.
    """
    if (states["cuda"] is not None) != torch.cuda.is_available():
        before, now = ("a GPU", "none") if states["cuda"] is not None else ("no GPU", "one")
        raise RunError(
            f"the run was begun with {before} and would go on with {now}, to other numbers. "
            "Resume it on a machine like the first, or train anew"
        )
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
