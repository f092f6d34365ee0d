"""Real defects are recorded as they are: in their own shapes, and at one magnification."""

from __future__ import annotations

import numpy as np
import pytest

from defect_synth.compositor import real_source
from defect_synth.compositor.real_source import RealSource
from tests.fake_data import save

SIZES = {"a": (40, 64), "b": (64, 48), "c": (90, 30)}


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    root = tmp_path / "strip"
    save(root / "train" / "good" / "0.png", rng.integers(0, 256, (48, 48, 3), np.uint8))
    for name, shape in SIZES.items():
        mask = np.zeros(shape, np.uint8)
        mask[10:20, 12:17] = 255
        save(root / "test" / "dent" / f"{name}.png", rng.integers(0, 256, (*shape, 3), np.uint8))
        save(root / "ground_truth" / "dent" / f"{name}_mask.png", mask)
    return root


def test_images_keep_their_shapes(folder):
    samples = RealSource.open(folder).sample("dent", [0, 1, 2])
    assert [sample.mask.shape for sample in samples] == list(SIZES.values())
    assert [int(sample.mask.sum()) for sample in samples] == [50, 50, 50]


def test_images_that_are_too_large_are_reduced_by_one_factor(folder, monkeypatch):
    monkeypatch.setattr(real_source, "LARGEST", 26)
    samples = RealSource.open(folder).sample("dent", [0, 1, 2])
    scale = 26 / np.sqrt(64 * 48)
    assert [s.mask.shape for s in samples] == [(round(h * scale), round(w * scale)) for h, w in SIZES.values()]
    assert all(sample.mask.any() for sample in samples)


def test_with_a_resolution_all_are_squares(folder):
    samples = RealSource.open(folder, None, 32).sample("dent", [0, 1, 2])
    assert {sample.mask.shape for sample in samples} == {(32, 32)}


def test_the_digest_follows_pixels_and_shapes(folder):
    whole, squares = RealSource.open(folder), RealSource.open(folder, None, 32)
    assert whole.digest == RealSource.open(folder).digest
    assert whole.digest != squares.digest
