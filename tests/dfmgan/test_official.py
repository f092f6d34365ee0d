from __future__ import annotations

import builtins
import io
import json
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.config import DiscriminatorConfig
from defect_synth.dfmgan.discriminators import build_discriminator, build_match_discriminator
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.official import (
    import_snapshot,
    model_config,
    read_snapshot,
    to_official_discriminator,
    to_official_generator,
    to_ours_discriminator,
    to_ours_generator,
)
from defect_synth.dfmgan.official.standins import GLOBALS
from defect_synth.errors import CheckpointError, DefectSynthError
from tests.official_pickles import (
    EasyDict,
    PersistentModule,
    binomial,
    content,
    dumps,
    generator_tensors,
    module_tree,
    networks,
)

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "tiny64"


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def refusal(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as error:
        read_snapshot(path)
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


# Reading


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


# Safety


class Call:
    """Pickles as a call of `function` on `args`."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> Any:
        return self.function, self.args


def attacks(marker: Path) -> dict[str, tuple[object, str]]:
    """Name -> (object whose plain unpickling creates `marker`, the global that must be named when it is refused)."""
    touch = f"touch '{marker}'"
    python = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": (Call(os.system, touch), f"{os.system.__module__}.system"),
        "eval": (Call(builtins.eval, python), "builtins.eval"),
        "exec": (Call(builtins.exec, python), "builtins.exec"),
        "getattr": (Call(marker.touch), "builtins.getattr"),  # how a bound method is pickled
    }


ATTACKS = ("os.system", "eval", "exec", "getattr")


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("place", ["alone", "beside", "state", "arguments"])
def test_code_in_a_pickle_is_refused_by_name_and_not_run(
    tmp_path: Path, attack: str, protocol: int, place: str
) -> None:
    marker = tmp_path / "executed"
    payload, name = attacks(marker)[attack]
    if place == "alone":
        pickle.loads(pickle.dumps(payload, protocol=protocol))
        assert marker.exists(), "the attack must work where nobody defends, or this test shows nothing"
        marker.unlink()
    module = module_tree({"mapping.w_avg": torch.zeros(4)}, {"z_dim": 4})
    if place == "arguments":
        module._init_kwargs["z_dim"] = payload
    if place == "state":
        module._modules["mapping"].activation = payload
    value = {"alone": payload, "beside": {"G": module, "augment_pipe": payload}}.get(place, {"G": module})

    text = refusal(tmp_path / "a.pkl", dumps(value, protocol=protocol))

    assert not marker.exists()
    assert "no StyleGAN2/DFMGAN snapshot needs; refused, nothing was executed" in text
    assert f"refers to {name}," in text


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("zipped", [False, True])
def test_code_inside_the_bytes_of_a_tensor_is_not_run(tmp_path: Path, attack: str, zipped: bool) -> None:
    marker = tmp_path / "executed"
    payload, name = attacks(marker)[attack]
    nested = io.BytesIO()
    torch.save(payload, nested, _use_new_zipfile_serialization=zipped)
    module = module_tree({"mapping.w_avg": torch.zeros(4)}, {})
    module._modules["mapping"]._buffers["w_avg"] = Call(torch.storage._load_from_bytes, nested.getvalue())

    text = refusal(tmp_path / "a.pkl", dumps({"G": module}))

    assert not marker.exists()
    assert f"refers to {name.removeprefix('builtins.')}, which" in text  # torch leaves the module of builtins out


def test_the_source_text_of_a_network_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    module = module_tree({"mapping.w_avg": torch.zeros(4)}, {})
    module.module_src = f"open({str(marker)!r}, 'w').close()"
    path = tmp_path / "a.pkl"
    path.write_bytes(dumps({"G": module}))
    modules = set(sys.modules)

    snapshot = read_snapshot(path)

    assert not marker.exists()
    assert "executed" not in repr(snapshot)
    assert not {name for name in set(sys.modules) - modules if name.startswith(("torch_utils", "dnnlib"))}


def short(text: str) -> bytes:
    return b"\x8c" + struct.pack("B", len(text)) + text.encode()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "path.exists"),
        ("torch", "serialization.os.system"),
        ("torch", "device.__class__"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("collections", "OrderedDict.fromkeys"),
        ("builtins", "dict.__class__"),
        ("builtins", "__import__"),
        ("torch_utils.persistence", "import_hook"),
        ("torch_utils", "persistence._reconstruct_persistent_obj"),
        ("numpy.core.multiarray", "fromfile"),
        ("torch.storage", "torch.load"),
    ],
)
def test_dotted_and_neighbouring_names_are_refused(tmp_path: Path, module: str, name: str) -> None:
    data = b"\x80\x04" + short(module) + short(name) + b"\x93."

    assert f"refers to {module}.{name}, which" in refusal(tmp_path / "a.pkl", data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"(S'touch {}'\nios\nsystem\n.", id="INST"),
        pytest.param(b"(cos\nsystem\nS'touch {}'\no.", id="OBJ"),
        pytest.param(b"\x80\x02cos\nsystem\nU\x01x\x85\x81.", id="NEWOBJ"),
        pytest.param(b"\x80\x04cos\nsystem\n)}\x92.", id="NEWOBJ_EX"),
        pytest.param(b"\x80\x02cdnnlib.util\nEasyDict\n)\x81}U\x0c__setstate__cos\nsystem\nsbU\x01xb.", id="setstate"),
    ],
)
def test_other_opcodes_that_call_are_refused(tmp_path: Path, data: bytes) -> None:
    marker = tmp_path / "executed"

    assert "refers to os.system" in refusal(tmp_path / "a.pkl", data.replace(b"{}", str(marker).encode()))
    assert not marker.exists()


@pytest.mark.parametrize("key", sorted(GLOBALS), ids=".".join)
@pytest.mark.parametrize("slots", [False, True])
def test_nothing_that_a_pickle_can_name_can_be_changed(tmp_path: Path, key: tuple[str, str], slots: bool) -> None:
    before = {name: dict(vars(kind)) for name, kind in GLOBALS.items() if isinstance(kind, type)}
    state = b"}" + short("__setstate__") + short("planted") + b"s"
    build = b"N" + state + b"\x86b" if slots else state + b"b"

    refusal(tmp_path / "a.pkl", b"\x80\x04" + short(key[0]) + short(key[1]) + b"\x93" + build + b".")

    assert {name: dict(vars(kind)) for name, kind in GLOBALS.items() if isinstance(kind, type)} == before
    tensors = {"mapping.w_avg": torch.arange(4.0)}
    path = tmp_path / "b.pkl"
    path.write_bytes(dumps({"G": module_tree(tensors, {"mapping_kwargs": EasyDict(num_layers=np.int64(2))})}))
    after = read_snapshot(path).networks["G"]
    assert same(after.tensors, tensors)
    assert after.init_kwargs == {"mapping_kwargs": {"num_layers": 2}}


@pytest.mark.parametrize("attribute", ["__setstate__", "__class__", "extend", "append", "view", "read", "_flat"])
def test_planted_attributes_do_not_act(tmp_path: Path, attribute: str) -> None:
    """Instances may be given any attribute; it is data, found in the state at most."""
    for target in (b"cdnnlib.util\nEasyDict\n)\x81", b"ctorch.nn.modules.padding\nReplicationPad2d\n)\x81"):
        planted = b"}" + short(attribute) + b"ctorch._utils\n_rebuild_tensor_v2\nsb"
        refusal(tmp_path / "a.pkl", b"\x80\x04" + target + planted + b"}b(K\x01e.")


@pytest.mark.parametrize("state", [{"_layout": 0}, (None, {"_layout": 0}), (None, {"_flat": 0})])
@pytest.mark.parametrize("part", ["tensor", "storage", "function"])
def test_tensors_storages_and_functions_take_no_attributes(tmp_path: Path, part: str, state: object) -> None:
    storage = torch.zeros(4)._typed_storage()

    class Changed:
        def __reduce__(self) -> Any:
            if part == "tensor":
                return torch._utils._rebuild_tensor_v2, (storage, 0, (4,), (1,), False, {}), state
            return (*storage.__reduce__(), state)

    data = dumps({"G": Changed()})
    if part == "function":
        data = b"\x80\x02ctorch.storage\n_load_from_bytes\n" + pickle.dumps(state, protocol=2)[2:-1] + b"b."

    assert f"attempt to change a {part}" in refusal(tmp_path / "a.pkl", data)


def test_persistent_ids_and_foreign_reconstruction_are_refused(tmp_path: Path) -> None:
    refusal(tmp_path / "a.pkl", b"\x80\x02U\x01xQ.")
    refusal(tmp_path / "a.pkl", b"\x80\x02ccopy_reg\n_reconstructor\nc__builtin__\nset\nc__builtin__\nobject\nN\x87R.")
    text = refusal(
        tmp_path / "a.pkl", b"\x80\x02ccopy_reg\n_reconstructor\ncos\n_wrap_close\nc__builtin__\nobject\nN\x87R."
    )
    assert "os._wrap_close" in text


def test_escape_sequences_in_a_name_do_not_reach_the_terminal(tmp_path: Path) -> None:
    text = refusal(tmp_path / "a.pkl", b"\x80\x04" + short("os\x1b[2J\n") + short("system") + b"\x93.")

    assert "\x1b" not in text
    assert "system" in text


def test_only_latin1_bytes_are_decoded(tmp_path: Path) -> None:
    """Other codecs would inflate compressed data or import modules."""
    data = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R."

    assert "encoding hex" in refusal(tmp_path / "a.pkl", data)


# Wrong kinds of file


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
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(40), "is no pickle", id="png"),
        pytest.param(b"epoch,loss\n1,0.5\n", "is no pickle", id="text"),
        pytest.param(pickle.dumps([1, 2]), r"without any of G, .*found: list", id="list"),
        pytest.param(pickle.dumps({"model": 1}), r"without any of G, .*found: model", id="other dictionary"),
        pytest.param(pickle.dumps({"G": 1}), "G is no network, but int", id="no network"),
        pytest.param(b"\x80\x03cdnnlib.tflib.network\nNetwork\n)\x81.", "TensorFlow StyleGAN2", id="tensorflow"),
    ],
)
def test_other_files_are_told_apart(tmp_path: Path, data: bytes, kind: str) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(data)

    with pytest.raises(CheckpointError, match=kind):
        read_snapshot(path)


def test_missing_file_and_folder_are_reported(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.pkl"):
        with pytest.raises(CheckpointError, match=r"is not a file; expected a network-snapshot"):
            read_snapshot(path)


# Configuration


def imported(tmp_path: Path, change: Callable[[dict[str, Any]], None] | None = None, **kind: Any) -> Any:
    parts = networks(**kind)
    if change is not None:
        change(parts)
    path = tmp_path / "a.pkl"
    path.write_bytes(dumps(content(parts)))
    return import_snapshot(path)


def test_stage_two_snapshot_becomes_a_dfmgan(tmp_path: Path) -> None:
    parts = networks(stage=2)
    found = imported(tmp_path, stage=2)

    assert found.stage == 2
    backbone = found.config.backbone
    assert (backbone.resolution, backbone.z_dim, backbone.w_dim, backbone.mapping_layers) == (64, 32, 32, 2)
    assert (backbone.channel_base, backbone.channel_max, backbone.conv_clamp) == (1024, 32, 256)
    assert (found.config.residual.first_resolution, found.config.residual.mask_threshold) == (16, 0.25)
    assert found.config.residual.mask_dtype == "float16"
    assert found.config.discriminator == DiscriminatorConfig(channel_base=1024, channel_max=32)
    assert found.config.match_discriminator == DiscriminatorConfig(channel_base=512, channel_max=16)
    ema = parts["G_ema"][0]
    for ours, theirs in {
        "backbone.mapping.layers.1.weight": "mapping.fc1.weight",
        "backbone.mapping.w_avg": "mapping.w_avg",
        "backbone.synthesis.blocks.4.const": "synthesis.b4.const",
        "backbone.synthesis.blocks.8.up.affine.bias": "synthesis.b8.conv0.affine.bias",
        "backbone.synthesis.blocks.64.conv.noise_const": "synthesis.b64.conv1.noise_const",
        "backbone.synthesis.blocks.4.to_rgb.weight": "synthesis.b4.torgb.weight",
        "defect_mapping.layers.0.bias": "defect_mapping.fc0.bias",
        "defect_mapping.w_avg": "defect_mapping.w_avg",
        "residual.blocks.16.up.weight": "synthesis.res_b16.conv0.weight",
        "residual.blocks.64.conv.noise_strength": "synthesis.res_b64.conv1.noise_strength",
        "residual.to_mask.weight": "synthesis.res_b16.torgb.weight",
    }.items():
        assert torch.equal(found.generator_ema[ours], ema[theirs]), ours
        assert not torch.equal(found.generator[ours], ema[theirs]), "G is not G_ema"
    D = parts["D"][0]
    for ours, theirs in {
        "from_rgb.weight": "b64.fromrgb.weight",
        "blocks.64.conv.weight": "b64.conv0.weight",
        "blocks.8.down.bias": "b8.conv1.bias",
        "blocks.16.skip.weight": "b16.skip.weight",
        "epilogue.conv.weight": "b4.conv.weight",
        "epilogue.fc.bias": "b4.fc.bias",
        "epilogue.out.weight": "b4.out.weight",
    }.items():
        assert torch.equal(found.discriminator[ours], D[theirs]), ours
    assert found.match_discriminator["from_rgb.weight"].shape == (8, 4, 1, 1)


def test_stage_one_snapshot_becomes_a_backbone(tmp_path: Path) -> None:
    found = imported(tmp_path, stage=1)

    assert found.stage == 1
    assert found.match_discriminator is None
    assert found.config.residual.mask_dtype == "float32"
    assert found.config.residual.first_resolution == 16
    assert {name.split(".")[0] for name in found.generator_ema} == {"mapping", "synthesis"}


def test_grey_snapshot_has_one_image_channel(tmp_path: Path) -> None:
    found = imported(tmp_path, stage=1, channels=1)

    assert found.config.backbone.image_channels == 1
    assert found.generator_ema["synthesis.blocks.64.to_rgb.weight"].shape == (1, 16, 1, 1)


def test_stage_two_without_match_discriminator_is_read(tmp_path: Path) -> None:
    def change(parts: dict[str, Any]) -> None:
        del parts["D_match"]
        for name in ("G", "G_ema"):
            parts[name][1]["transfer"] = "res_block"

    found = imported(tmp_path, change, stage=2)

    assert (found.stage, found.match_discriminator) == (2, None)


def test_arguments_that_are_not_listed_have_the_defaults_of_stylegan2_ada(tmp_path: Path) -> None:
    """Weights of this size would be large, so only the settings are derived here."""
    tensors = {"mapping.w_avg": torch.zeros(4)}
    G = dict(z_dim=512, c_dim=0, w_dim=512, img_resolution=256, img_channels=3)
    D = dict(c_dim=0, img_resolution=256, img_channels=3)
    path = tmp_path / "a.pkl"
    path.write_bytes(dumps(content({"G": (tensors, G), "G_ema": (tensors, G), "D": (tensors, D)})))

    config = model_config(read_snapshot(path))

    assert (config.backbone.channel_base, config.backbone.channel_max) == (32768, 512)
    assert config.backbone.mapping_layers == 8
    assert config.backbone.conv_clamp >= 1e30
    assert torch.tensor(config.backbone.conv_clamp, dtype=torch.float32).isfinite()
    assert config.discriminator == DiscriminatorConfig(channel_base=32768, channel_max=512, minibatch_std_group=4)
    assert config.residual.first_resolution == 64


def generators(**arguments: Any) -> Callable[[dict[str, Any]], None]:
    """Changes constructor arguments of G and G_ema; a dict is merged into the section of that name."""

    def change(parts: dict[str, Any]) -> None:
        for name in ("G", "G_ema"):
            for key, value in arguments.items():
                if isinstance(value, dict):
                    parts[name][1][key].update(value)
                else:
                    parts[name][1][key] = value

    return change


def discriminators(**arguments: Any) -> Callable[[dict[str, Any]], None]:
    return lambda parts: parts["D"][1].update(arguments)


def without(network: str, key: str | None = None) -> Callable[[dict[str, Any]], None]:
    return lambda parts: parts.pop(network) if key is None else parts[network][1].pop(key)


def tensor(network: str, name: str, value: torch.Tensor | None) -> Callable[[dict[str, Any]], None]:
    def change(parts: dict[str, Any]) -> None:
        if value is None:
            del parts[network][0][name]
        else:
            parts[network][0][name] = value

    return change


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (generators(c_dim=4), r"G is conditional \(c_dim=4\).*one model per defect"),
        (discriminators(c_dim=3), r"D is conditional \(c_dim=3\)"),
        (generators(synthesis_kwargs={"no_round": True}), r"no_round=True \(soft gate\), which is not supported"),
        (generators(synthesis_kwargs={"tanh_mask": "early"}), "tanh_mask='early'"),
        (generators(synthesis_kwargs={"architecture": "resnet"}), "architecture='resnet'.*expected 'skip'"),
        (generators(synthesis_kwargs={"resample_filter": [1, 2, 1]}), r"resample_filter=\[1, 2, 1\]"),
        (generators(mapping_kwargs={"lr_multiplier": 0.1}), "lr_multiplier=0.1"),
        (discriminators(architecture="orig"), "D was built with architecture='orig'.*expected 'resnet'"),
        (discriminators(epilogue_kwargs={"mbstd_group_size": None}), "mbstd_group_size=None"),
        (discriminators(conv_clamp=None), "conv_clamp is 256 in G_ema and None in D"),
        (generators(transfer="dual_mod"), "transfer='dual_mod'; expected none"),
        (generators(transfer="none"), "a defect branch, but transfer='none'"),
        (generators(img_channels=4), "G makes 4 image channels"),
        (generators(img_resolution=2048), "cannot be imported: backbone.resolution"),
        (generators(img_resolution="64 px"), "cannot be imported: backbone.resolution"),
        (generators(img_resolution=128), "G: .* tensors are missing that its settings ask for"),
        (generators(synthesis_kwargs={"channel_max": 16}), r"G: .*has shape \[.*\]; its settings give \["),
        (generators(synthesis_kwargs={"res_st": 32}), "res_b16.torgb"),
        (discriminators(channel_base=2048), r"D: .*has shape \["),
        (generators(mapping_kwargs={"num_layers": 1}), r"G: 4 tensors are beyond"),
        (without("G_ema"), "holds no G_ema"),
        (without("D"), "holds no D "),
        (without("G_ema", "z_dim"), "built without z_dim"),
        (
            tensor("G", "synthesis.b8.conv0.bias", None),
            r"G: 1 tensors are missing .* backbone.synthesis.blocks.8.up.bias",
        ),
        (tensor("D", "b8.extra.weight", torch.zeros(1)), "D: tensor 'b8.extra.weight' belongs to no"),
        (tensor("D", "b4.fc.weight", torch.zeros(1, 1)), r"D: epilogue.fc.weight has shape \[1, 1\]"),
        (tensor("G_ema", "synthesis.b8.resample_filter", torch.ones(4, 4)), r"G_ema: .* is not the \[1, 3, 3, 1\]"),
    ],
)
def test_what_cannot_be_reproduced_is_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], line: str
) -> None:
    with pytest.raises(CheckpointError, match=line) as error:
        imported(tmp_path, change, stage=2)
    assert "\n" not in str(error.value)
    assert str(tmp_path / "a.pkl") in str(error.value)


# Names


@pytest.mark.parametrize("stage", [1, 2])
def test_imported_weights_load_into_our_networks(tmp_path: Path, stage: int) -> None:
    found = imported(tmp_path, stage=stage)
    generator = DFMGAN(found.config) if stage == 2 else Backbone(found.config.backbone)

    generator.load_state_dict(found.generator_ema, strict=True)
    build_discriminator(found.config).load_state_dict(found.discriminator, strict=True)
    if stage == 2:
        build_match_discriminator(found.config).load_state_dict(found.match_discriminator, strict=True)

    assert all(torch.equal(tensor, found.generator_ema[name]) for name, tensor in generator.state_dict().items())


@pytest.mark.parametrize("stage", [1, 2])
def test_names_round_trip_with_their_filters(tmp_path: Path, stage: int) -> None:
    found = imported(tmp_path, stage=stage)
    parts = networks(stage=stage)

    assert same(to_official_generator(found.generator, found.config), parts["G"][0])
    assert same(to_official_discriminator(found.discriminator), parts["D"][0])
    if stage == 2:
        assert same(to_official_discriminator(found.match_discriminator), parts["D_match"][0])
    assert same(to_ours_discriminator(to_official_discriminator(found.discriminator)), found.discriminator)
    again = to_ours_generator(to_official_generator(found.generator_ema, found.config), found.config)
    assert same(again, found.generator_ema)


def test_the_dropped_filter_sums_to_one() -> None:
    assert binomial().sum() == 1
    state = {"b8.conv0.weight": torch.zeros(1, 1, 3, 3), "b8.resample_filter": binomial()}

    assert to_ours_discriminator(state).keys() == {"blocks.8.conv.weight"}
    with pytest.raises(CheckpointError, match="the only one supported"):
        to_ours_discriminator(state | {"b8.resample_filter": binomial() * 4})


def test_unknown_names_of_ours_are_refused() -> None:
    with pytest.raises(DefectSynthError, match="belongs to no"):
        to_official_discriminator({"blocks.8.gate.weight": torch.zeros(1)})


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the arrays of the authors' networks are not beside the repository")
@pytest.mark.parametrize("stage", [1, 2])
def test_look_alikes_have_the_names_and_shapes_of_the_authors_networks(stage: int) -> None:
    from safetensors import safe_open

    with safe_open(FIXTURES / f"stage{stage}.safetensors", "pt") as file:
        genuine = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    ours = {
        f"{network}.{name}": tuple(tensor.shape)
        for network, (tensors, _) in networks(stage=stage).items()
        for name, tensor in tensors.items()
    }
    assert ours == genuine
