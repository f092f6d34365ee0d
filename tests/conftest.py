"""What every test may use; nothing here changes what the package does."""

from __future__ import annotations

import os

# Tests run in two processes. Threads of several torch processes that wait for each other actively starve all of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch

torch.set_num_threads(1)  # tensors in tests are too small to share


def pytest_addoption(parser):
    campaigns = parser.getgroup("campaigns")
    campaigns.addoption("--fuzz-count", type=int, default=60, help="damaged files of each kind in tests/fuzz (slow)")
    campaigns.addoption("--fuzz-seed", type=int, default=0, help="seed of the first of them")
    campaigns.addoption("--kills", type=int, default=8, help="kills in tests/crash, shared by its commands (slow)")


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def dfmgan(rng):
    """TINY networks of stage 2 in which nothing is zero: noise, biases and the mean w all have an effect."""
    from defect_synth.dfmgan.config import TINY
    from defect_synth.dfmgan.generator import DFMGAN

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = DFMGAN(TINY.model)
    with torch.no_grad():
        for name, tensor in generator.state_dict().items():
            if name.endswith(("bias", "noise_strength", "w_avg")):
                tensor.add_(torch.randn(tensor.shape, generator=rng), alpha=0.2)
    return generator
