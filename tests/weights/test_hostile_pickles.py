"""A few bytes that stand for gigabytes, hours or a crash: each is one line, soon and in little memory."""

from __future__ import annotations

import io
import os
import pickle
import signal
import struct
import threading
import time
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from defect_synth.dfmgan.official import import_snapshot
from defect_synth.errors import CheckpointError
from defect_synth.metrics.weights_file import read_tensors
from tests.dfmgan.official.pickles import PersistentModule, content, dumps, networks
from tests.forked import run_forked

MEMORY = 1 << 30


def short(text: str) -> bytes:
    return b"\x8c" + struct.pack("B", len(text)) + text.encode()


def name(module: str, attribute: str) -> bytes:
    return short(module) + short(attribute) + b"\x93"


def doubled(times: int, pair: bytes = b"0h%ch%c\x86\x94") -> bytes:
    """Tuples whose two halves are the same tuple, so that 2^times steps compare or hash one."""
    return b")\x94" + b"".join(pair % (i, i) for i in range(times))


MEGABYTE = b"B" + struct.pack("<I", 1 << 20) + bytes(1 << 20)
LONG = b"\x8b" + struct.pack("<I", 3000) + b"\x7f" * 3000
RAW_PICKLES = {
    # The three of faults.md.
    "deep tuple as a key": (b"\x80\x04})" + b"\x85" * 10**6 + b"Ns.", "steps|key"),
    "shared tuples as a key": (b"\x80\x04}" + doubled(60) + b"Ns.", "key of a dictionary"),
    "memo index 3e8": (b"\x80\x04Nr" + struct.pack("<I", 3 * 10**8) + b".", "without any of G.*NoneType"),
    # Others of the kind.
    "deep tuple": (b"\x80\x04)" + b"\x85" * 450_000 + b".", "without any of G"),
    "deep list": (b"\x80\x04" + b"]" * 240_000 + b"a" * 239_999 + b".", "without any of G"),
    "deep dictionary": (b"\x80\x04" + b"}K\x00" * 150_000 + b"N" + b"s" * 150_000 + b".", "without any of G"),
    "deep objects": (
        b"\x80\x04" + name("torch.nn.modules.padding", "ReplicationPad2d") + b"\x940" + b"h\x00)\x81" * 110_000
        + b"b" * 109_999 + b".", "without any of G",
    ),
    "shared tuples in a frozenset": (b"\x80\x04(" + doubled(60) + b"\x91.", "key of a dictionary"),
    "shared tuples in a set": (b"\x80\x04\x8f(" + doubled(60) + b"\x90.", "key of a dictionary"),
    "shared tuples in a called set": (
        b"\x80\x04" + name("builtins", "set") + b"]" + doubled(60) + b"a\x85R.", "key of a dictionary"
    ),
    "shared tuples as pairs": (
        b"\x80\x04" + name("collections", "OrderedDict") + b"]" + doubled(60) + b"N\x86a\x85R.", "key of a dictionary"
    ),
    "shared tuples in a message": (
        b"\x80\x04" + name("_codecs", "encode") + b"\x8c\x01a" + doubled(60) + b"\x86R.", "in encoding unknown"
    ),
    "shared tuples as a device": (
        b"\x80\x04" + name("torch", "device") + doubled(60) + b"\x85R.", "without any of G"
    ),
    "colliding integers": (b"\x80\x04}\x8a\x08" + struct.pack("<Q", (1 << 61) - 1) + b"Ns.", "key of a dictionary"),
    "memo as text": (b"\x80\x04Np999999999999\n.", "without any of G"),
    "never made": (b"\x80\x04j" + struct.pack("<I", 4 * 10**9) + b".", "never made"),
    "a frame of exabytes": (b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.", "without any of G"),
    "text of exabytes": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b".", "is cut short or damaged"),
    "bytes of gigabytes": (b"\x80\x04B" + struct.pack("<I", 4 * 10**9) + b".", "is cut short or damaged"),
    "a byte array of exabytes": (b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".", "is cut short or damaged"),
    "an integer of 24,000 bits": (b"\x80\x04" + LONG + b".", "an integer of .* bits"),
    "an integer as text": (b"L" + b"9" * 4000 + b"L\n.", "an integer of .* bits"),
    "an integer as long text": (b"L" + b"9" * 100_000 + b"L\n.", "is not a pickle"),
    "nothing on the stack": (b"\x80\x04.", "without its operands"),
    "below the mark": (b"\x80\x04N(\x85.", "without its operands"),
    "without a mark": (b"\x80\x04t.", "without its mark"),
    "key without value": (b"\x80\x04}(Nu.", "key without its value|key of a dictionary"),
    "a list with entries": (b"\x80\x04]NNs.", "no dictionary"),
    "a dictionary with items": (b"\x80\x04}Na.", "no list"),
    "extension": (b"\x80\x02\x82\x01.", "opcode EXT1"),
    "a buffer outside": (b"\x80\x05\x97.", "opcode NEXT_BUFFER"),
    "persistent text": (b"Pabc\n.", "persistent id"),
    "protocol 200": (b"\x80\xc8N.", "pickle protocol 200"),
    "tuples copied 200,000 times": (
        b"\x80\x04" + name("torch", "Size") + b"\x940](" + b"N" * 50_000 + b"e\x940"
        + b"h\x00h\x01\x85R0" * 100_000 + b"N.", "more than 500000 steps",
    ),
    "bytes encoded 1,000 times": (
        b"\x80\x04" + name("_codecs", "encode") + b"\x940X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"\x940"
        + short("latin1") + b"\x940](" + b"h\x00h\x01h\x02\x86R" * 1000 + b"e.", "much larger than the file",
    ),
    "a storage read 800 times": (
        b"\x80\x04" + name("torch.storage", "_load_from_bytes") + b"\x940" + MEGABYTE + b"\x940]("
        + b"h\x00h\x01\x85R" * 800 + b"e.", "is cut short or damaged",
    ),
}  # fmt: skip


