import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _kernels(tmp_path_factory):
    """Kernels of the tests, kept for one session: each is compiled once, in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BPTT_CACHE", str(tmp_path_factory.mktemp("kernels")))
        yield


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def double():
    """float64 for what a test makes without naming a dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
