"""`--region` with `--region-of`: drawn once, on one normal image, and found again wherever the part lies."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from defect_synth.cli import main
from defect_synth.compositor.bank import build_bank
from defect_synth.samples import DefectSample, Provenance
from tests.fake_parts import draw

SIDE = 128


class Scratches:
    category, defects, digest = "screw", ("scratch",), "scratches"

    def sample(self, defect, seeds):
        drawn = [draw("screw", seed, side=SIDE, defect="scratch_head") for seed in seeds]
        origins = [Provenance("real", "screw", defect, seed) for seed in seeds]
        return [
            DefectSample(part.image, part.mask, defect, origin) for part, origin in zip(drawn, origins, strict=True)
        ]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("regions")
    build_bank(Scratches(), root / "bank", count=20)
    normal = draw("screw", 100, side=SIDE)
    tip = np.array([[normal.coordinates(y, x)[0] < 0 for x in range(SIDE)] for y in range(SIDE)])
    Image.fromarray(normal.image).save(root / "normal.png")
    Image.fromarray(tip.astype(np.uint8) * 255).save(root / "tip.png")
    for seed in range(101, 104):
        Image.fromarray(draw("screw", seed, side=SIDE).image).save(root / f"{seed}.png")
    return root


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["defect-synth", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)


@pytest.mark.parametrize("seed", range(101, 104))
def test_paint_keeps_to_the_region_on_a_part_that_lies_otherwise(world, tmp_path, monkeypatch, seed):
    region = ("--region", world / "tip.png", "--region-of", world / "normal.png")
    run(monkeypatch, "paint", world / f"{seed}.png", "-o", tmp_path / "out.png", "--source", world / "bank", *region)
    mask = np.asarray(Image.open(tmp_path / "out_mask.png"))
    part = draw("screw", seed, side=SIDE)
    assert mask.any()
    assert all(part.coordinates(y, x)[0] < 0.08 for y, x in np.argwhere(mask))


def test_preview_keeps_to_the_region_on_all_images(world, tmp_path, monkeypatch):
    images = [world / f"{seed}.png" for seed in range(101, 104)]
    options = ("--source", world / "bank", "--seeds", 1, "-o", tmp_path / "out")
    run(monkeypatch, "preview", *images, *options)
    anywhere = (tmp_path / "out" / "preview.png").read_bytes()
    run(monkeypatch, "preview", *images, *options, "--region", world / "tip.png", "--region-of", world / "normal.png")
    assert (tmp_path / "out" / "preview.png").read_bytes() != anywhere