def ends_in_one_line(path: Path, call: object, words: str, folder: Path) -> None:
    """Check that the call raises one line with these words, in 10 seconds and 1 GB, in a child that may crash."""

    def child() -> None:
        try:
            call()  # type: ignore[operator]
        except CheckpointError as error:
            print(error)
            raise SystemExit(2) from None

    before = time.monotonic()
    ended = run_forked(child, folder, memory=MEMORY, seconds=60)
    assert (ended.signal, ended.code, ended.err) == ("", 2, "")
    assert ended.out.count("\n") == 1
    assert len(ended.out) < 1000
    import re

    assert re.search(words, ended.out), ended.out
    assert time.monotonic() - before < 30  # 10 where nothing else runs
    assert str(path) in ended.out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.mark.parametrize("case", RAW_PICKLES)
def test_a_pickle_that_asks_for_too_much_is_one_line(case: str, folder: Path) -> None:
    data, words = RAW_PICKLES[case]
    path = folder / "a.pkl"
    path.write_bytes(data)
    ends_in_one_line(path, lambda: import_snapshot(path), words, folder)


def buffers(**tensors: torch.Tensor) -> PersistentModule:
    module = PersistentModule()
    module._init_kwargs = {}
    for key, tensor in tensors.items():
        module.register_buffer(key, tensor)
    return module


def nested_arguments(levels: int) -> PersistentModule:
    module, value = buffers(), []
    for _ in range(levels):
        value = [value, value]
    module._init_kwargs = {"z_dim": value}
    return module


def endless_modules() -> PersistentModule:
    module = buffers()
    for _ in range(60):
        outer = buffers()
        outer._modules["a"] = outer._modules["b"] = module
        module = outer
    return module


def itself() -> PersistentModule:
    module = buffers()
    module._init_kwargs = {"a": []}
    module._init_kwargs["a"].append(module._init_kwargs["a"])
    return module


MODULES = {
    "one storage under 800 names": (
        lambda: buffers(**{f"t{i}": base for base in [torch.zeros(1 << 18)] for i in range(800)}),
        "more elements than",
    ),
    "stride 0": (lambda: buffers(t=torch.zeros(1).expand(800_000_000)), "more elements than"),
    "overlapping views": (lambda: buffers(t=torch.zeros(200_000).as_strided((100_000, 100_000), (1, 1))), "more elem"),
    "nothing, but wide": (lambda: buffers(t=torch.zeros(0).as_strided((0, 1 << 61), (1, 1))), "holds no G_ema|layout"),
    "shared arguments": (lambda: nested_arguments(60), "arguments of a network are too many"),
    "arguments that hold themselves": (itself, "arguments of a network are too many"),
    "modules in modules": (endless_modules, "modules are nested"),
}


@pytest.mark.parametrize("case", MODULES)
def test_a_network_that_is_larger_than_its_file_is_one_line(case: str, folder: Path) -> None:
    make, words = MODULES[case]
    path = folder / "a.pkl"
    path.write_bytes(dumps({"G": make()}))
    ends_in_one_line(path, lambda: import_snapshot(path), words, folder)


