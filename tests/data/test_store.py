from pathlib import Path

import numpy as np
import pytest

from defect_synth.data.images import read_image
from defect_synth.data.layouts import index
from defect_synth.data.masks import read_mask
from defect_synth.data.square import fit_to_square
from defect_synth.data.store import ImageArrays, load
from defect_synth.errors import DataError
from tests.fake_data import write_folders, write_mvtec


def test_arrays_hold_every_record_in_order(tmp_path: Path) -> None:
    records = index(write_mvtec(tmp_path)).records[::-1]
    arrays = load(records, 32, "letterbox")
    assert (len(arrays), arrays.resolution) == (27, 32)
    assert arrays.names == tuple(record.name for record in records)
    for i, record in enumerate(records):
        image, mask, _ = fit_to_square(read_image(record.image), read_mask(record, (48, 48)), 32, "letterbox")
        assert np.array_equal(arrays.images[i], image)
        assert np.array_equal(arrays.masks[i], mask)
        assert bool(mask.any()) == (record.defect is not None)


def test_digest_follows_pixels_and_not_places(tmp_path: Path) -> None:
    first = load(index(write_mvtec(tmp_path / "a")).of("hole"), 32, "letterbox")
    same = load(index(write_mvtec(tmp_path / "b", "bolt")).of("hole"), 32, "letterbox")
    assert first.digest == same.digest
    assert len(first.digest) == 64
    changed = first.masks.copy()
    changed[0, 0, 0] ^= 1
    assert ImageArrays(first.images, changed, first.names).digest != first.digest


def test_progress_counts_every_image_once(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    load(index(write_folders(tmp_path)).good, 16, "crop", lambda done, total: calls.append((done, total)))
    assert calls == [(i, 12) for i in range(1, 13)]


def test_no_records_give_empty_arrays() -> None:
    arrays = load([], 16, "crop")
    assert arrays.images.shape == (0, 16, 16, 3)
    assert len(arrays) == 0


def test_a_damaged_file_stops_loading_with_its_name(tmp_path: Path) -> None:
    home = write_mvtec(tmp_path)
    (home / "train/good/004.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"train/good/004\.png: not an image"):
        load(index(home).good, 16, "crop")


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"masks must be uint8 \[1, 8, 8\], got \[1, 4, 4\]"):
        ImageArrays(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 4, 4), np.uint8), ("a",))
