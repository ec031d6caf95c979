import os
import shutil
import tempfile

# Before torch: its threads spin while they wait, and would take the cores of other workers.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)


def pytest_configure(config):
    """A folder for the kernels of one session: no worker compiles what another has compiled."""
    if not hasattr(config, "workerinput"):
        config.kernels = os.environ["BPTT_CACHE"] = tempfile.mkdtemp(prefix="bptt-kernels-")


def pytest_unconfigure(config):
    if hasattr(config, "kernels"):
        shutil.rmtree(config.kernels)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def double():
    """float64 for what a test makes without naming a dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