ARGUMENTS = [
    ("G", "c_dim", 10**5000, "an integer of 16610 bits"),
    ("synthesis_kwargs", "channel_max", 10**9, "channel_max: Input should be less than or equal to"),
    ("synthesis_kwargs", "channel_base", 10**9, "channel_base: Input should be less than or equal to"),
    ("synthesis_kwargs", "conv_clamp", float("nan"), "conv_clamp"),
    ("synthesis_kwargs", "conv_clamp", float("inf"), "conv_clamp"),
    ("mapping_kwargs", "num_layers", 10**9, "mapping_layers"),
    ("G", "z_dim", 10**9, "z_dim"),
    ("G", "img_resolution", 2**40, "resolution"),
    ("G", "img_channels", "3" * 900, "makes '333"),
    ("G", "mask_threshold", float("nan"), "mask_threshold"),
    ("G", "transfer", "\x1b[2J", r"transfer='\\x1b\[2J'"),
]


@pytest.mark.parametrize("number", range(len(ARGUMENTS)))
def test_an_argument_out_of_its_range_is_one_line(number: int, folder: Path) -> None:
    where, argument, value, words = ARGUMENTS[number]
    parts = networks(stage=2)
    for network in ("G", "G_ema", "D", "D_match"):
        arguments = parts[network][1]
        if where == "G" and network.startswith("G"):
            arguments[argument] = value
        elif where in arguments:
            arguments[where][argument] = value
        elif argument in arguments:
            arguments[argument] = value
    path = folder / "a.pkl"
    path.write_bytes(dumps(content(parts)))
    with pytest.raises(CheckpointError, match=words) as error:
        import_snapshot(path)
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("network", ["G_ema", "D"])
def test_weights_that_are_no_numbers_are_refused(network: str, value: float, tmp_path: Path) -> None:
    parts = networks(stage=1)
    first = next(key for key in parts[network][0] if key.endswith("weight"))
    parts[network][0][first].view(-1)[3] = value
    path = tmp_path / "a.pkl"
    path.write_bytes(dumps(content(parts)))
    with pytest.raises(
        CheckpointError, match=rf"{network} holds NaN or infinity instead of weights, first in '{first}'"
    ):
        import_snapshot(path)


def saved(value: object, *, zipped: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def rezipped(data: bytes, change: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", method) as new:
        for entry in old.namelist():
            new.writestr(entry, change.get(entry, old.read(entry)))
    return out.getvalue()


def pickled_in_archive(data: bytes) -> bytes:
    return rezipped(saved({"a": torch.zeros(2)}, zipped=True), {"archive/data.pkl": data})


def many_entries() -> bytes:
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * 200_000
    return b"PK\x03\x04" + directory + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), 4, 0)


def old_with_more(numel: int) -> bytes:
    return saved({"a": torch.zeros(77)}, zipped=False).replace(b"KM", b"J" + struct.pack("<i", numel))


PTH = {
    "shared tuples, archive": (lambda: pickled_in_archive(b"\x80\x04}" + doubled(60) + b"Ns."), "key of a dictionary"),
    "memo, archive": (lambda: pickled_in_archive(b"\x80\x04Nr" + struct.pack("<I", 3 * 10**8) + b"."), "a NoneType"),
    "deep tuple, archive": (lambda: pickled_in_archive(b"\x80\x04})" + b"\x85" * 10**6 + b"Ns."), "steps|key"),
    "zip bomb": (
        lambda: rezipped(saved({"a": torch.zeros(1 << 24)}, zipped=True), {}, zipfile.ZIP_DEFLATED), "it is compressed"
    ),
    "directory of 200,000 entries": (many_entries, "too many entries"),
    "stride 0, archive": (lambda: saved({"a": torch.zeros(1).expand(800_000_000)}, zipped=True), "more elements than"),
    "stride 0, old": (lambda: saved({"a": torch.zeros(1).expand(800_000_000)}, zipped=False), "more elements than"),
    "one storage under 800 names": (
        lambda: saved({f"t{i}": base for base in [torch.zeros(1 << 18)] for i in range(800)}, zipped=True), "more elem"
    ),
    "2e9 elements that are not there": (lambda: old_with_more(2 * 10**9), "cut short|another size"),
    "-1 elements": (lambda: old_with_more(-1), "damaged storage"),
    "storage missing": (
        lambda: saved({"a": torch.zeros(8)}, zipped=True).replace(b"archive/data/0", b"archive/data/1"), "not in the"
    ),
    "cut": (lambda: saved({"a": torch.zeros(1000)}, zipped=True)[:2000], "cut short"),
    "cut, old": (lambda: saved({"a": torch.zeros(1000)}, zipped=False)[:2000], "cut short"),
    "a class": (lambda: saved({"a": PersistentModule()}, zipped=True), "refers to tests"),
    "NaN": (lambda: saved({"a": torch.tensor([1.0, float("nan")])}, zipped=True), "NaN or infinity .* first in 'a'"),
    "infinity": (lambda: saved({"a": torch.tensor([1.0, float("inf")]).half()}, zipped=False), "NaN or infinity"),
}  # fmt: skip


