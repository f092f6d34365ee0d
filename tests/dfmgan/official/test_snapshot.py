from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from defect_synth.dfmgan.official import (
    read_snapshot,
)
from defect_synth.errors import CheckpointError
from tests.dfmgan.official.pickles import (
    EasyDict,
    PersistentModule,
    content,
    dumps,
    generator_tensors,
    module_tree,
    networks,
    refusal,
    same,
)


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize(("protocol", "oldest_torch"), [(4, False), (5, False), (3, True), (2, True), (0, False)])
def test_every_tensor_and_argument_is_read_exactly(
    tmp_path: Path, stage: int, protocol: int, oldest_torch: bool
) -> None:
    parts = networks(stage=stage)
    path = tmp_path / "network-snapshot-000040.pkl"
    path.write_bytes(dumps(content(parts), protocol=protocol, oldest_torch=oldest_torch))

    snapshot = read_snapshot(path)

    assert snapshot.networks.keys() == parts.keys()
    for name, (tensors, arguments) in parts.items():
        found = snapshot.networks[name]
        assert same(found.tensors, tensors)
        assert found.init_kwargs == arguments
        assert json.loads(json.dumps(found.init_kwargs)) == arguments


def test_names_are_those_of_state_dict_without_transient_buffers(tmp_path: Path) -> None:
    module = module_tree(generator_tensors(0, stage=1), {"z_dim": 32})
    module.register_buffer("kept", torch.ones(2, dtype=torch.float16))
    module.register_buffer("transient", torch.ones(3), persistent=False)
    module.register_parameter("absent", None)
    path = tmp_path / "a.pkl"
    path.write_bytes(dumps({"G": module}))

    tensors = read_snapshot(path).networks["G"].tensors

    assert tensors.keys() == module.state_dict().keys()
    assert tensors["kept"].dtype == torch.float32


def test_tensors_with_strides_and_shared_memory_are_read_as_copies(tmp_path: Path) -> None:
    module = PersistentModule()
    module._init_kwargs = {}
    base = torch.arange(12.0)
    module.register_buffer("turned", base.view(3, 4).t())
    module.register_buffer("tail", base[8:])
    path = tmp_path / "a.pkl"
    path.write_bytes(dumps({"G": module}))

    tensors = read_snapshot(path).networks["G"].tensors

    assert torch.equal(tensors["turned"], base.view(3, 4).t())
    assert torch.equal(tensors["tail"], base[8:])
    assert tensors["turned"].is_contiguous()
    assert tensors["turned"].untyped_storage().data_ptr() != tensors["tail"].untyped_storage().data_ptr()


def test_numpy_numbers_among_arguments_become_plain_numbers(tmp_path: Path) -> None:
    module = PersistentModule()
    values = {"a": np.float64(0.5), "b": np.float32(0.25), "c": np.int64(-7), "d": np.bool_(True), "e": np.int8(3)}
    module._init_kwargs = EasyDict(values, big=np.array([1.5], dtype=">f4")[0], shape=(1, 2), array=np.arange(3))
    path = tmp_path / "a.pkl"
    path.write_bytes(dumps({"G": module}))

    found = read_snapshot(path).networks["G"].init_kwargs

    assert {name: found[name] for name in values} == {"a": 0.5, "b": 0.25, "c": -7, "d": True, "e": 3}
    assert (found["big"], found["shape"], found["array"]) == (1.5, [1, 2], "<InertObject>")
    assert all(type(found[name]) in (bool, int, float) for name in values)


def test_tensor_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    class Wide:
        def __reduce__(self) -> Any:
            storage = torch.zeros(4)._typed_storage()
            return torch._utils._rebuild_tensor_v2, (storage, 0, (1000,), (1,), False, {})

    module = PersistentModule()
    module._init_kwargs = {}
    module._buffers["wide"] = Wide()

    assert "damaged" in refusal(tmp_path / "a.pkl", dumps({"G": module}))


def test_cut_files_are_reported_in_one_line(tmp_path: Path) -> None:
    data = dumps(content(networks(stage=1)))

    for share in (0.01, 0.1, 0.5, 0.9, 0.999):
        assert "is cut short or damaged" in refusal(tmp_path / "a.pkl", data[: int(len(data) * share)])
    assert "is cut short or damaged" in refusal(tmp_path / "a.pkl", data[:-1])


def test_flipped_bytes_never_raise_anything_but_a_checkpoint_error(tmp_path: Path) -> None:
    module = module_tree({"mapping.w_avg": torch.zeros(4), "mapping.fc0.weight": torch.zeros(2, 2)}, {"z_dim": 4})
    data = bytearray(dumps({"G": module}))
    rng = np.random.default_rng(0)
    path = tmp_path / "a.pkl"
    outcomes = {"read": 0, "refused": 0}

    for position in rng.integers(0, len(data), 300):
        damaged = bytearray(data)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            read_snapshot(path)
            outcomes["read"] += 1
        except CheckpointError:
            outcomes["refused"] += 1

    assert min(outcomes.values()) > 10


def saved(**how: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save({"G": torch.zeros(2)}, buffer, **how)
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("00000/img00000000.png", b"x")
    return buffer.getvalue()


def safetensors() -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(saved(), "written by torch.save", id="torch.save"),
        pytest.param(saved(_use_new_zipfile_serialization=False), r"written by torch.save \(old", id="old torch.save"),
        pytest.param(zipped(), "is a zip archive", id="zip"),
        pytest.param(zipped()[:40], "is a damaged zip", id="cut zip"),
        pytest.param(safetensors(), "is a safetensors file", id="safetensors"),
        pytest.param(b"\n<!DOCTYPE html><html>quota exceeded", "is a web page", id="web page"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer", id="lfs"),
        pytest.param(b"\x1f\x8b\x08\x00", "is gzip", id="gzip"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(40), "is not a pickle", id="png"),
        pytest.param(b"epoch,loss\n1,0.5\n", "is not a pickle", id="text"),
        pytest.param(pickle.dumps([1, 2]), r"without any of G, .*found: list", id="list"),
        pytest.param(pickle.dumps({"model": 1}), r"without any of G, .*found: model", id="other dictionary"),
        pytest.param(pickle.dumps({"G": 1}), "G is not a network but int", id="no network"),
        pytest.param(b"\x80\x03cdnnlib.tflib.network\nNetwork\n)\x81.", "TensorFlow StyleGAN2", id="tensorflow"),
    ],
)
def test_another_kind_of_file_is_named(tmp_path: Path, data: bytes, kind: str) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(data)

    with pytest.raises(CheckpointError, match=kind):
        read_snapshot(path)


def test_missing_file_and_folder_are_reported(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.pkl"):
        with pytest.raises(CheckpointError, match=r"is not a file; expected a network-snapshot"):
            read_snapshot(path)
