from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from defect_synth.data.folder_cache import FolderCache
from defect_synth.datasets import cache
from defect_synth.datasets.cache import CachedSource
from tests.fake_sources import NoiseSource


@pytest.mark.parametrize("pairs", [True, False])
def test_cache_gives_back_the_same_sample_without_asking_the_source(tmp_path, pairs):
    source = NoiseSource(pairs=pairs)
    first = CachedSource(source, tmp_path).sample("hole", [4, 9])
    asleep = NoiseSource(pairs=pairs)
    again = CachedSource(asleep, tmp_path).sample("hole", [9, 4])

    assert asleep.calls == []
    for a, b in zip(first, reversed(again), strict=True):
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.mask, b.mask)
        assert np.array_equal(a.clean, b.clean) if pairs else b.clean is None
        assert a.provenance == b.provenance


def test_cache_keeps_sources_defects_and_seeds_apart(tmp_path):
    CachedSource(NoiseSource(), tmp_path).sample("hole", [4])
    other = NoiseSource()
    other.digest = "noise-2"
    CachedSource(other, tmp_path).sample("hole", [4])
    CachedSource(other, tmp_path).sample("hole", [4, 5])
    CachedSource(other, tmp_path).sample("cut", [4])
    assert other.calls == [("hole", (4,)), ("hole", (5,)), ("cut", (4,))]


@pytest.mark.parametrize("part", ["image", "mask", "clean", "origin"])
@pytest.mark.parametrize("damage", ["cut off", "other bytes", "gone"])
def test_damaged_cache_files_are_made_again(tmp_path, part, damage):
    source = NoiseSource()
    CachedSource(source, tmp_path).sample("hole", [4])
    key = [source.digest, source.category, "hole", 4, part]
    path = FolderCache(tmp_path, suffix=".json" if part == "origin" else ".png", version=cache._VERSION).path(key)
    whole = path.read_bytes()
    if damage == "cut off":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])

    (sample,) = CachedSource(source, tmp_path).sample("hole", [4])

    assert len(source.calls) == 2
    assert np.array_equal(sample.image, source.one("hole", 4).image)
    assert path.read_bytes() == whole
    assert len([entry for entry in tmp_path.rglob("*") if entry.is_file()]) == 4  # no temporary file is left


@pytest.mark.parametrize("origin", [b"", b"7", b"[" * 10**5, b"{}", b'{"parts": ["image"], "provenance": {}}'])
def test_an_origin_that_is_none_is_made_again(tmp_path, origin):
    source = NoiseSource()
    cached = CachedSource(source, tmp_path)
    cached.sample("hole", [4])
    FolderCache(tmp_path, suffix=".json", version=cache._VERSION).put(
        [source.digest, source.category, "hole", 4, "origin"], origin
    )
    (sample,) = cached.sample("hole", [4])
    assert len(source.calls) == 2
    assert np.array_equal(sample.image, source.one("hole", 4).image)


def test_other_programs_read_the_pictures(tmp_path):
    source = NoiseSource()
    CachedSource(source, tmp_path).sample("hole", [4])
    path = FolderCache(tmp_path, suffix=".png", version=cache._VERSION).path(["noise-1", "hazelnut", "hole", 4, "mask"])
    assert np.array_equal(np.array(Image.open(path)), source.one("hole", 4).mask * 255)