@pytest.mark.parametrize("case", PTH)
def test_a_weights_file_that_asks_for_too_much_is_one_line(case: str, folder: Path) -> None:
    make, words = PTH[case]
    path = folder / "a.pth"
    path.write_bytes(make())
    ends_in_one_line(path, lambda: read_tensors(path, "expected weights"), words, folder)


HEADERS = {
    "header of 12 MB": (b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}', 12 << 20, "header of 12 MiB"),
    "header of exabytes": (b"{}", 1 << 62, "damaged"),
    "the same name twice": (
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        None, "damaged",
    ),
    "overlapping": (
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        None, "damaged",
    ),
    "wrong size": (b'{"a":{"dtype":"F64","shape":[2],"data_offsets":[0,8]}}', None, "damaged"),
    "product overflows": (
        b'{"a":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]}}', None, "damaged"
    ),
    "negative": (b'{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}', None, "damaged"),
    "NaN as a size": (b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', None, "damaged"),
    "empty, but wide": (
        b'{"a":{"dtype":"F32","shape":[0,9223372036854775807,4],"data_offsets":[0,0]},'
        b'"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', None, "damaged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADERS)
def test_a_safetensors_header_that_lies_is_one_line(case: str, folder: Path) -> None:
    header, length, words = HEADERS[case]
    path = folder / "a.safetensors"
    body = header + b" " * ((length or 0) - len(header) if length and length < 1 << 30 else 0)
    path.write_bytes(struct.pack("<Q", length or len(header)) + body + bytes(8))
    ends_in_one_line(path, lambda: read_tensors(path, "expected weights"), words, folder)


def test_ctrl_c_ends_the_reading_of_a_long_pickle(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x04" + b"N0" * 245_000 + b"N.")
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        import_snapshot(path)
    timer.join()


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saved_is_read_exactly(zipped: bool, tmp_path: Path) -> None:
    base = torch.arange(12.0)
    dtypes = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
              torch.uint8, torch.bool)  # fmt: skip
    tensors = {
        "base": base, "turned": base.view(3, 4).t(), "tail": base[8:], "empty": torch.zeros(0, 3), "number": base[3],
        "parameter": torch.nn.Parameter(torch.randn(2, 3, generator=torch.Generator().manual_seed(0))),
        **{str(dtype): torch.tensor([0, 1, 1]).to(dtype) for dtype in dtypes},
    }  # fmt: skip
    path = tmp_path / "a.pth"
    path.write_bytes(saved(OrderedDict(tensors, epoch=7, note="x", rates=[0.1, (1, 2)]), zipped=zipped))
    expected = torch.load(path, weights_only=True)

    found = read_tensors(path, "")

    assert found.keys() == tensors.keys()
    for key, tensor in found.items():
        assert tensor.dtype == expected[key].dtype
        assert torch.equal(tensor, expected[key])
        assert tensor.is_contiguous()


def test_tensors_inside_a_state_dict_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"epoch": 3, "state_dict": {"a": torch.ones(2)}, "optimizer": {"b": torch.zeros(3)}}, path)
    assert read_tensors(path, "").keys() == {"a"}


def test_a_pickle_of_every_protocol_means_what_it_means_to_pickle() -> None:
    from defect_synth.weights.budget import Budget
    from defect_synth.weights.pickle_machine import PickleMachine

    shared = [1, 2.5, -3, True, None, "ä\n'", 2**70, -(2**100), 255, 65535, -1]
    value = {"a": shared, "b": (shared, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), "c": {"d": {}}, "e": "x" * 300}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(value, protocol=protocol)
        found = PickleMachine(io.BytesIO(data), Budget(len(data)), lambda module, name: None).load()
        assert found == value
        assert found["a"] is found["b"][0]  # type: ignore[index]
    for protocol in (4, 5):
        more = {"s": {"x", 3}, "f": frozenset({"y"}), "b": b"\x00\xff" * 200}
        data = pickle.dumps(more, protocol=protocol)
        assert PickleMachine(io.BytesIO(data), Budget(len(data)), lambda module, name: None).load() == more


def test_the_largest_snapshot_stays_far_below_the_limit_of_steps() -> None:
    import pickletools

    from defect_synth.weights.budget import MOST_STEPS

    data = dumps(content(networks(stage=2)))
    assert sum(1 for _ in pickletools.genops(data)) * 10 < MOST_STEPS  # 64 px; those of 1024 px have twice the layers
