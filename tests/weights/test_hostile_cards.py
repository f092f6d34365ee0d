"""Cards that ask for gigabytes or say nonsense, and weights that are no numbers: one line before anything is made."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from defect_synth.baselines.sdgan_networks import SDGANGenerator
from defect_synth.baselines.translation import TranslationCard, load_generator
from defect_synth.data.png import decode_png, encode_png
from defect_synth.demo.models import shipped_painter
from defect_synth.dfmgan.bundle import pack
from defect_synth.dfmgan.checkpoint import DFMGANCard, build_generator
from defect_synth.dfmgan.synthesizer import DefectSynthesizer
from defect_synth.engine.checkpoint import load_checkpoint, save_checkpoint
from defect_synth.errors import CheckpointError, ConfigError, DefectSynthError
from defect_synth.metrics.efficientnet import EfficientNetLite0
from defect_synth.open import open_painter
from tests.dfmgan.test_synthesizer import write_run
from tests.forked import run_forked

Change = Callable[[dict[str, Any]], object]


def rewritten(path: Path, source: Path, change: Change, tensors: dict[str, torch.Tensor] | None = None) -> Path:
    """A copy of a checkpoint with another card, and some other tensors."""
    with safe_open(source, framework="pt") as opened:
        held = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
        key, text = next(iter((opened.metadata() or {}).items()))
    values = json.loads(text)
    change(values)
    save_file(held | (tensors or {}), path, metadata={key: json.dumps(values)})
    return path


def place(*path: str | int) -> Callable[[object], Change]:
    """Sets the value at a path in a card."""

    def to(value: object) -> Change:
        def change(card: dict[str, Any]) -> None:
            node: Any = card
            for part in path[:-1]:
                node = node[part]
            node[path[-1]] = value

        return change

    return to


@contextmanager
def one_line(path: Path, words: str) -> Iterator[None]:
    with pytest.raises(DefectSynthError, match=words) as error:
        yield
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 1500
    assert str(path) in text


def endless(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


SHAPE = ("product", "shapes", "crack", 0)
PAINTER = {
    "channels of 1e9": (place("model", "channels")([10**9] * 5), r"model.channels.0: Input should be less.*1000000000"),
    "negative channels": (place("model", "channels")([-1] * 5), "model.channels.0"),
    "no channels": (place("model", "channels")([]), "model.channels"),
    "the largest channels": (place("model", "channels")([2048] * 5), "another architecture"),
    "side of 1e9": (place("model", "side")(10**9), "model.side"),
    "NaN for grain": (place("model", "grain")(float("nan")), "model.grain: Input should be a finite number"),
    "reference 1": (place("reference")(1), "reference: Input should be greater than or equal to 16, got 1"),
    "reference 1e9": (place("reference")(10**9), "reference: Input should be less than"),
    "reference 32": (place("reference")(32), "training images have 32 px, but the normal images in it have 256"),
    "reference NaN": (place("reference")(float("nan")), "reference"),
    "reference of text": (place("reference")("x" * 10_000), "reference: .*got 'xx"),
    "no defects": (place("defects")([]), "defects"),
    "a defect twice": (place("defects")(["crack"] * 2), "defects: a name is listed twice"),
    "1e5 defects": (place("defects")([f"d{i}" for i in range(10**5)]), "defects"),
    "another defect": (place("defects")(["a", "b", "c", "d"]), "lacks exemplars of a;"),
    "radius NaN": (place(*SHAPE, "radius")(float("nan")), "number that is none or too large: nan"),
    "radius 0": (place(*SHAPE, "radius")(0), r"shapes.crack.0.radius: .*greater than or equal to 0.1, got 0"),
    "radius infinite": (place(*SHAPE, "radius")(float("inf")), "number that is none"),
    "radius of text": (place(*SHAPE, "radius")("wide"), "shapes.crack.0.radius: .*got 'wide'"),
    "offset of one": (place(*SHAPE, "offset")([1]), "shapes.crack.0.offset.1"),
    "offset 1e9": (place(*SHAPE, "offset")([1e9, 0]), "shapes.crack.0.offset.0"),
    "inside 2": (place(*SHAPE, "inside")(2), "shapes.crack.0.inside"),
    "no shapes": (place("product", "shapes", "crack")([]), "shapes.crack"),
    "shapes are a number": (place("product", "shapes")(7), "product is damaged: shapes"),
    "no product": (place("product")({}), "product is damaged: symmetry"),
    "turns sideways": (place("product", "symmetry")({"turns": "sideways"}), "symmetry.turns"),
    "symmetry with more": (place("product", "symmetry")({"call": "x"}), "symmetry.call"),
    "scale 0": (place("product", "donor_scales", "crack", 0)(0), "donor_scales.crack.0"),
    "scale NaN": (place("product", "donor_scales", "crack", 0)(float("nan")), "number that is none"),
    "one scale too many": (lambda c: c["product"]["donor_scales"]["crack"].append(1.0), "lacks exemplars of crack"),
    "statistics of one": (place("product", "statistics", "crack", 0)([1.0]), "statistics.crack.0.1"),
    "statistics 1e9": (place("product", "statistics", "crack", 0, 0)(1e9), "statistics.crack.0.0"),
    "pose of nothing": (place("product", "poses")({}), "poses.reach"),
    "pose of 1e9 turns": (
        place("product", "poses")(dict(reach=1, order=10**9, axis=None, turned_over=False, usual=1, gap=0)), "order"
    ),
    "nested deeply": (place("training")(endless(100)), "training: more than 200000 values, or nested"),
    "nested endlessly": (place("training")(endless(900)), "training: .*nested"),
    "trained for ever": (place("trained_kimg")(float("inf")), "trained_kimg"),
    "trained backwards": (place("trained_kimg")(-1), "trained_kimg"),
    "format -1": (place("format")(-1), "format"),
    "format of text": (place("format")("x"), "format"),
    "format 1e30": (place("format")(10**30), "has format 1000000000000000000000000000000; this version reads up to"),
    "a card that is a list": (lambda c: (c.clear(), c.update({"kind": "painter"})), "category: Field required"),
}  # fmt: skip


@pytest.mark.parametrize("case", PAINTER)
def test_a_painter_s_card_out_of_its_bounds_is_one_line(case: str, tmp_path: Path) -> None:
    change, words = PAINTER[case]
    path = rewritten(tmp_path / "a.safetensors", shipped_painter(), change)
    with one_line(path, words):
        open_painter(path)


def png(height: int, width: int) -> torch.Tensor:
    return torch.frombuffer(bytearray(encode_png(np.zeros((height, width, 3), np.uint8))), dtype=torch.uint8)


def claiming(height: int, width: int) -> torch.Tensor:
    data = bytearray(encode_png(np.zeros((8, 8, 3), np.uint8)))
    data[16:24] = struct.pack(">II", width, height)
    return torch.frombuffer(data, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("normal.000", claiming(30_000, 30_000), "902 million pixels, at most 134"),
        ("normal.000", claiming(10_000, 10_000), "10000x10000 pixels"),
        ("normal.000", png(8, 8), r"normal.000 is \[8, 8, 3\] and foreground.000"),
        ("foreground.000", png(8, 8), "a mask is empty or coloured"),
        ("donor.crack.000", torch.zeros(100, dtype=torch.uint8), "PNG data is damaged"),
        ("donor.crack.000", torch.zeros(0, dtype=torch.uint8), "PNG data is damaged"),
        ("donor.crack.000", torch.zeros(3, 3), "PNG data is damaged"),
    ],
)
def test_a_painter_s_images_of_another_size_or_kind_are_one_line(
    name: str, tensor: torch.Tensor, words: str, tmp_path: Path
) -> None:
    path = rewritten(tmp_path / "a.safetensors", shipped_painter(), lambda card: None, {f"luggage.{name}": tensor})
    with one_line(path, words):
        open_painter(path)


def test_a_small_file_does_not_make_a_large_image() -> None:
    with pytest.raises(ValueError, match="30000x30000 pixels"):
        decode_png(claiming(30_000, 30_000).numpy().tobytes())
    with pytest.raises(ValueError, match="damaged"):
        decode_png(b"\xff\xd8\xff\xe0")  # only PNG, whatever OpenCV can read


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, defects=("hole",))
    return folder / "defects" / "hole" / "model.safetensors"


BACKBONE = ("model", "backbone")
DFMGAN_CARDS = {
    "channel_max 1e9": (place(*BACKBONE, "channel_max")(10**9), "model.backbone.channel_max"),
    "channel_base 1e9": (place(*BACKBONE, "channel_base")(10**9), "model.backbone.channel_base"),
    "the largest": (lambda c: c["model"]["backbone"].update(channel_max=4096, channel_base=1 << 20), "architecture"),
    "discriminator 1e9": (place("model", "discriminator", "channel_max")(10**9), "discriminator.channel_max"),
    "clamp NaN": (place(*BACKBONE, "conv_clamp")(float("nan")), "conv_clamp"),
    "clamp 0": (place(*BACKBONE, "conv_clamp")(0), "conv_clamp"),
    "resolution 2**40": (place(*BACKBONE, "resolution")(2**40), "backbone.resolution"),
    "resolution 0": (place(*BACKBONE, "resolution")(0), "backbone.resolution"),
    "threshold NaN": (place("model", "residual", "mask_threshold")(float("nan")), "mask_threshold"),
    "box NaN": (place("model", "residual", "mask_box")([float("nan")] * 4), "mask_box"),
    "box of three": (place("model", "residual", "mask_box")([0, 1, 0]), "mask_box"),
    "num_images -1": (place("num_images")(-1), "num_images"),
    "score infinite": (place("score")(float("inf")), "score"),
    "kind of text": (place("kind")("x" * 10_000), "holds a x{40} checkpoint"),
    "kind is a list": (place("kind")([1]), r"holds a \[1\] checkpoint"),
}


@pytest.mark.parametrize("case", DFMGAN_CARDS)
def test_a_dfmgan_s_card_out_of_its_bounds_is_one_line(case: str, run: Path, tmp_path: Path) -> None:
    change, words = DFMGAN_CARDS[case]
    path = rewritten(tmp_path / "a.safetensors", run, change)
    with one_line(path, words):
        DefectSynthesizer.load(path)


HEADERS = {
    "a number of 5,000 digits": ('{"kind":"dfmgan","num_images":' + "9" * 5000 + "}", "thousands of digits"),
    "nested endlessly": ("[" * 100_000, "nested too deeply|not JSON"),
    "cut": ('{"kind":', "not JSON"),
    "a list": ("[]", "settings this version cannot read"),
    "null": ("null", "settings this version cannot read"),
    "empty": ("", "was not written by defect-synth"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_that_is_no_card_is_one_line(case: str, tmp_path: Path) -> None:
    text, words = HEADERS[case]
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"defect_synth": text})
    with one_line(path, words):
        load_checkpoint(path, DFMGANCard)


def test_a_card_takes_no_memory(tmp_path: Path) -> None:
    """The settings of the largest networks beside tensors of a few bytes."""
    path = tmp_path / "a.safetensors"
    card = TranslationCard(method="sdgan", category="nut", defects=("hole",), networks={})
    save_checkpoint(path, card, SDGANGenerator(4, 1).state_dict())
    (tmp_path / "work").mkdir()

    def child() -> None:
        with pytest.raises(CheckpointError, match="another architecture"):
            load_generator(path, lambda: SDGANGenerator(1024, 64))

    assert run_forked(child, tmp_path / "work", memory=1 << 30).err == ""


def test_bundles_with_damaged_cards_inside_are_one_line(run: Path, tmp_path: Path) -> None:
    pack({"hole": run}, tmp_path / "set.safetensors")
    for change, words in (
        (place("training")({}), "its card says nothing of hole"),
        (place("training", "hole")(7), "its card says nothing of hole"),
        (place("training", "hole", "model")(7), "model: "),
        (place("training", "hole", "score")("x"), "score: "),
        (place("training", "hole", "model", "backbone", "channel_max")(10**9), "channel_max"),
    ):
        path = rewritten(tmp_path / "a.safetensors", tmp_path / "set.safetensors", change)
        with one_line(path, words):
            DefectSynthesizer.load(path).sample("hole", [0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", ["dfmgan", "bundle", "painter", "backbone", "translation", "half"])
def test_weights_that_are_no_numbers_are_refused(kind: str, value: float, run: Path, tmp_path: Path) -> None:
    path, source = tmp_path / "a.safetensors", run
    if kind in ("bundle", "half"):
        source = tmp_path / "set.safetensors"
        pack({"hole": run}, source, half=kind == "half")
    elif kind == "painter":
        source = shipped_painter()
    elif kind == "translation":
        source = tmp_path / "t.safetensors"
        card = TranslationCard(method="sdgan", category="nut", defects=("hole",), networks={})
        save_checkpoint(source, card, SDGANGenerator(4, 1).state_dict())
    with safe_open(source, framework="pt") as opened:
        name = next(n for n in opened.keys() if n.endswith("weight"))  # noqa: SIM118 - not a dict
        broken = opened.get_tensor(name)
    broken.view(-1)[1] = value
    rewritten(path, source, lambda card: None, {name: broken})

    with one_line(path, rf"holds NaN or infinity instead of weights, first in '.*{re.escape(name.split('.')[-2])}"):
        if kind == "painter":
            open_painter(path)
        elif kind == "translation":
            load_generator(path, lambda: SDGANGenerator(4, 1))
        elif kind == "backbone":
            build_generator(load_checkpoint(path, DFMGANCard))
        else:
            DefectSynthesizer.load(path).sample("hole", [0])


def test_weights_that_overflow_are_refused_when_they_draw(run: Path, tmp_path: Path) -> None:
    with safe_open(run, framework="pt") as opened:
        huge = {n: torch.full_like(opened.get_tensor(n), 3e38) for n in opened.keys()}  # noqa: SIM118
    path = rewritten(tmp_path / "a.safetensors", run, lambda card: None, huge)
    with pytest.raises(CheckpointError, match="NaN or infinity instead of an image"):
        DefectSynthesizer.load(path).sample("hole", [0])


@pytest.mark.parametrize("change", [place(*SHAPE, "radius")(0.1), place(*SHAPE, "offset")([100, -100])])
def test_a_shape_that_says_nonsense_takes_no_memory(change: Change, tmp_path: Path) -> None:
    path = rewritten(tmp_path / "a.safetensors", shipped_painter(), change)
    (tmp_path / "work").mkdir()

    def child() -> None:
        assert open_painter(path).propose_mask("crack", np.ones((256, 256), bool), 0).shape == (256, 256)

    assert run_forked(child, tmp_path / "work", memory=1 << 30).err == ""


def test_features_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lite0.pth"
    torch.save({"_conv_stem.weight": torch.full((32, 3, 3, 3), float("nan"))}, path)
    with one_line(path, "holds NaN or infinity instead of weights, first in '_conv_stem.weight'"):
        EfficientNetLite0(path)


def test_settings_are_bounded_on_the_command_line_too() -> None:
    from defect_synth.config import override
    from defect_synth.dfmgan.config import TINY

    for name, value in (("pretrain.batch", 10**9), ("pretrain.r1_gamma", float("nan")), ("seed", 10**30),
                        ("pretrain.total_kimg", float("inf")), ("model.backbone.channel_max", 10**5000)):  # fmt: skip
        with pytest.raises(ConfigError, match=f"^{re.escape(name)}: ") as error:
            override(TINY, {name: value})
        assert len(str(error.value)) < 300
