"""Compiled kernels are an option: nothing breaks without them, and nobody else's files are ever loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest
import torch

from defect_synth.files import is_own
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
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kernels-0.so", "kernels-0.so.sha256"]


@pytest.mark.parametrize("damage", [b"", b"comp", b"compiled?", None, b"\xff"])
def test_a_damaged_or_foreign_file_is_compiled_again_and_said(damage, compiler, tmp_path, caplog):
    target = native._built("g++", tmp_path / "kernels-0.so")
    if damage is None:
        target.with_name("kernels-0.so.sha256").unlink()
    else:
        target.write_bytes(damage)
    native._built("g++", target)
    native._built("g++", target)
    assert target.read_text() == "compiled"
    assert len(compiler) == 2
    assert [record.message for record in caplog.records] == [f"{target} is damaged or foreign; it is compiled again"]


@COMPILER
@pytest.mark.slow  # compiles twice
@pytest.mark.parametrize("size", [0, 50_000])
def test_a_truncated_file_in_the_cache_does_not_crash_the_process(size, tmp_path):
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    mean = run(**environment)
    (kernels,) = tmp_path.glob("defect-synth/*.so")
    os.truncate(kernels, size)
    assert run(**environment) == mean
    assert kernels.stat().st_size > 50_000


def test_a_failed_compilation_leaves_nothing(monkeypatch, tmp_path):
    def fail(command, **options):
        raise subprocess.CalledProcessError(1, command, stderr=b"no such flag")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(subprocess.CalledProcessError):
        native._built("g++", tmp_path / "kernels-0.so")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("printf 'erreur : \\351t\\351\\033[1m\\nligne 2' >&2; exit 1", "g++ says: erreur : ?t??[1m ligne 2"),
        ("printf caf\\351; exit 0", "g++ claims success and wrote nothing"),
        ("exit 1", "g++ says: nothing"),
    ],
)
def test_a_compiler_that_fails_in_any_encoding_is_said_in_one_line(script, said, tmp_path, monkeypatch, caplog):
    compiler = tmp_path / "bin" / "g++"
    compiler.parent.mkdir()
    compiler.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit 0\n{script}\n')
    compiler.chmod(0o755)
    monkeypatch.setattr(native.shutil, "which", lambda name: str(compiler))
    for name in ("XDG_CACHE_HOME", "HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "cache"))
    assert native._load() is None
    (record,) = caplog.records
    assert record.message.startswith("convolutions use their slower PyTorch form, since the kernels were not compiled")
    assert said in record.message.replace("\N{REPLACEMENT CHARACTER}", "?")
    assert record.message.isprintable()


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path):
    shared, own, link = tmp_path / "shared", tmp_path / "own", tmp_path / "link"
    shared.mkdir()
    shared.chmod(0o777)
    assert is_own(own)
    link.symlink_to(own)
    assert not is_own(shared)
    assert not is_own(link)


def test_other_devices_and_formats_are_left_to_torch():
    assert not native.supports(torch.empty(1, dtype=torch.bfloat16))
    assert not native.supports(torch.empty(1, device="meta"))
    assert not native.supports(torch.empty(1), torch.empty(1, dtype=torch.float64))
