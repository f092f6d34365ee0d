"""Compiled kernels are an option: nothing breaks without them, and nobody else's files are ever loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from defect_synth.nn import native
from defect_synth.nn.convolution import conv_layer

PROGRAM = """
import torch
from defect_synth.nn import native
from defect_synth.nn.convolution import conv_layer
torch.manual_seed(0)
y = conv_layer(torch.randn(2, 16, 64, 64), torch.randn(16, 16, 3, 3), mode="up")
print(native.describe(), float(y.abs().mean()))
"""
COMPILER = pytest.mark.skipif(native.compiled() is None, reason="needs a C++ compiler")


def run(**environment):
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True,
                            env={**os.environ, **environment})  # fmt: skip
    form, mean = result.stdout.split()
    return form, float(mean)


@COMPILER
def test_the_switch_and_a_missing_compiler_choose_the_same_numbers():
    assert native.describe() == "native"
    torch.manual_seed(0)
    mean = float(conv_layer(torch.randn(2, 16, 64, 64), torch.randn(16, 16, 3, 3), mode="up").abs().mean())
    for environment in ({native.SWITCH: "0"}, {"PATH": "/nonexistent"}):
        form, other_mean = run(**environment)
        assert form == "torch"
        assert abs(mean - other_mean) < 1e-5 * mean


@pytest.fixture
def compiler(monkeypatch):
    """Stands in for a compiler: writes its arguments to the output file."""
    calls = []

    def fake(command, **options):
        calls.append(command)
        with open(command[-1], "w") as file:
            file.write("compiled")

    monkeypatch.setattr(subprocess, "run", fake)
    return calls


def test_kernels_are_compiled_once_and_appear_whole(compiler, tmp_path):
    target = tmp_path / "kernels-0.so"
    assert native._built("g++", target) == native._built("g++", target) == target
    assert len(compiler) == 1
    assert compiler[0][-1] != str(target)  # a name of its own, renamed when it was whole
    assert [file.name for file in tmp_path.iterdir()] == [target.name]


def test_a_failed_compilation_leaves_nothing(monkeypatch, tmp_path):
    def fail(command, **options):
        raise subprocess.CalledProcessError(1, command, stderr="no such flag")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(subprocess.CalledProcessError):
        native._built("g++", tmp_path / "kernels-0.so")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path):
    shared, own, link = tmp_path / "shared", tmp_path / "own", tmp_path / "link"
    shared.mkdir()
    shared.chmod(0o777)
    assert native._private(own)
    link.symlink_to(own)
    assert not native._private(shared)
    assert not native._private(link)


def test_other_devices_and_formats_are_left_to_torch():
    assert not native.supports(torch.empty(1, dtype=torch.bfloat16))
    assert not native.supports(torch.empty(1, device="meta"))
    assert not native.supports(torch.empty(1), torch.empty(1, dtype=torch.float64))
