"""The authors' networks, losses and gradients on random weights (numbers only; skipped where they are not at hand)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CHECK = REPOSITORY.parent / "shared" / "fixtures" / "check.py"


@pytest.mark.skipif(not CHECK.is_file(), reason="the parity fixtures are not beside the repository")
@pytest.mark.parametrize("mask", ["fp16", "fp32"])
def test_networks_losses_and_gradients_equal_the_authors(mask):
    # A process of its own: the adapter chooses the mask's number format from the command line.
    adapter = Path(__file__).with_name("adapter.py")
    command = [CHECK, "--adapter", adapter, "--config", "tiny64", "--mask", mask, "--losses"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    assert "\n0 failed" in result.stdout, result.stdout + result.stderr
    assert "Gmain loss rel.err" in result.stdout  # the losses were compared, not skipped
    assert result.returncode == 0
