from __future__ import annotations

import builtins
import io
import os
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from defect_synth.dfmgan.official import (
    read_snapshot,
)
from defect_synth.dfmgan.official.standins import GLOBALS
from tests.dfmgan.official.pickles import (
    EasyDict,
    dumps,
    module_tree,
    refusal,
    same,
)


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
    assert f"refers to {name}, which" in text


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
